package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

// property is what can be set of a dataset.
type property struct {
	name string
	set  func(ctx context.Context, dataset, value string) (engine.Done, error)
}

func (a *app) settable() []property {
	return []property{
		{"size", func(ctx context.Context, dataset, value string) (engine.Done, error) {
			n, err := parseSize(value)
			if err != nil {
				return engine.Done{}, err
			}
			return a.client().Resize(ctx, dataset, n)
		}},
	}
}

func (a *app) set() *cobra.Command {
	return &cobra.Command{
		Use:   "set DATASET PROPERTY=VALUE",
		Short: "Change a property of a dataset",
		Long: `Change a property of a dataset. There is

  size   of a volume: bytes, or with K, M, G, T. It only grows; to go back to
         before it grew, roll back. Clients that are connected see the new
         size when they connect anew.`,
		Example:           "  varve set disk0 size=40G",
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
			if err != nil {
				return err
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
