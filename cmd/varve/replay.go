package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/when"
)

const conflictHelp = `An operation may depend on one that is left out: its name is taken or gone, its
directory is missing or not empty, its bytes or attributes were last written by
it. --on-conflict says what becomes of it:

    rename-aside  a name that is taken becomes NAME.replay-LSN; what writes over
                  something is repeated; else it is left out. Unless given
    skip          it is left out
    cascade       it is left out, and what depends on it
    keep-newer    it takes the place of what has its name; what writes over
                  something is repeated; else it is left out
    abort         nothing is done at all

Where something was left out for that, the command exits with 3. --taint path also
leaves out what later changed a file or name that something left out had changed;
--taint client also all that whoever did so did from then on.`

func (a *app) replay() *cobra.Command {
	var o redo.ReplayOptions
	var only, exclude, file string
	c := &cobra.Command{
		Use:   "replay DATASET@WHEN[..@WHEN] --to NEW",
		Short: "Make a dataset of the operations of another that are wanted",
		Long: `Make NEW: what DATASET was at the first WHEN, and of the operations from then
up to the second one, or up to now, those that are wanted, repeated in order.
DATASET stays as it is. NEW is there when all of it is.

A filter for --only and --exclude is conditions with commas between them, which
all must hold: op=KIND+KIND, client=PART, uid=N, ino=N+N, bytes-over=SIZE,
path=GLOB, since=TIME, until=TIME. Of several paths one must match.

With --from FILE the operations come from a file that "varve log --export" made,
of any pool: NEW is what DATASET was at WHEN, with those operations done to it.
Objects that the file does not make are those of the same path.

` + conflictHelp + `

--dry-run shows all conflicts, and which files would be otherwise than at the
second WHEN. Columns for -o: what, path, was, as of "varve undo".`,
		Example: `  varve replay home@1h-ago --exclude client=192.168.1.7 --to home-clean
  varve replay home@monday..@friday --only 'path=/projects/**' --to projects
  varve replay home@now --from week.ops --to home-with-week
  varve replay disk0@lsn:5000..@lsn:6000 --exclude bytes-over=1M --to trial`,
		Args:              need("DATASET@WHEN[..@WHEN]"),
		ValidArgsFunction: a.completeArgs(a.moments),
	}
	how := a.howFlags(c, &o.Options)
	c.RunE = func(c *cobra.Command, args []string) error {
		name, from, to, path, err := parseRange(args[0])
		switch {
		case err != nil:
			return err
		case path != "":
			return fail.New(fail.Invalid, "%q names a path", args[0]).WithHint("--only path=%s/** repeats what was done there", path)
		case o.Name == "" && !o.DryRun:
			return fail.New(fail.Invalid, "--to is missing").WithHint("it names the new dataset")
		}
		if err := how(); err != nil {
			return err
		}
		if file != "" {
			return a.replayFile(c, file, args[0], name, from, o)
		}
		o.From, o.To = from, to
		if o.Only, err = filterText(c, "only", only); err != nil {
			return err
		}
		if o.Exclude, err = filterText(c, "exclude", exclude); err != nil {
			return err
		}
		r, err := a.redoing(&o.Options, func() (*redo.Report, error) { return a.client().Replay(c.Context(), name, o) })
		if err != nil {
			return a.refused(r, err)
		}
		return a.redone(r, func() { a.say("made %s at lsn %d", o.Name, r.LSN) })
	}
	f := c.Flags()
	f.StringVar(&o.Name, "to", "", "name of the new dataset")
	f.StringVar(&file, "from", "", "repeat the operations in this file, or from stdin: -")
	f.StringVar(&only, "only", "", "repeat only operations that this filter accepts")
	f.StringVar(&exclude, "exclude", "", "leave out operations that this filter accepts")
	a.noCompletion(c, "to", "only", "exclude")
	return c
}

// noCompletion keeps the shell from offering files for options.
func (a *app) noCompletion(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// filterText reads the filter of an option; nil if it is not given.
func filterText(c *cobra.Command, flag, text string) (*oplog.Filter, error) {
	if !c.Flags().Changed(flag) {
		return nil, nil
	}
	f, err := oplog.ParseFilter(text)
	return &f, err
}

// replayFile repeats the operations of a file.
func (a *app) replayFile(c *cobra.Command, path, address, name string, at when.Spec, o redo.ReplayOptions) error {
	if strings.Contains(address, "..") {
		return fail.New(fail.Invalid, "%q is a range; the operations of a file have their own", address).WithHint("write %s@WHEN", name)
	}
	for _, flag := range []string{"only", "exclude"} {
		if c.Flags().Changed(flag) {
			return fail.New(fail.Invalid, "--%s does not choose from a file", flag).WithHint("choose with the options of varve log --export")
		}
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return fail.Wrap(fail.NotFound, err, "--from")
		}
		defer file.Close()
	}
	r, err := a.client().ReplayFrom(c.Context(), name, redo.FromOptions{Options: o.Options, At: at, Name: o.Name}, file)
	if err != nil {
		return a.refused(r, err)
	}
	return a.redone(r, func() { a.say("made %s at lsn %d", o.Name, r.LSN) })
}

