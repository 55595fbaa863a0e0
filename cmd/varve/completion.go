package main

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
)

// completionTimeout is how long pressing Tab may wait for the server.
const completionTimeout = time.Second

// maxCompletions is how many names of files are offered.
const maxCompletions = 1000

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

// completer finds what an argument may be that has begun, after others.
type completer func(ctx context.Context, before []string, begun string) []string

// completeArgs completes each argument with what its completer finds.
func (a *app) completeArgs(completers ...completer) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(completers) || applyEnvironment(c.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		directive := cobra.ShellCompDirectiveNoFileComp
		found := completers[len(args)](ctx, args, begun)
		if len(found) == 1 && strings.ContainsAny(found[0][len(found[0])-1:], "@=/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return found, directive
	}
}

// completeEach completes all arguments with the same completer.
func (a *app) completeEach(find completer) cobra.CompletionFunc {
	return func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return a.completeArgs(find)(c, nil, begun)
	}
}

func (a *app) datasets(ctx context.Context, _ []string, _ string) []string {
	return a.datasetNames(ctx, false)
}

func (a *app) destroyed(ctx context.Context, _ []string, _ string) []string {
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
func (a *app) datasetsWithAt(ctx context.Context, _ []string, begun string) []string {
	if strings.Contains(begun, "@") {
		return nil
	}
	names := a.datasetNames(ctx, false)
	for i := range names {
		names[i] += "@"
	}
	return names
}

// moments offers datasets, and once there is an "@" the snapshots of one.
func (a *app) moments(ctx context.Context, _ []string, begun string) []string {
	dataset, _, dated := strings.Cut(begun, "@")
	if !dated {
		return a.datasetNames(ctx, false)
	}
	return a.snapshotsAfter(ctx, dataset, dataset+"@")
}

// momentsOrPool offers moments, and the pool itself.
func (a *app) momentsOrPool(ctx context.Context, before []string, begun string) []string {
	found := a.moments(ctx, before, begun)
	if !strings.Contains(begun, "@") {
		found = append(found, poolName)
	}
	return found
}

// ranges offers moments, and after "..@" the snapshots once more.
func (a *app) ranges(ctx context.Context, before []string, begun string) []string {
	from, _, ranged := strings.Cut(begun, "..@")
	if !ranged {
		return a.moments(ctx, before, begun)
	}
	dataset, _, _ := strings.Cut(from, "@")
	return a.snapshotsAfter(ctx, dataset, from+"..@")
}

// snapshotsAfter offers the snapshots of a dataset, with a prefix.
func (a *app) snapshotsAfter(ctx context.Context, dataset, prefix string) []string {
	var names []string
	for _, s := range a.snapshotsOf(ctx, dataset) {
		names = append(names, prefix+s.Name)
	}
	return names
}

func (a *app) snapshotsOf(ctx context.Context, dataset string) []engine.SnapshotInfo {
	found, _ := a.client().Snapshots(ctx, dataset) // no server: nothing to offer
	return found
}

// tags offers the holds of the snapshot that was named before.
func (a *app) tags(ctx context.Context, before []string, _ string) []string {
	dataset, name, _ := strings.Cut(before[0], "@")
	for _, s := range a.snapshotsOf(ctx, dataset) {
		if s.Name == name {
			return s.Holds
		}
	}
	return nil
}

// properties offers what the dataset or snapshot that was named before can be
// set: "size=", to which a value is added, or, after that, the values that
// there are.
func (a *app) properties(ctx context.Context, before []string, begun string) []string {
	key, _, valued := strings.Cut(begun, "=")
	if strings.Contains(before[0], "@") {
		if valued {
			return []string{"expires=never"}
		}
		return []string{"expires="}
	}
	var found []string
	if before[0] == poolName && !valued {
		for _, name := range poolProperties {
			found = append(found, name+"=")
		}
		return found
	}
	d, err := a.client().Dataset(ctx, before[0])
	if err != nil {
		return nil
	}
	for _, p := range a.settable() {
		switch {
		case p.kind != "" && p.kind != d.Kind:
		case valued && p.name == key:
			for _, v := range p.values {
				found = append(found, key+"="+v)
			}
		case !valued:
			found = append(found, p.name+"=")
		}
	}
	return found
}

// paths offers shares, their snapshots, and after a ":/" what is there.
func (a *app) paths(ctx context.Context, before []string, begun string) []string {
	share, path, inside := strings.Cut(begun, ":/")
	if !inside {
		names := a.shareNames(ctx)
		if dataset, _, dated := strings.Cut(begun, "@"); dated {
			names = a.snapshotsAfter(ctx, dataset, dataset+"@")
		}
		for i := range names {
			names[i] += ":/"
		}
		return names
	}
	dir := path[:strings.LastIndexByte(path, '/')+1]
	p, err := parsePlace(share+":/"+dir, false)
	if err != nil {
		return nil
	}
	var found []string
	a.client().ListFiles(ctx, p, false, func(e files.Entry) error { // what fails offers nothing
		name := share + ":/" + dir + baseName(e.Path)
		if e.Type == "dir" {
			name += "/"
		}
		if strings.HasPrefix(name, begun) {
			found = append(found, name)
		}
		if len(found) > maxCompletions {
			return fail.New(fail.TooBig, "too many")
		}
		return nil
	})
	return found
}

func (a *app) shareNames(ctx context.Context) []string {
	found, _ := a.client().Datasets(ctx, false) // no server: nothing to offer
	var names []string
	for _, d := range found {
		if d.Kind == "share" {
			names = append(names, d.Name)
		}
	}
	return names
}

// pastPaths offers moments, and after a ":/" what was there.
func (a *app) pastPaths(ctx context.Context, before []string, begun string) []string {
	if strings.Contains(begun, ":/") {
		return a.paths(ctx, before, begun)
	}
	return a.moments(ctx, before, begun)
}

// segments offers the numbers of the segments of the log.
func (a *app) segments(ctx context.Context, _ []string, _ string) []string {
	found, _ := a.client().Segments(ctx) // no server: nothing to offer
	var numbers []string
	for _, s := range found {
		numbers = append(numbers, number(s.Number))
	}
	return numbers
}

// completeMoment completes an option that is a moment of the dataset that
// was named before.
func (a *app) completeMoment(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := func(ctx context.Context, _ []string, _ string) []string {
		return a.snapshotsAfter(ctx, args[0], begun[:len(begun)-len(strings.TrimPrefix(begun, "@"))])
	}
	return a.completeArgs(names)(c, nil, begun)
}
