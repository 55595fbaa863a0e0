package main

import (
	"github.com/spf13/cobra"
)

func (a *app) hold() *cobra.Command {
	return &cobra.Command{
		Use:   "hold DATASET@SNAPSHOT TAG",
		Short: "Forbid destroying a snapshot",
		Long: `Put a tag on a snapshot. While it has one, neither the snapshot nor its dataset
can be destroyed. A tag says who wants it kept; a snapshot may have several.
They are shown by "varve list -t snapshot" and "varve show".`,
		Example:           "  varve hold disk0@before-upgrade backup",
		Args:              need("DATASET@SNAPSHOT", "TAG"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, name, err := parseSnapshot(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().Hold(c.Context(), dataset, name, args[1])
			if err != nil {
				return err
			}
			return a.done(d, "%s@%s is held by %s, from lsn %d", dataset, name, args[1], d.LSN)
		},
	}
}
