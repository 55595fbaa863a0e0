package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/engine"
)

func (a *app) checkpoint() *cobra.Command {
	return group(&cobra.Command{
		Use:   "checkpoint",
		Short: "Show checkpoints",
		Long: `A checkpoint writes down the state of all datasets as of one moment, so that
opening the pool replays only what came after. The server takes them by itself.
Each can be named as a WHEN: cp:88.`,
		Example: "  varve checkpoint list",
	}, a.checkpointList())
}

func (a *app) checkpointList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the checkpoints that are kept",
		Long: `List the checkpoints that are kept, oldest first. The state at LSN is what each
wrote down. A BASE is one that views of past moments start from.

Columns for -o: number, lsn, time, base.`,
		Example: `  varve checkpoint list
  varve checkpoint list --json | jq '.checkpoints[-1].lsn'`,
		Args: need(),
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := a.client().Checkpoints(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]any{"checkpoints": list})
			}
			type cp = engine.CheckpointInfo
			return table(a, []column[cp]{
				{"number", true, func(c cp) string { return number(c.Number) }},
				{"lsn", true, func(c cp) string { return strconv.FormatUint(c.LSN, 10) }},
				{"time", false, func(c cp) string { return a.time(c.Time) }},
				{"base", false, func(c cp) string { return yesIf(c.Base) }},
			}, nil, list)
		},
	}
}
