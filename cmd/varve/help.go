package main

import (
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
)

func (a *app) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show what a command does",
		Long:  `Show what a command does, as "varve COMMAND --help" does.`,
		Example: `  varve help rollback
  varve help volume create`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if of, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fail.New(fail.Invalid, "there is no command %q", strings.Join(args, " ")).WithHint("varve --help lists them")
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}
