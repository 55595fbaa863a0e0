package main

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

// property is what can be set of a dataset.
type property struct {
	name   string
	kind   string   // of the datasets that have it: "volume", "share", or "" for both
	values []string // those that there are, for completion
	set    func(ctx context.Context, dataset, value string) (engine.Done, error)
}

func (a *app) settable() []property {
	asIs := func(kind, name string, values ...string) property {
		return property{name, kind, values, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			return a.client().Set(ctx, dataset, name, value)
		}}
	}
	bytes := func(name string) property {
		return property{name, "", nil, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			n, err := sizeProperty(value)
			if err != nil {
				return engine.Done{}, err
			}
			return a.client().Set(ctx, dataset, name, n)
		}}
	}
	return []property{
		{"size", "volume", nil, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			n, err := parseSize(value)
			if err != nil {
				return engine.Done{}, err
			}
			return a.client().Resize(ctx, dataset, n)
		}},
		{"clients", "share", nil, a.setClients},
		asIs("share", "access", "rw", "ro"),
		asIs("share", "squash", "none", "root", "all"),
		asIs("share", "anonuid"),
		asIs("share", "anongid"),
		bytes("quota"),
		asIs("share", "quota-inodes"),
		asIs("volume", "iscsi-target"),
		asIs("volume", "iscsi-lun"),
		asIs("volume", "iscsi-clients"),
		asIs("volume", "iscsi-initiators"),
		asIs("volume", "iscsi-user"),
		a.secret("iscsi-secret"),
		asIs("volume", "iscsi-mutual-user"),
		a.secret("iscsi-mutual-secret"),
		asIs("volume", "sanitize", "on", "off"),
		asIs("volume", "physical-block", "512", "4096"),
		asIs("volume", "iscsi-write-cache", "on", "off"),
		bytes("budget"),
		asIs("", "on-full", onFull...),
		asIs("", "history", "none", "all", usualHistory),
		asIs("", "keep", "none", usualKeep),
	}
}

// secret is a property that is not shown. A value of - is a line of stdin, so that
// it stands in no list of processes.
func (a *app) secret(name string) property {
	return property{name, "volume", []string{"-"}, func(ctx context.Context, dataset, value string) (engine.Done, error) {
		if value == "-" {
			line, err := bufio.NewReader(io.LimitReader(a.in, 4096)).ReadString('\n')
			if value = strings.TrimRight(line, "\r\n"); value == "" {
				return engine.Done{}, fail.Wrap(fail.Invalid, err, "no secret on stdin")
			}
		}
		return a.client().Set(ctx, dataset, name, value)
	}}
}

// onFull are the values of the property on-full.
var onFull = []string{"fail", "reset"}

// sizeProperty turns "40G" into the bytes that a property is; empty stays so.
func sizeProperty(v string) (string, error) {
	if v == "" {
		return "", nil
	}
	n, err := parseSize(v)
	return strconv.FormatUint(n, 10), err
}

// setClients says what opening a share to others brings along.
func (a *app) setClients(ctx context.Context, dataset, value string) (engine.Done, error) {
	d, err := a.client().Set(ctx, dataset, "clients", value)
	if err != nil || !beyondLoopback(value) {
		return d, err
	}
	info, err := a.client().Dataset(ctx, dataset)
	if err == nil && info.Properties["squash"] == "" {
		a.say("%s is open to other machines: squash=root holds now, so that their root is nobody here; set squash to choose otherwise", dataset)
	}
	return d, nil
}

// beyondLoopback reports whether a list of addresses and networks has any that
// are not this machine.
func beyondLoopback(clients string) bool {
	if clients == "" {
		return false
	}
	return slices.ContainsFunc(strings.Split(clients, ","), func(s string) bool {
		s = strings.TrimSpace(s)
		if p, err := netip.ParsePrefix(s); err == nil {
			return !p.Addr().IsLoopback() || p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && !p.IsSingleIP()
		}
		ip, err := netip.ParseAddr(s)
		return err != nil || !ip.IsLoopback()
	})
}

