package main

import (
	"github.com/spf13/cobra"

	"varve/internal/vfs"
)

func (a *app) init() *cobra.Command {
	var capacity, segment sizeFlag
	segment = defaultSegment
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "Make an empty pool",
		Long: `Make an empty pool in DIR, which must not exist or be empty, or hold what an
interrupted init left. Nothing is served yet; "varve up" does both.`,
		Example: `  varve init /srv/pool --capacity 200G
  varve serve /srv/pool`,
		Args: need("DIR"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := makePool(vfs.OS(), args[0], uint64(capacity), uint64(segment)); err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]string{"pool": args[0]})
			}
			a.say("made pool %s; serve it with: varve serve %[1]s", args[0])
			return nil
		},
	}
	c.Flags().Var(&capacity, "capacity", "how much of the file system the pool may use\n(default 80 % of what is free now)")
	c.Flags().Var(&segment, "segment-size", "size of the files that the log is made of")
	return c
}
