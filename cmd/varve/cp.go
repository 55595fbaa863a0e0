package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/files"
)

func (a *app) cp() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "cp SHARE[@WHEN]:/path SHARE:/path",
		Short: "Copy files inside the server, out of the past too",
		Long: `Copy a file, or a directory with all that is in it, to another path of the share
or of another one. The bytes do not leave the server, but they are written anew
and take space. Modes, owners, times, extended attributes and hard links within
what is copied are kept, as with cp -a; holes stay holes. Symbolic links are
copied as such.

Into a directory that is there it is copied under its own name. A file that is in
the way is not touched, and the exit code is 14. With --force files are replaced,
each at once, and directories merged.`,
		Example: `  varve cp home@10m-ago:/notes.txt home:/notes-before.txt
  varve cp home@monday:/projects home:/old
  varve cp home:/template work:/`,
		Args:              need("SHARE[@WHEN]:/path", "SHARE:/path"),
		ValidArgsFunction: a.completeArgs(a.paths, a.paths),
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parsePlace(args[0], true)
			if err != nil {
				return err
			}
			to, err := parsePlace(args[1], true)
			if err != nil {
				return err
			}
			if to.When != nil {
				return fail.New(fail.ReadOnly, "%q is in the past, which never changes", args[1]).WithHint("copy to %s:%s", to.Share, to.Path)
			}
			const hint = "what was copied stays; with --force it is copied anew"
			d, err := a.followCopy(c.Context(), hint, func(tell func(files.Progress)) (files.Copied, error) {
				return a.client().Copy(c.Context(), from, to.Share, to.Path, force, tell)
			})
			if err != nil {
				return err
			}
			a.echo(d.Moment)
			if a.json {
				return a.writeJSON(d)
			}
			a.say("copied %s with %s to %s:%s", plural(d.Files, "file"), a.amount(d.Bytes), to.Share, d.Path)
			return nil
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "replace files that are there, merge directories")
	return c
}

// amount shows bytes within a sentence.
func (a *app) amount(n uint64) string {
	if n < 1024 || a.exact {
		return plural(n, "byte")
	}
	return a.size(n)
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
