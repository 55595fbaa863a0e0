package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"varve/test/daemon"
)

// results are all measurements, by workload and server.
type results map[string]map[string][]result

func (r results) add(workload, server string, one result) {
	if r[workload] == nil {
		r[workload] = map[string][]result{}
	}
	r[workload][server] = append(r[workload][server], one)
}

// median returns the middle measurement by what the workload is judged by.
func (r results) median(w workload, server string) (result, bool) {
	list := slices.Clone(r[w.name][server])
	if len(list) == 0 {
		return result{}, false
	}
	slices.SortFunc(list, func(a, b result) int {
		if a.value(w) < b.value(w) {
			return -1
		}
		return 1
	})
	return list[len(list)/2], true
}

func nbdCommand(ctx context.Context, args []string) error {
	c := newCommand("nbd", "").withRounds(3, eachServer).withSeconds(4).withOnly("run the workloads whose name matches").withServers()
	c.count("size", 2, "size of the disk in GiB", func(n int) { c.size = int64(n) << 30 })
	c.size = 2 << 30
	if err := c.Parse(args); err != nil {
		return err
	}
	c.kinds = slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !c.who.MatchString(k.name) })
	// One image for each peer, and a log that takes every write of a phase.
	leave, err := c.home(8*c.size + int64(c.rounds)*int64(c.second/time.Second)*(2<<30))
	if err != nil {
		return err
	}
	defer leave()
	return measure(ctx, c.options)
}

func measure(ctx context.Context, o options) error {
	var bin string
	if slices.ContainsFunc(o.kinds, func(k kind) bool { return k.name == nameVarve }) {
		var err error
		if bin, err = daemon.Build(o.dir); err != nil {
			return err
		}
	}
	all := results{}
	var notes []string
	for _, p := range phases {
		p.workloads = slices.DeleteFunc(slices.Clone(p.workloads), func(w workload) bool { return !o.only.MatchString(w.name) })
		if len(p.workloads) == 0 {
			continue
		}
		said, err := p.run(ctx, o, bin, all)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		notes = append(notes, said...)
	}
	report(os.Stdout, all, o)
	for _, n := range notes {
		fmt.Println(n)
	}
	return nil
}

// run measures one phase: fresh servers, then rounds in which they take turns
// at each workload.
func (p phase) run(ctx context.Context, o options, bin string, all results) (notes []string, err error) {
	dir, err := os.MkdirTemp(o.dir, "phase-")
	if err != nil {
		return nil, err
	}
	var servers []*server
	defer func() {
		err = errors.Join(err, stopAll(servers), os.RemoveAll(dir))
	}()
	for i, k := range o.kinds {
		home := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(home, 0o700); err != nil {
			return nil, err
		}
		s, err := k.start(ctx, bin, home, o.size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		servers = append(servers, s)
		if err := p.prepare(ctx, s, o.size); err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	for round := range o.rounds {
		for _, w := range p.workloads {
			for s := range inTurn(servers, round) {
				if w.alone && s.pool == nil {
					continue
				}
				one, err := w.run(ctx, s, o)
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", w.name, s.name, err)
				}
				all.add(w.name, s.name, one)
				fmt.Fprintf(os.Stderr, "round %d  %-24s %-15s %9.0f IOPS %7.0f MB/s  p50 %7.0f us  p99 %7.0f us\n",
					round+1, w.name, s.name, one.perSecond, one.bytes/1e6, one.p50, one.p99)
			}
		}
	}
	return p.notes(servers)
}

func (p phase) prepare(ctx context.Context, s *server, size int64) error {
	const limit = 15 * time.Minute
	if !p.bare {
		if _, err := fio(ctx, s.uri, size, limit, "--rw=write", "--bs=1m", "--iodepth=8", "--end_fsync=1"); err != nil {
			return err
		}
	}
	if p.scattered {
		if _, err := fio(ctx, s.uri, size, limit, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--end_fsync=1"); err != nil {
			return err
		}
	}
	return nil
}

func (p phase) notes(servers []*server) ([]string, error) {
	var notes []string
	for _, s := range servers {
		top, _, err := s.memory()
		if err != nil {
			return nil, err
		}
		note := fmt.Sprintf("%s, %s: at most %.0f MiB resident", p.name, s.name, top)
		if s.pool != nil {
			more, err := s.amplification()
			if err != nil {
				return nil, err
			}
			note += "; " + more
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// run measures a workload on one server, on a machine that has settled.
func (w workload) run(ctx context.Context, s *server, o options) (result, error) {
	if err := settle(); err != nil {
		return result{}, err
	}
	args := append([]string{"--time_based", fmt.Sprintf("--runtime=%d", o.second/time.Second)}, w.fio...)
	if w.beat == 0 {
		return fio(ctx, s.uri, o.size, o.second+time.Minute, args...)
	}
	beating, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- heartbeat(beating, s, w.beat) }()
	one, err := fio(ctx, s.uri, o.size, o.second+time.Minute, args...)
	stop()
	return one, errors.Join(err, <-ended)
}
