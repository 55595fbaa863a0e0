package main

import (
	"github.com/spf13/cobra"

	"varve/internal/when"
)

func (a *app) clone() *cobra.Command {
	return &cobra.Command{
		Use:   "clone DATASET[@WHEN] NEW",
		Short: "Make a dataset that begins as another was at a moment",
		Long: `Make NEW, a dataset of its own that begins as DATASET was at WHEN, or as it is
now. It shares all unchanged data with its origin, takes the time of one flush
of the log, and can be written.`,
		Example: `  varve clone disk0@before-upgrade trial
  varve clone disk0@10m-ago rescue
  varve clone disk0 copy`,
		Args:              need("DATASET[@WHEN]", "NEW"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			w := when.Spec{Kind: when.Now}
			if from.When != nil {
				w = *from.When
			}
			d, err := a.client().Clone(c.Context(), from.Dataset, w, args[1])
			if err != nil {
				return err
			}
			return a.done(d, "cloned %s%s to %s at lsn %d", from.Dataset, w, args[1], d.LSN)
		},
	}
}
