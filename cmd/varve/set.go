package main

import (
	"context"
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
	values []string // those that there are, for completion
	set    func(ctx context.Context, dataset, value string) (engine.Done, error)
}

func (a *app) settable() []property {
	asIs := func(name string, values ...string) property {
		return property{name, values, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			return a.client().Set(ctx, dataset, name, value)
		}}
	}
	return []property{
		{"size", nil, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			n, err := parseSize(value)
			if err != nil {
				return engine.Done{}, err
			}
			return a.client().Resize(ctx, dataset, n)
		}},
		{"clients", nil, a.setClients},
		asIs("access", "rw", "ro"),
		asIs("squash", "none", "root", "all"),
		asIs("anonuid"),
		asIs("anongid"),
		{"quota", nil, func(ctx context.Context, dataset, value string) (engine.Done, error) {
			if value != "" {
				n, err := parseSize(value)
				if err != nil {
					return engine.Done{}, err
				}
				value = strconv.FormatUint(n, 10)
			}
			return a.client().Set(ctx, dataset, "quota", value)
		}},
		asIs("quota-inodes"),
	}
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

func (a *app) set() *cobra.Command {
	return &cobra.Command{
		Use:   "set DATASET PROPERTY=VALUE",
		Short: "Change a property of a dataset",
		Long: `Change a property of a dataset. A volume has

  size           bytes, or with K, M, G, T. It only grows; to go back to before
                 it grew, roll back. Clients that are connected see the new size
                 when they connect anew.

A share has these, for which an empty value brings the default back:

  clients        addresses and networks that may use it, with commas in between;
                 127.0.0.1,::1 unless set
  access         rw, or ro: clients may not change anything
  squash         whose requests are those of the anonymous user: of none; of root;
                 of all. none unless set, but root where clients are beyond this
                 machine
  anonuid        numbers of the anonymous user and group; 65534 unless set
  anongid
  quota          bytes that its files may take; none unless set
  quota-inodes   how many files, directories and the like there may be

They hold from the next request of a client on.`,
		Example: `  varve set disk0 size=40G
  varve set home clients=127.0.0.1,192.168.7.0/24
  varve set home quota=10G
  varve set home quota=`,
		Args:              need("DATASET", "PROPERTY=VALUE"),
		ValidArgsFunction: a.completeArgs(a.datasets, a.properties),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := parseDataset(args[0])
			if err != nil {
				return err
			}
			key, value, given := strings.Cut(args[1], "=")
			if !given {
				return fail.New(fail.Invalid, "%q sets nothing", args[1]).WithHint("write PROPERTY=VALUE, such as size=40G")
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
