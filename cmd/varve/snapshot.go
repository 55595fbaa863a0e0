package main

import (
	"github.com/spf13/cobra"
)

func (a *app) snapshot() *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot DATASET@NAME",
		Short: "Name the present moment of a dataset, and keep it",
		Long: `Name the present moment of a dataset. A snapshot costs one flush of the log,
whatever the size of the dataset, and is kept until it is destroyed.`,
		Example: `  varve snapshot disk0@before-upgrade
  varve snapshot disk0@nightly --json | jq .lsn`,
		Args:              need("DATASET@NAME"),
		ValidArgsFunction: a.completeArgs(a.datasetsWithAt),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, name, err := parseSnapshot(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().Snapshot(c.Context(), dataset, name)
			if err != nil {
				return err
			}
			return a.done(d, "snapshot %s@%s is lsn %d", dataset, name, d.LSN)
		},
	}
}
