package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/redo"
	"varve/internal/when"
)

func (a *app) undo() *cobra.Command {
	var o redo.UndoOptions
	var since, until string
	c := &cobra.Command{
		Use:   "undo DATASET --since WHEN",
		Short: "Undo what somebody did, and keep what others did",
		Long: `Make DATASET what it would be if the operations after --since that the options
select had never happened: what it was then, and all other operations repeated.
Without --client, --path and the like that is all operations up to --until.

Clients go on meanwhile; what they do after the command has begun is kept. At
the end the whole takes effect by one operation. Nothing is lost by it: a guard
snapshot that the answer names keeps what DATASET was, and a rollback to it
undoes the undo.

` + conflictHelp + `

A volume that a client may write is busy; --force disconnects its clients first.
Where --since is before the history that is kept, the undo begins with its oldest
moment, says so, and exits with 3.

--dry-run shows which files it would change and all conflicts. It repeats the
operations out of sight, so it takes as long and needs as much space.

Columns for -o: what, path, was. WHAT is "restored", "back" for what had been
removed, or "removed" for what had been made; WAS is where it is at present.`,
		Example: `  varve undo home --since 1h-ago --client 192.168.1.7 --dry-run
  varve undo home --since @lsn:812455 --until @lsn:812460
  varve undo home --since 10m-ago --path '/projects/**' --op remove,rmdir
  varve undo disk0 --since @before-update --yes`,
		Args:              need("DATASET"),
		ValidArgsFunction: a.completeArgs(a.datasets),
	}
	how := a.howFlags(c, &o.Options)
	match := a.filterFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := parseDataset(args[0])
		if err != nil {
			return err
		}
		w, err := needWhen("--since", since)
		if err != nil {
			return err
		}
		o.Since = w
		if c.Flags().Changed("until") {
			to, err := needWhen("--until", until)
			if err != nil {
				return err
			}
			o.Until = &to
		}
		if o.Match, err = match.filter(); err != nil {
			return err
		}
		if err := how(); err != nil {
			return err
		}
		return a.undone(c.Context(), name, o)
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "undo what came after this moment: a WHEN")
	f.StringVar(&until, "until", "", "and only what came up to this moment: a WHEN")
	f.BoolVar(&o.Force, "force", false, "disconnect clients that may write to a volume")
	c.RegisterFlagCompletionFunc("since", a.completeMoment)
	c.RegisterFlagCompletionFunc("until", a.completeMoment)
	return c
}

func (a *app) undone(ctx context.Context, name string, o redo.UndoOptions) error {
	var gap *engine.Moment
	if !o.DryRun {
		var err error
		if gap, err = a.confirmUndo(ctx, name, &o); err != nil {
			return err
		}
	}
	r, err := a.redoing(&o.Options, func() (*redo.Report, error) { return a.client().Undo(ctx, name, o) })
	if err != nil {
		return a.refused(r, err)
	}
	if gap != nil { // o means where history begins since
		r.Gap, r.Partial = gap, true
	}
	return a.redone(r, func() {
		a.say("undid %s of %s at lsn %d; nothing is lost: %s@%s is what it was before", plural(r.LeftOut+r.Tainted, "operation"), name, r.LSN, name, r.Guard)
	})
}

// confirmUndo asks, after a dry run, and makes o mean what was agreed to. gap is
// that of the dry run.
func (a *app) confirmUndo(ctx context.Context, name string, o *redo.UndoOptions) (gap *engine.Moment, err error) {
	find := func() error { // a moment before history is no failure: it begins with the oldest
		_, err := a.client().Resolve(ctx, name, o.Since)
		if fail.Is(err, fail.OutsideHistory) {
			err = nil
		}
		if err == nil && o.Until != nil {
			_, err = a.client().Resolve(ctx, name, *o.Until)
		}
		return err
	}
	err = a.confirm(ctx, find, func() (string, error) {
		dry := *o
		dry.DryRun = true
		r, err := a.redoing(&dry.Options, func() (*redo.Report, error) { return a.client().Undo(ctx, name, dry) })
		if err != nil {
			return "", err
		}
		a.echoRedo(r)
		if o.OnConflict == redo.Abort && len(r.Clashes) > 0 {
			a.conflicts(r)
			return "", fail.New(fail.Other, "%s; nothing was changed", plural(conflicts(r), "conflict")).WithHint("--on-conflict says what to do about them")
		}
		gap = r.Gap
		o.Since = when.Spec{Kind: when.LSN, LSN: r.From.LSN}
		o.Until = &when.Spec{Kind: when.LSN, LSN: r.To.LSN}
		what := plural(r.Changed, "file")
		if d, err := a.client().Dataset(ctx, name); err == nil && d.Kind != "share" {
			what = a.amount(r.Changed)
		}
		return fmt.Sprintf("Undo %s of %s by %s? It changes %s, with %s. A guard snapshot keeps the present.",
			plural(r.LeftOut+r.Tainted, "operation"), name, strings.Join(r.Clients, ", "), what, plural(conflicts(r), "conflict")), nil
	})
	return gap, err
}

func conflicts(r *redo.Report) (n uint64) {
	for _, k := range r.Causes {
		n += k
	}
	return n
}

// changesTable shows what is otherwise.
func (a *app) changesTable(r *redo.Report) error {
	return table(a, []column[redo.Altered]{
		{"what", false, func(c redo.Altered) string { return c.What }},
		{"path", false, func(c redo.Altered) string { return files.Text(c.Path).String() }},
		{"was", false, func(c redo.Altered) string { return files.Text(c.Was).String() }},
	}, nil, r.Changes)
}
