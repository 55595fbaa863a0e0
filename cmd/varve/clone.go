package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/when"
)

func (a *app) clone() *cobra.Command {
	var budget sizeFlag
	var full string
	c := &cobra.Command{
		Use:   "clone DATASET[@WHEN] NEW",
		Short: "Make a dataset that begins as another was at a moment",
		Long: `Make NEW, a dataset of its own that begins as DATASET was at WHEN, or as it is
now. It shares all unchanged data with its origin, takes the time of one flush
of the log, and can be written.

With --budget it may change so many bytes of what it began with. When they are
used up its writes fail, or with --on-full reset it becomes again what it began
with. Both are properties, which "varve set" changes later.`,
		Example: `  varve clone disk0@before-upgrade trial
  varve clone disk0@golden test7 --budget 20M --on-full reset
  varve clone disk0@10m-ago rescue
  varve clone disk0 copy`,
		Args:              need("DATASET[@WHEN]", "NEW"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			properties := map[string]string{}
			if c.Flags().Changed("budget") {
				properties["budget"] = strconv.FormatUint(uint64(budget), 10)
			}
			if full != "" {
				properties["on-full"] = full
			}
			w := when.Spec{Kind: when.Now}
			if from.When != nil {
				w = *from.When
			}
			d, err := a.client().Clone(c.Context(), from.Dataset, w, args[1], properties)
			if err != nil {
				return err
			}
			return a.done(d, "cloned %s%s to %s at lsn %d", from.Dataset, w, args[1], d.LSN)
		},
	}
	c.Flags().Var(&budget, "budget", "how much it may change: bytes, or with K, M, G, T")
	c.Flags().StringVar(&full, "on-full", "", "what happens when the budget is used up: fail or reset")
	c.RegisterFlagCompletionFunc("budget", cobra.NoFileCompletions)
	c.RegisterFlagCompletionFunc("on-full", cobra.FixedCompletions(onFull, cobra.ShellCompDirectiveNoFileComp))
	return c
}
