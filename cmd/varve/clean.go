package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
)

func (a *app) clean() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Give dead space back to the file system at once",
		Long: `Give back to the file system what no moment needs any more: segments that are
dead as a whole, holes in others, and what is left of those that are nearly empty,
moved together. The server gives dead segments back by itself, and does the rest
when the pool becomes full; this does it at once, all that is worth the work, and
removes the files that it keeps of dead segments to make new ones of.

It forgets nothing: what history keeps stays. To make more space, shorten that
with "varve set X history=" or "varve prune", or destroy snapshots.

Blocks that turn out to be damaged are left where they are; then the exit code is
2, and "varve check --data" says which.`,
		Example: `  varve clean
  varve clean --json | jq .freed_bytes`,
		Args: need(),
		RunE: func(c *cobra.Command, _ []string) error {
			report, err := a.client().Clean(c.Context(), func(done, total int64) { a.progress(natural(done), natural(total)) })
			a.progressEnd()
			if err != nil {
				return err
			}
			return a.cleaned(report)
		},
	}
}

func (a *app) cleaned(r engine.CleanReport) error {
	if a.json {
		if err := a.writeJSON(r); err != nil {
			return err
		}
	} else {
		a.say("gave back %s: %s", a.amount(natural(r.FreedBytes)), strings.Join(a.cleaning(r), ", "))
		if r.RemainingBytes > 0 {
			a.say("%s more are dead, and not worth the work yet", a.amount(natural(r.RemainingBytes)))
		}
	}
	if r.Damaged > 0 {
		a.say("varve: %s damaged, and not moved; varve check --data finds all", plural(natural(int64(r.Damaged)), "block"))
		return exitDamage
	}
	return nil
}

// cleaning lists how it was done.
func (a *app) cleaning(r engine.CleanReport) []string {
	how := []string{plural(natural(int64(r.Retired)), "dead segment")}
	if r.PunchedBytes > 0 {
		how = append(how, a.amount(natural(r.PunchedBytes))+" of holes")
	}
	if r.Compacted > 0 {
		how = append(how, fmt.Sprintf("%s moved together by copying %s",
			plural(natural(int64(r.Compacted)), "segment"), a.amount(natural(r.CopiedBytes))))
	}
	return how
}
