package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

func (a *app) destroy() *cobra.Command {
	var now bool
	c := &cobra.Command{
		Use:   "destroy DATASET|DATASET@SNAPSHOT",
		Short: "Destroy a dataset or a snapshot",
		Long: `Destroy a dataset, or one snapshot of it.

A destroyed dataset stays in "varve list --destroyed" for as long as its history
is kept, and "varve undestroy" brings it back; with --now it is freed at once
and cannot come back. A snapshot is only a name for a moment: without it the
moment is kept for as long as history is.`,
		Example: `  varve destroy disk0@before-upgrade
  varve destroy trial --yes
  varve destroy trial --now`,
		Args:              need("DATASET|DATASET@SNAPSHOT"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			address, err := parseAddress(args[0])
			switch {
			case err != nil:
				return err
			case address.When == nil:
				return a.destroyDataset(c.Context(), address.Dataset, now)
			case now:
				return fail.New(fail.Invalid, "--now is for datasets; a snapshot is always freed at once")
			}
			return a.destroySnapshot(c.Context(), args[0])
		},
	}
	c.Flags().BoolVar(&now, "now", false, "free the dataset at once; it cannot come back")
	return c
}

func (a *app) destroyDataset(ctx context.Context, name string, now bool) error {
	after := "varve undestroy " + name + " brings it back while its history is kept"
	if now {
		after = "it cannot come back"
	}
	err := a.confirm(ctx, func() (string, error) {
		d, err := a.client().Dataset(ctx, name)
		return fmt.Sprintf("Destroy the %s %s of %s with %d snapshots? Then %s.",
			d.Kind, name, formatSize(d.Size), d.Snapshots, after), err
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

func (a *app) destroySnapshot(ctx context.Context, address string) error {
	dataset, name, err := parseSnapshot(address)
	if err != nil {
		return err
	}
	err = a.confirm(ctx, func() (string, error) {
		s, err := a.findSnapshot(ctx, dataset, name)
		return fmt.Sprintf("Destroy the snapshot %s@%s of %s?", dataset, name, a.time(s.Time)), err
	})
	if err != nil {
		return err
	}
	d, err := a.client().DestroySnapshot(ctx, dataset, name)
	if err != nil {
		return err
	}
	return a.done(d, "destroyed snapshot %s@%s at lsn %d", dataset, name, d.LSN)
}

func (a *app) findSnapshot(ctx context.Context, dataset, name string) (engine.SnapshotInfo, error) {
	all, err := a.client().Snapshots(ctx, dataset)
	if err != nil {
		return engine.SnapshotInfo{}, err
	}
	for _, s := range all {
		if s.Name == name {
			return s, nil
		}
	}
	return engine.SnapshotInfo{}, fail.New(fail.NotFound, "no snapshot %s@%s", dataset, name).
		WithHint("varve list -t snapshot %s shows them", dataset)
}
