package main

import (
	"context"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/when"
)

func (a *app) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show DATASET[@WHEN]|pool",
		Short: "Show a dataset, a snapshot, a moment or the pool",
		Long: `Show all there is to know about a dataset or about one of its snapshots; or
find out which operation a WHEN means. With -o only the properties named; "varve
list --help" says what they mean. Of the pool, called pool here, "varve status
--help" says so; its SEGMENT-SIZE is for ever, CAPACITY can be set.`,
		Example: `  varve show disk0
  varve show pool -Hp -o capacity
  varve show disk0@before-upgrade
  varve show disk0@10m-ago -H -o lsn`,
		Args:              need("DATASET[@WHEN]|pool"),
		ValidArgsFunction: a.completeArgs(a.momentsOrPool),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == poolName {
				return a.showPool(c.Context())
			}
			address, err := parseAddress(args[0])
			switch {
			case err != nil:
				return err
			case address.When == nil:
				return a.showDataset(c.Context(), address.Dataset)
			case address.When.Kind == when.Snapshot:
				return a.showSnapshot(c.Context(), address.Dataset, address.When.Name)
			}
			return a.showMoment(c.Context(), address.Dataset, *address.When)
		},
	}
}

func (a *app) showDataset(ctx context.Context, name string) error {
	d, err := a.client().Dataset(ctx, name)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(d)
	}
	return properties(a, a.entryColumns(), entry{dataset: &d})
}

func (a *app) showSnapshot(ctx context.Context, dataset, name string) error {
	s, err := a.findSnapshot(ctx, dataset, name)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(s)
	}
	return properties(a, a.entryColumns(), entry{snapshot: &s})
}

func (a *app) showMoment(ctx context.Context, dataset string, w when.Spec) error {
	m, err := a.client().Resolve(ctx, dataset, w)
	if err != nil {
		return err
	}
	a.echo(&m)
	if a.json {
		return a.writeJSON(m)
	}
	return properties(a, []column[engine.Moment]{
		{"dataset", false, func(m engine.Moment) string { return m.Dataset }},
		{"when", false, func(m engine.Moment) string { return m.Spec }},
		{"lsn", true, func(m engine.Moment) string { return number(m.LSN) }},
		{"time", false, func(m engine.Moment) string { return a.time(m.Time) }},
	}, m)
}
