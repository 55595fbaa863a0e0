package main

import (
	"github.com/spf13/cobra"
)

func (a *app) release() *cobra.Command {
	return &cobra.Command{
		Use:   "release DATASET@SNAPSHOT TAG",
		Short: "Take a hold off a snapshot",
		Long: `Take a tag off a snapshot. Nothing is destroyed by that; but when no tag is
left, the snapshot can be.`,
		Example:           "  varve release disk0@before-upgrade backup",
		Args:              need("DATASET@SNAPSHOT", "TAG"),
		ValidArgsFunction: a.completeArgs(a.moments, a.tags),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, name, err := parseSnapshot(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().Release(c.Context(), dataset, name, args[1])
			if err != nil {
				return err
			}
			return a.done(d, "%s@%s is no longer held by %s, from lsn %d", dataset, name, args[1], d.LSN)
		},
	}
}
