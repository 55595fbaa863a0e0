package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

func (a *app) check() *cobra.Command {
	var data bool
	c := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Verify the pool, served or not",
		Long: `Verify every frame, tree node and reference of the pool, and with --data every
byte of payload. Without DIR the server of the pool does it while it serves.
With DIR, the directory of a pool that is not served, this command does it
itself, and changes nothing.

What is damaged is listed on stdout, a line for each; then the exit code is 2.`,
		Example: `  varve check
  varve check varve-data --data`,
		Args: need("[DIR]"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			verify := a.client().Check
			if len(args) > 0 {
				if info, err := os.Stat(args[0]); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
					return fail.New(fail.Invalid, "%q is no directory here", args[0]).
						WithHint("without an argument varve check asks the server of --pool")
				}
				verify = func(ctx context.Context, data bool, progress func(done, total uint64)) (engine.CheckReport, error) {
					return checkDir(ctx, args[0], data, progress)
				}
			}
			report, err := verify(c.Context(), data, a.progress)
			a.progressEnd()
			if err != nil {
				return err
			}
			return a.checked(report)
		},
	}
	c.Flags().BoolVar(&data, "data", false, "read and verify every byte of payload too")
	return c
}

func (a *app) checked(r engine.CheckReport) error {
	if err := a.writeReport(r); err != nil {
		return err
	}
	if n := len(r.Damage); n > 0 {
		a.say("varve: %d damaged", n)
		return exitDamage
	}
	return nil
}

func (a *app) writeReport(r engine.CheckReport) error {
	if a.json {
		return a.writeJSON(r)
	}
	for _, d := range r.Damage {
		if err := a.write(d.Where + "\t" + d.What + "\n"); err != nil {
			return err
		}
	}
	count := func(n uint64) string { return strconv.FormatUint(n, 10) }
	a.say("checked %d datasets, %d snapshots, %s nodes, %s extents, %s frames, %s operations, %s of payload",
		r.Datasets, r.Snapshots, count(r.Nodes), count(r.Extents), count(r.Frames), count(r.Ops), a.size(r.Bytes))
	return nil
}