// howFlags gives a command the options of an undo or a replay; the function it
// returns checks them.
func (a *app) howFlags(c *cobra.Command, o *redo.Options) func() error {
	var policy, taint string
	f := c.Flags()
	f.StringVar(&policy, "on-conflict", "", "what becomes of operations that depend on what is left out")
	f.StringVar(&taint, "taint", "", "also leave out what later changed the same: path or client")
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would happen, and change nothing")
	c.RegisterFlagCompletionFunc("on-conflict", cobra.FixedCompletions(redo.Policies, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("taint", cobra.FixedCompletions([]string{"path", "client"}, cobra.ShellCompDirectiveNoFileComp))
	return func() error {
		if policy != "" && !slices.Contains(redo.Policies, policy) {
			return fail.New(fail.Invalid, "--on-conflict %q is none of %s", policy, strings.Join(redo.Policies, ", "))
		}
		if taint != "" && taint != "path" && taint != "client" {
			return fail.New(fail.Invalid, "--taint %q is neither path nor client", taint)
		}
		o.OnConflict, o.Taint = redo.Policy(policy), redo.Taint(taint)
		return nil
	}
}

// needWhen reads the WHEN of an option that must be there.
func needWhen(flag, s string) (when.Spec, error) {
	w, err := parseWhen(flag, s)
	if err == nil && w == nil {
		err = fail.New(fail.Invalid, "%s is missing", flag).WithHint("%s 10m-ago", flag)
	}
	if err != nil {
		return when.Spec{}, err
	}
	return *w, nil
}

// redoing shows how far an undo or a replay is.
func (a *app) redoing(o *redo.Options, run func() (*redo.Report, error)) (*redo.Report, error) {
	o.Tell = func(p redo.Advance) {
		a.showProgress("%d of %s, %s", p.Ops, plural(p.Total, "operation"), a.amount(p.Bytes))
	}
	defer a.progressEnd()
	return run()
}

// maxShown is how many conflicts people are shown; --json has more.
const maxShown = 20

// redone shows the report of an undo or a replay.
func (a *app) redone(r *redo.Report, did func()) error {
	if a.json {
		if err := a.writeJSON(r); err != nil {
			return err
		}
		return partly(r)
	}
	a.echoRedo(r)
	if r.DryRun && len(r.Changes) > 0 {
		if err := a.changesTable(r); err != nil {
			return err
		}
	}
	a.conflicts(r)
	for _, cause := range slices.Sorted(maps.Keys(r.Causes)) {
		a.say("%s: %s", plural(r.Causes[cause], "conflict"), cause)
	}
	a.say("%s: %d left out, %d tainted, %d repeated (%s), %d left out for conflicts; %.1f s",
		plural(r.Ops, "operation"), r.LeftOut, r.Tainted, r.Repeated, a.amount(r.Bytes), r.Skipped, r.Took)
	if r.Note != "" {
		a.say("%s", r.Note)
	}
	if r.DryRun {
		a.say("nothing was changed: a dry run")
	} else {
		did()
	}
	return partly(r)
}

// conflicts shows the first conflicts.
func (a *app) conflicts(r *redo.Report) {
	for i, c := range r.Clashes {
		if i == maxShown {
			a.say("... and more conflicts: --json shows up to 1000 of them")
			break
		}
		a.say("%s", conflictLine(c))
	}
}

// refused shows the conflicts for which nothing was done, and returns err.
func (a *app) refused(r *redo.Report, err error) error {
	switch {
	case r == nil:
	case a.json:
		if e := a.writeJSON(r); e != nil {
			return e
		}
	default:
		a.conflicts(r)
	}
	return err
}

func partly(r *redo.Report) error {
	if r.Partial {
		return exitPartial
	}
	return nil
}

func (a *app) echoRedo(r *redo.Report) {
	if r.Gap != nil {
		a.say("%s is before the history that is kept: what was done between it and %s, lsn %d, stays", a.localTimes(r.Gap.Spec), a.time(r.From.Time), r.From.LSN)
		return
	}
	a.echo(&r.From)
}

func conflictLine(c redo.Clash) string {
	where := files.Text(c.Path).String()
	if c.Len > 0 {
		where += fmt.Sprintf(" %d+%d", c.Off, c.Len)
	}
	line := fmt.Sprintf("lsn %d %s %s: %s", c.LSN, c.Op, where, c.Cause)
	if c.With != 0 {
		line += fmt.Sprintf(" (lsn %d)", c.With)
	}
	line += ": " + c.Action
	if c.Name != "" {
		line += ", now " + files.Text(c.Name).String()
	}
	return line
}
