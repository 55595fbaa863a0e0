package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/when"
)

func (a *app) prune() *cobra.Command {
	var before string
	var dryRun bool
	c := &cobra.Command{
		Use:   "prune [DATASET]",
		Short: "Forget history for good",
		Long: `Forget what the properties history and keep of DATASET, or of all datasets, no
longer ask for: old history, kept points, snapshots that expired. The server does
that by itself from time to time; this does it at once. With --before the history
before that moment is forgotten too, whatever the properties say.

Snapshots, and what they keep, stay. What was forgotten cannot be brought back.

With --dry-run nothing is done: the answer is what would go, and how many bytes
of data would come back, exactly.

Columns for -o: dataset, horizon, lsn, bytes, points. HORIZON and LSN are where
history begins then; POINTS, the kept points and expired snapshots that go.`,
		Example: `  varve prune disk0 --dry-run
  varve prune --before 7d-ago
  varve prune disk0 --before @before-upgrade --yes`,
		Args:              need("[DATASET]"),
		ValidArgsFunction: a.completeArgs(a.datasets),
		RunE: func(c *cobra.Command, args []string) error {
			o := engine.PruneOptions{DryRun: dryRun}
			name, err := "", error(nil)
			if len(args) > 0 {
				if name, err = parseDataset(args[0]); err != nil {
					return err
				}
			}
			if o.Before, err = parseWhen("--before", before); err != nil {
				return err
			}
			if !dryRun {
				if err := a.confirmPrune(c.Context(), name, &o); err != nil {
					return err
				}
			}
			list, err := a.client().Prune(c.Context(), name, o)
			if err != nil {
				return err
			}
			return a.pruned(list, dryRun)
		},
	}
	c.Flags().StringVar(&before, "before", "", "forget the history before this moment too: a WHEN")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would go, and change nothing")
	c.RegisterFlagCompletionFunc("before", a.completeMoment)
	return c
}

// confirmPrune asks, and makes o mean the moment that was agreed to, not what
// it is by then.
func (a *app) confirmPrune(ctx context.Context, name string, o *engine.PruneOptions) error {
	find := func() error {
		if name == "" {
			return nil
		}
		if o.Before != nil {
			_, err := a.client().Resolve(ctx, name, *o.Before)
			return err
		}
		_, err := a.client().Dataset(ctx, name)
		return err
	}
	return a.confirm(ctx, find, func() (string, error) {
		if o.Before != nil && o.Before.Kind == when.Ago {
			s, err := a.client().Status(ctx)
			if err != nil {
				return "", err
			}
			o.Before = &when.Spec{Kind: when.Time, Time: s.Pool.Clock.Pool.Add(-o.Before.Ago).UTC()}
		}
		dry := *o
		dry.DryRun = true
		list, err := a.client().Prune(ctx, name, dry)
		if err != nil {
			return "", err
		}
		points, bytes := totals(list)
		what := plural(uint64(len(list)), "dataset")
		if len(list) == 1 {
			what = fmt.Sprintf("%s before %s", list[0].Dataset, a.time(list[0].Horizon))
		}
		return fmt.Sprintf("Forget the history of %s, with %s? %s come back; the history does not.",
			what, plural(points, "point"), a.amount(bytes)), nil
	})
}

func totals(list []engine.PruneReport) (points, bytes uint64) {
	for _, r := range list {
		points += uint64(len(r.Points))
		bytes += natural(r.Bytes)
	}
	return points, bytes
}

func (a *app) pruned(list []engine.PruneReport, dryRun bool) error {
	points, bytes := totals(list)
	if a.json {
		return a.writeJSON(map[string]any{"dry_run": dryRun, "bytes": bytes, "datasets": list})
	}
	type report = engine.PruneReport
	err := table(a, []column[report]{
		{"dataset", false, func(r report) string { return r.Dataset }},
		{"horizon", false, func(r report) string { return a.time(r.Horizon) }},
		{"lsn", true, func(r report) string { return number(r.HorizonLSN) }},
		{"bytes", true, func(r report) string { return a.size(natural(r.Bytes)) }},
		{"points", false, func(r report) string { return strings.Join(r.Points, ", ") }},
	}, nil, list)
	if err != nil {
		return err
	}
	did := "forgot"
	if dryRun {
		did = "would forget"
	}
	a.say("%s history and %s of %s: %s come back", did, plural(points, "point"), plural(uint64(len(list)), "dataset"), a.amount(bytes))
	return nil
}

// natural is a number of bytes that the server counted; it never means less
// than none.
func natural(n int64) uint64 { return uint64(max(0, n)) }