// setHelp says what can be set.
const setHelp = `Change a property of a dataset, of a snapshot, or of the pool. An empty value
brings the default back. Every dataset has

  history        how much of its past can be reached, every moment of it: an age,
                 a share of the pool, or both, whichever is less; none, or all.
                 24h,20% unless set
  keep           how many points to keep beyond that, the last of each period, in
                 UTC: some of hourly, daily, weekly, monthly, yearly, or none.
                 hourly:36,daily:30,weekly:8,monthly:12,yearly:3 unless set
  quota          bytes of data that it may hold; none unless set
  budget         bytes that a clone may change of what it began with; none unless
                 set
  on-full        what happens when the budget is used up: fail (writes do), or
                 reset: the clone becomes again what it began with. fail unless
                 set

A volume also has

  size           bytes, or with K, M, G, T. It only grows; to go back to before
                 it grew, roll back. Clients that are connected see the new size
                 when they connect anew; over iSCSI, at once.
  physical-block what initiators of iSCSI are told to align to: 4096, or 512 for
                 programs that cannot. 4096 unless set
  iscsi-write-cache
                 off: a write over iSCSI is durable when it is answered, from the
                 first login after all have logged out; on unless set
  sanitize       on: an initiator of iSCSI may erase it, with its history; off
                 unless set
  iscsi-target   the name of its iSCSI target; iqn.2026-11.varve:NAME unless set.
                 Volumes with the same name are logical units of one target
  iscsi-lun      its number there; 0 unless set
  iscsi-clients  addresses and networks that may use it over iSCSI, with commas in
                 between; 127.0.0.1,::1 unless set
  iscsi-initiators     names that may, with * for any part and commas in between;
                 all unless set
  iscsi-user, iscsi-secret
                 what an initiator has to prove by CHAP; nothing unless both are
                 set. A secret has 12 to 128 bytes, Windows takes 16, and is
                 never shown; - reads it from stdin
  iscsi-mutual-user, iscsi-mutual-secret
                 what the target proves to an initiator that asks; the secret has
                 to be another

Those of iSCSI hold from the next login on. And a share has, from the next
request of a client on,

  clients        addresses and networks that may use it, with commas in between;
                 127.0.0.1,::1 unless set
  access         rw, or ro: clients may not change anything
  squash         whose requests are those of the anonymous user: of none; of root;
                 of all. none unless set, but root where clients are beyond this
                 machine
  anonuid        numbers of the anonymous user and group; 65534 unless set
  anongid
  quota-inodes   how many files, directories and the like there may be

A snapshot has

  expires        when it goes by itself: 30d (from now on), 2027-01-01, or never

The pool, called pool here, has

  capacity       how much of its file system it may use; 80 % of what would be
                 free without the pool unless set. More is there for writers at
                 once. Less makes history as short as it must be, and the cleaner
                 gives the rest back to the file system; what is live, and what
                 snapshots keep, has to fit, or it is refused. "varve log" does
                 not show it, and no rollback changes it`

func (a *app) set() *cobra.Command {
	return &cobra.Command{
		Use:   "set DATASET|DATASET@SNAPSHOT|pool PROPERTY=VALUE",
		Short: "Change a property of a dataset, of a snapshot or of the pool",
		Long:  setHelp,
		Example: `  varve set disk0 size=40G
  varve set disk0 history=7d,40%
  varve set home keep=hourly:36,daily:30
  varve set home clients=127.0.0.1,192.168.7.0/24
  varve set disk0 iscsi-clients=192.168.7.0/24
  varve set disk0 iscsi-user=host1
  varve set disk0 iscsi-secret=- < secret
  varve set home quota=10G
  varve set home quota=
  varve set disk0@good expires=never
  varve set pool capacity=400G`,
		Args:              need("DATASET|DATASET@SNAPSHOT|pool", "PROPERTY=VALUE"),
		ValidArgsFunction: a.completeArgs(a.momentsOrPool, a.properties),
		RunE: func(c *cobra.Command, args []string) error {
			key, value, given := strings.Cut(args[1], "=")
			if !given {
				return fail.New(fail.Invalid, "%q sets nothing", args[1]).WithHint("write PROPERTY=VALUE, such as size=40G")
			}
			if args[0] == poolName {
				return a.setPool(c.Context(), key, value)
			}
			if strings.Contains(args[0], "@") {
				return a.setSnapshot(c.Context(), args[0], key, value)
			}
			name, err := parseDataset(args[0])
			if err != nil {
				return err
			}
			all := a.settable()
			i := slices.IndexFunc(all, func(p property) bool { return p.name == key })
			if i < 0 {
				return fail.New(fail.Invalid, "there is no property %q to set", key).WithHint("there is %s", strings.Join(propertyNames(all), ", "))
			}
			d, err := all[i].set(c.Context(), name, value)
			switch {
			case err != nil:
				return err
			case value == "":
				return a.done(d, "%s of %s has its default again, from lsn %d", key, name, d.LSN)
			}
			if strings.HasSuffix(key, "-secret") {
				return a.done(d, "%s of %s is set, from lsn %d", key, name, d.LSN)
			}
			return a.done(d, "%s of %s is %s, from lsn %d", key, name, value, d.LSN)
		},
	}
}

func propertyNames(all []property) []string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return names
}
