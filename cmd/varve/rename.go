package main

import (
	"github.com/spf13/cobra"
)

func (a *app) rename() *cobra.Command {
	return &cobra.Command{
		Use:   "rename DATASET NEW",
		Short: "Give a dataset another name",
		Long: `Give a dataset another name. Its snapshots, history and clones stay with it.
Clients that are connected stay connected; new ones use the new name.`,
		Example:           "  varve rename disk0 root",
		Args:              need("DATASET", "NEW"),
		ValidArgsFunction: a.completeArgs(a.datasets),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := parseDataset(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().Rename(c.Context(), name, args[1])
			if err != nil {
				return err
			}
			return a.done(d, "%s is now %s, from lsn %d", name, args[1], d.LSN)
		},
	}
}
