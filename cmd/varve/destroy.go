package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

func (a *app) destroy() *cobra.Command {
	var now, dryRun bool
	c := &cobra.Command{
		Use:   "destroy DATASET|DATASET@SNAPSHOT...|DATASET@A..B",
		Short: "Destroy a dataset, or snapshots",
		Long: `Destroy a dataset, or snapshots: those that are named, or with A..B all that are
not older than A nor newer than B, both included.

A destroyed dataset stays in "varve list --destroyed" for as long as its history
is kept, and "varve undestroy" brings it back; with --now it is freed at once
and cannot come back. A snapshot is only a name for a moment: without it the
moment is kept for as long as history is.

With --dry-run nothing is done: the answer is what would go, and how many bytes of
data would come back. Of several snapshots that may be more than the sum of what
each uses: what two of them keep goes with both only.`,
		Example: `  varve destroy disk0@before-upgrade
  varve destroy disk0@monday disk0@tuesday --dry-run
  varve destroy disk0@monday..friday
  varve destroy trial --now --yes`,
		Args:              needSome("DATASET|DATASET@SNAPSHOT"),
		ValidArgsFunction: a.completeEach(a.ranges),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			targets, err := parseTargets(args)
			switch {
			case err != nil:
				return err
			case targets[0].first == "":
				return a.destroyDataset(ctx, targets[0].dataset, now, dryRun)
			case now:
				return fail.New(fail.Invalid, "--now is for datasets; a snapshot is always freed at once")
			}
			return a.destroySnapshots(ctx, targets, dryRun)
		},
	}
	c.Flags().BoolVar(&now, "now", false, "free the dataset at once; it cannot come back")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would go, and change nothing")
	return c
}

func (a *app) destroyDataset(ctx context.Context, name string, now, dryRun bool) error {
	if dryRun {
		return a.wouldDestroy(ctx, name)
	}
	after := "varve undestroy " + name + " brings it back while its history is kept"
	if now {
		after = "it cannot come back"
	}
	var info engine.DatasetInfo
	find := func() (err error) {
		info, err = a.client().Dataset(ctx, name)
		return err
	}
	err := a.confirm(ctx, find, func() (string, error) {
		return fmt.Sprintf("Destroy the %s %s of %s with %d snapshots? Then %s.",
			info.Kind, name, formatSize(info.Size), info.Snapshots, after), nil
	})
	if err != nil {
		return err
	}
	d, err := a.client().Destroy(ctx, name, now)
	if err != nil {
		return err
	}
	return a.done(d, "destroyed %s at lsn %d; %s", name, d.LSN, after)
}

// wouldDestroy answers --dry-run of a dataset.
func (a *app) wouldDestroy(ctx context.Context, name string) error {
	d, err := a.client().Dataset(ctx, name)
	if err != nil {
		return err
	}
	bytes := natural(d.Space.Reclaimable)
	if a.json {
		return a.writeJSON(map[string]any{"dry_run": true, "datasets": []string{name}, "bytes": bytes})
	}
	if err := a.write(name + "\n"); err != nil {
		return err
	}
	a.say("would destroy the %s %s and its %s: %s come back once it is gone for good",
		d.Kind, name, plural(uint64(d.Snapshots), "snapshot"), a.amount(bytes))
	return nil
}
