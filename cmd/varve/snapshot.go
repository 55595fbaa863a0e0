package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/httpapi"
	"varve/internal/when"
)

func (a *app) snapshot() *cobra.Command {
	var all bool
	var at string
	var expires expiryFlag
	c := &cobra.Command{
		Use:   "snapshot DATASET@NAME | --all @NAME",
		Short: "Name a moment of a dataset, and keep it",
		Long: `Name the present moment of a dataset, or with --at a past one that is still
within history. With --all the present moment of every dataset is named: it is
the same moment for all of them.

A snapshot costs one flush of the log, whatever the size of the dataset, and is
kept until it is destroyed; with --expires until then. One that is held does not
expire before it is released.`,
		Example: `  varve snapshot disk0@before-upgrade
  varve snapshot disk0@good --at 10m-ago
  varve snapshot --all @nightly --expires 30d
  varve snapshot disk0@nightly --json | jq .lsn`,
		Args:              need("DATASET@NAME"),
		ValidArgsFunction: a.completeArgs(a.datasetsWithAt),
		RunE: func(c *cobra.Command, args []string) error {
			if all {
				return a.snapshotAll(c.Context(), args[0], expires.Expiry)
			}
			var moment *when.Spec
			if c.Flags().Changed("at") {
				w, err := needWhen("--at", at)
				if err != nil {
					return err
				}
				moment = &w
			}
			return a.snapshotOne(c.Context(), args[0], moment, expires.Expiry)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "one moment of all datasets")
	c.Flags().StringVar(&at, "at", "", "a past moment: a WHEN")
	c.Flags().Var(&expires, "expires", "when it goes by itself: 30d, 2027-01-01, never")
	c.MarkFlagsMutuallyExclusive("all", "at")
	c.RegisterFlagCompletionFunc("expires", cobra.FixedCompletions([]string{"never"}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("at", cobra.NoFileCompletions)
	return c
}

func (a *app) snapshotOne(ctx context.Context, address string, at *when.Spec, expires when.Expiry) error {
	dataset, name, err := parseSnapshot(address)
	if err != nil {
		return err
	}
	d, err := a.client().Snapshot(ctx, dataset, name, httpapi.SnapshotOptions{At: at, Expires: expires})
	if err != nil {
		return err
	}
	lsn := d.LSN
	if d.Moment != nil {
		lsn = d.Moment.LSN
	}
	return a.done(d, "snapshot %s@%s is lsn %d", dataset, name, lsn)
}

func (a *app) snapshotAll(ctx context.Context, argument string, expires when.Expiry) error {
	name, found := strings.CutPrefix(argument, "@")
	if !found {
		return fail.New(fail.Invalid, "with --all, %q is no name of snapshots", argument).WithHint("write @NAME")
	}
	d, err := a.client().SnapshotAll(ctx, name, expires)
	if err != nil {
		return err
	}
	return a.done(d, "snapshot @%s of every dataset is lsn %d", name, d.LSN)
}
