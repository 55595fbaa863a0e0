package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/when"
)

func (a *app) rollback() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "rollback DATASET@WHEN",
		Short: "Make a dataset what it was at a moment",
		Long: `Make DATASET what it was at WHEN. Nothing newer is lost: the moments in between
stay history, snapshots stay, and a guard snapshot that the answer names keeps
what the dataset was before. Rolling back to the guard undoes the rollback.

A volume that a client may write is busy; --force disconnects its clients first.`,
		Example: `  varve rollback disk0@before-upgrade
  varve rollback disk0@10m-ago --yes`,
		Args:              need("DATASET@WHEN"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, w, err := parseMoment(args[0])
			if err != nil {
				return err
			}
			err = a.confirm(c.Context(), func() (string, error) {
				m, err := a.client().Resolve(c.Context(), dataset, w)
				if err != nil {
					return "", err
				}
				a.echo(&m)
				if w.Kind == when.Ago { // what is agreed to, not what it is by then
					w = when.Spec{Kind: when.LSN, LSN: m.LSN}
				}
				return fmt.Sprintf("Roll %s back to %s? Nothing newer is lost: it stays history, and a guard snapshot keeps the present.",
					dataset, m.Time.Local().Format(time.RFC3339)), nil
			})
			if err != nil {
				return err
			}
			d, err := a.client().Rollback(c.Context(), dataset, w, force)
			if err != nil {
				return err
			}
			return a.done(d, "rolled %s back at lsn %d; nothing newer is lost: %s@%s is what it was before", dataset, d.LSN, dataset, d.Guard)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "disconnect clients that may write")
	return c
}
