package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/engine"
)

func (a *app) diff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff DATASET@A[..@B]",
		Short: "Show what changed between two moments",
		Long: `Show the ranges of a volume in which moment B differs from moment A, or the
present from A. A range is data or, where B has nothing, a hole. What it costs
depends on how much changed, not on the size of the volume.

Columns for -o: offset, length, type. OFFSET is in bytes.`,
		Example: `  varve diff disk0@monday..@tuesday
  varve diff disk0@10m-ago
  varve diff disk0@monday -H -p | awk '{n += $2} END {print n}'
  varve diff disk0@monday --json | jq -c select(.hole)`,
		Args:              need("DATASET@A[..@B]"),
		ValidArgsFunction: a.completeArgs(a.ranges),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, from, to, err := parseRange(args[0])
			if err != nil {
				return err
			}
			out, err := newRows(a, a.changeColumns(), nil)
			if err != nil {
				return err
			}
			var data, holes, count uint64
			moments, err := a.client().Diff(c.Context(), dataset, from, to, func(ch engine.Change) error {
				count++
				if ch.Hole {
					holes += ch.Len
				} else {
					data += ch.Len
				}
				return out.add(ch)
			})
			if err = out.end(err); err != nil {
				return err
			}
			a.echoAll(moments)
			a.say("%d ranges of %s differ: %s of data, %s that are holes now", count, dataset, a.size(data), a.size(holes))
			return nil
		},
	}
}

func (a *app) changeColumns() []column[engine.Change] {
	return []column[engine.Change]{
		{"offset", true, func(c engine.Change) string { return strconv.FormatUint(c.Off, 10) }},
		{"length", true, func(c engine.Change) string { return a.size(c.Len) }},
		{"type", false, func(c engine.Change) string {
			if c.Hole {
				return "hole"
			}
			return "data"
		}},
	}
}
