package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/httpapi"
)

func (a *app) status() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the pool and of its server",
		Long: `Show the state of the pool and of its server: how full it is and what with, how
far back one can go, where it listens, who is connected, what to look at.

FREE is what the pool can still take, of which RESERVE is for destroy, prune and
the like alone; USED is the rest of CAPACITY, and holds LIVE data; data IN-HISTORY
and IN-SNAPSHOTS, of which HELD is kept by holds; data of DESTROYED datasets that
can come back; NODES of trees; and what is DEAD, which the CLEANER gives back.

With --check the answer is one line for a monitoring system, and the exit code
is 0 if all is well, 4 for a warning, 5 if something is wrong or there is no
server.`,
		Example: `  varve status
  varve status --check
  varve status --json | jq .pool.oldest_time`,
		Args: need(),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.client().Status(c.Context())
			switch {
			case check:
				return a.grade(s, err)
			case err != nil:
				return err
			case a.json:
				return a.writeJSON(s)
			}
			return properties(a, a.statusColumns(), s)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "one line, and an exit code for monitoring")
	return c
}

// grade answers --check. No answer from a server is the worst of all.
func (a *app) grade(s httpapi.ServerStatus, err error) error {
	if fail.Is(err, fail.Canceled) {
		return err
	}
	grade, reasons := httpapi.Critical, []string{}
	if err != nil {
		reasons = append(reasons, err.Error())
	} else {
		grade, reasons = s.Health()
	}
	if a.json {
		err = a.writeJSON(map[string]any{"health": grade.String(), "reasons": append([]string{}, reasons...)})
	} else {
		err = a.write(strings.TrimSuffix(grade.String()+": "+strings.Join(reasons, "; "), ": ") + "\n")
	}
	if err != nil {
		return err
	}
	return map[httpapi.Health]error{httpapi.Warning: exitWarning, httpapi.Critical: exitCritical}[grade]
}

func (a *app) statusColumns() []column[httpapi.ServerStatus] {
	type st = httpapi.ServerStatus
	col := func(name string, value func(st) string) column[st] { return column[st]{name, false, value} }
	bytes := func(name string, value func(st) int64) column[st] {
		return col(name, func(s st) string { return a.size(natural(value(s))) })
	}
	return []column[st]{
		col("pool", func(s st) string { return s.Server.Dir }),
		col("id", func(s st) string { return s.Pool.PoolID }),
		col("state", func(s st) string { return s.Pool.State }),
		col("reason", func(s st) string { return s.Pool.Reason }),
		col("pid", func(s st) string { return strconv.Itoa(s.Server.PID) }),
		col("version", func(s st) string { return s.Server.Version }),
		col("started", func(s st) string { return a.time(s.Pool.Started) }),
		col("recovered", recovered),
		col("listen", func(s st) string { return addresses(s.Server.Addresses) }),
		col("clients", func(s st) string { return a.sessions(s.Server.Clients) }),
		col("datasets", func(s st) string { return strconv.Itoa(s.Pool.Datasets) }),
		col("snapshots", func(s st) string { return strconv.Itoa(s.Pool.Snapshots) }),
		col("lsn", func(s st) string { return strconv.FormatUint(s.Pool.LastLSN, 10) }),
		col("durable", func(s st) string { return strconv.FormatUint(s.Pool.DurableLSN, 10) }),
		col("checkpoint", a.lastCheckpoint),
		col("oldest", a.oldestMoment),
		bytes("capacity", func(s st) int64 { return s.Pool.CapacityBytes }),
		bytes("used", func(s st) int64 { return s.Pool.UsedBytes }),
		bytes("free", func(s st) int64 { return s.Pool.FreeBytes }),
		bytes("reserve", func(s st) int64 { return s.Pool.Space.Reserve }),
		bytes("live", func(s st) int64 { return s.Pool.Space.Live }),
		bytes("in-history", func(s st) int64 { return s.Pool.Space.History }),
		bytes("in-snapshots", func(s st) int64 { return s.Pool.Space.Snapshots }),
		bytes("held", func(s st) int64 { return s.Pool.Space.Held }),
		bytes("destroyed", func(s st) int64 { return s.Pool.Space.Destroyed }),
		bytes("nodes", func(s st) int64 { return s.Pool.Space.Nodes }),
		bytes("dead", func(s st) int64 { return s.Pool.Space.Dead }),
		col("cleaner", func(s st) string { return s.Pool.Cleaner }),
		col("clock", a.clockState),
		col("warnings", func(s st) string { return strings.Join(s.Pool.Warnings, "; ") }),
		bytes("logged", func(s st) int64 { return s.Pool.LogBytes }),
		bytes("payload", func(s st) int64 { return s.Pool.PayloadBytes }),
		bytes("dirty", func(s st) int64 { return s.Pool.DirtyBytes }),
		bytes("cache", func(s st) int64 { return s.Pool.CacheBytes }),
		col("damaged", func(s st) string { return number(uint64(s.Pool.QuarantinedBlocks)) }),
	}
}

func recovered(s httpapi.ServerStatus) string {
	r := s.Pool.Recovery
	text := fmt.Sprintf("%d operations in %s", r.Ops, r.Took.Round(time.Millisecond))
	if r.Discarded != "" {
		text += "; dropped " + r.Discarded
	}
	return text
}

func addresses(list []httpapi.Address) string {
	var out []string
	for _, l := range list {
		out = append(out, l.Proto+" "+l.Addr)
	}
	return strings.Join(out, ", ")
}

func (a *app) sessions(list []httpapi.Session) string {
	var out []string
	for _, c := range list {
		what := c.Proto + " " + c.Addr
		if c.Export != "" {
			what += " on " + c.Export
		}
		out = append(out, what+" since "+a.time(c.Since))
	}
	return strings.Join(out, ", ")
}

func (a *app) lastCheckpoint(s httpapi.ServerStatus) string {
	if s.Pool.Checkpoint == 0 {
		return ""
	}
	return fmt.Sprintf("cp:%d of lsn %d, %s", s.Pool.Checkpoint, s.Pool.CheckpointLSN, a.time(s.Pool.CheckpointTime))
}

func (a *app) oldestMoment(s httpapi.ServerStatus) string {
	if s.Pool.OldestTime.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s, lsn %d", a.time(s.Pool.OldestTime), s.Pool.OldestLSN)
}

func (a *app) clockState(s httpapi.ServerStatus) string {
	k := s.Pool.Clock
	if !k.Suspect {
		return "ok"
	}
	return fmt.Sprintf("jumped by %s: the pool counts %s; see varve clock", k.Jump.Round(time.Second), a.time(k.Pool))
}
