package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/files"
)

// usualVersions are the columns of varve versions.
var usualVersions = []string{"lsn", "time", "size", "what", "client"}

func (a *app) versions() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "versions SHARE:/path",
		Short: "Show what there was at a path, and when",
		Long: `Show the versions of a file, oldest first: when each came to be, its size, what
happened, and who did it. It starts from the path, so what was removed is shown
too, and so is what replaced it. A version is read as SHARE@lsn:LSN:/path.

Changes of one kind by one client that follow each other within two seconds are
one version, as writing a large file takes many; with --all each is one. A
snapshot always separates two. What had the path before it was renamed to it has
its versions there.

Columns for -o: lsn, time, size, what, client, other, ino, changes. OTHER is the
name before or after a rename; CHANGES, how many operations there were.`,
		Example: `  varve versions home:/notes.txt
  varve cat home@lsn:812455:/notes.txt
  varve versions home:/gone --json | jq -c 'select(.gone)'`,
		Args:              need("SHARE:/path"),
		ValidArgsFunction: a.completeArgs(a.paths),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePlace(args[0], false)
			if err != nil {
				return err
			}
			if p.When != nil {
				return fail.New(fail.Invalid, "%q names a moment; versions are those of all moments", args[0]).WithHint("write %s:%s", p.Share, p.Path)
			}
			out, err := newRows(a, a.versionColumns(), usualVersions)
			if err != nil {
				return err
			}
			return out.end(a.client().Versions(c.Context(), p.Share, p.Path, all, out.add))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every single change")
	return c
}

func (a *app) versionColumns() []column[files.Version] {
	type ver = files.Version
	return []column[ver]{
		{"lsn", true, func(v ver) string { return number(v.LSN) }},
		{"time", false, func(v ver) string { return a.time(v.Time) }},
		{"size", true, func(v ver) string {
			if v.Gone {
				return ""
			}
			return a.size(v.Size)
		}},
		{"what", false, func(v ver) string { return v.What }},
		{"client", false, func(v ver) string { return v.Client }},
		{"other", false, func(v ver) string { return v.Other.String() }},
		{"ino", true, func(v ver) string { return number(v.Ino) }},
		{"changes", true, func(v ver) string { return strconv.Itoa(v.Changes) }},
	}
}
