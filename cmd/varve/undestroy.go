package main

import (
	"github.com/spf13/cobra"
)

func (a *app) undestroy() *cobra.Command {
	return &cobra.Command{
		Use:   "undestroy DATASET [NEW]",
		Short: "Bring a destroyed dataset back",
		Long: `Bring a destroyed dataset back, with its snapshots and its history, under its
old name or under NEW. "varve list --destroyed" shows those that can come back.`,
		Example: `  varve undestroy trial
  varve undestroy trial trial2`,
		Args:              need("DATASET", "[NEW]"),
		ValidArgsFunction: a.completeArgs(a.destroyed),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := parseDataset(args[0])
			if err != nil {
				return err
			}
			back := name
			newName := ""
			if len(args) > 1 {
				newName, back = args[1], args[1]
			}
			d, err := a.client().Undestroy(c.Context(), name, newName)
			if err != nil {
				return err
			}
			return a.done(d, "brought %s back at lsn %d", back, d.LSN)
		},
	}
}
