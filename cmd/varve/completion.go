package main

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/fail"
)

// completionTimeout is how long pressing Tab may wait for the server.
const completionTimeout = time.Second

func (a *app) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Write a script that completes commands and names in a shell",
		Long: `Write a script for a shell. It completes commands, flags, and the names of
datasets and snapshots, which it asks the server of the pool for.`,
		Example: `  varve completion bash > /etc/bash_completion.d/varve
  varve completion zsh > "${fpath[1]}/_varve"
  varve completion fish > ~/.config/fish/completions/varve.fish`,
		Args:      need("bash|zsh|fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			var script bytes.Buffer
			var err error
			switch root := c.Root(); args[0] {
			case "bash":
				err = root.GenBashCompletionV2(&script, true)
				script.WriteString("\n# An address such as disk0@clean is one word.\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//@/}\n")
			case "zsh":
				err = root.GenZshCompletion(&script)
			case "fish":
				err = root.GenFishCompletion(&script, true)
			default:
				return fail.New(fail.Invalid, "no completion for %q; there is bash, zsh and fish", args[0])
			}
			if err != nil {
				return fail.Wrap(fail.Other, err, "completion")
			}
			return a.write(script.String())
		},
	}
}

// completeArgs completes the first argument with what names finds.
func (a *app) completeArgs(names func(ctx context.Context, begun string) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || applyEnvironment(c.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		directive := cobra.ShellCompDirectiveNoFileComp
		found := names(ctx, begun)
		if len(found) == 1 && strings.HasSuffix(found[0], "@") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return found, directive
	}
}

func (a *app) datasets(ctx context.Context, _ string) []string {
	return a.datasetNames(ctx, false)
}

func (a *app) destroyed(ctx context.Context, _ string) []string {
	return a.datasetNames(ctx, true)
}

func (a *app) datasetNames(ctx context.Context, destroyed bool) []string {
	found, _ := a.client().Datasets(ctx, destroyed) // no server: nothing to offer
	var names []string
	for _, d := range found {
		names = append(names, d.Name)
	}
	return names
}

// datasetsWithAt offers "disk0@", to which a new name is added.
func (a *app) datasetsWithAt(ctx context.Context, begun string) []string {
	if strings.Contains(begun, "@") {
		return nil
	}
	names := a.datasets(ctx, begun)
	for i := range names {
		names[i] += "@"
	}
	return names
}

// moments offers datasets, and once there is an "@" the snapshots of one.
func (a *app) moments(ctx context.Context, begun string) []string {
	dataset, _, dated := strings.Cut(begun, "@")
	if !dated {
		return a.datasets(ctx, begun)
	}
	found, _ := a.client().Snapshots(ctx, dataset) // no server: nothing to offer
	var names []string
	for _, s := range found {
		names = append(names, s.Dataset+"@"+s.Name)
	}
	return names
}
