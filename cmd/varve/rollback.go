package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/when"
)

func (a *app) rollback() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "rollback DATASET@WHEN[:/path]",
		Short: "Make a dataset, or a path of a share, what it was at a moment",
		Long: `Make DATASET what it was at WHEN. Nothing newer is lost: the moments in between
stay history, snapshots stay, and a guard snapshot that the answer names keeps
what the dataset was before. Rolling back to the guard undoes the rollback.

A volume that a client may write is busy; --force disconnects its clients first.
A share is rolled back under its clients' feet, at once: what they have open and
was not there at WHEN is gone.

With a path of a share only that file, or that directory and all below it, becomes
what it was; the rest stays. Each file changes at once, the whole does not. Files
that are the same as at WHEN are not touched.`,
		Example: `  varve rollback disk0@before-upgrade
  varve rollback home@10m-ago --yes
  varve rollback home@10m-ago:/projects/report.txt`,
		Args:              need("DATASET@WHEN[:/path]"),
		ValidArgsFunction: a.completeArgs(a.pastPaths),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePlace(args[0], true)
			switch {
			case err != nil:
				return err
			case p.When == nil:
				return fail.New(fail.Invalid, "%q names no moment", args[0]).WithHint("write %s@WHEN, such as %[1]s@10m-ago", p.Share)
			case p.Path != "/":
				return a.rollbackPath(c.Context(), p)
			}
			return a.rollbackAll(c.Context(), p.Share, *p.When, force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "disconnect clients that may write")
	return c
}

func (a *app) rollbackAll(ctx context.Context, dataset string, w when.Spec, force bool) error {
	w, err := a.confirmRollback(ctx, dataset, dataset, w)
	if err != nil {
		return err
	}
	d, err := a.client().Rollback(ctx, dataset, w, force)
	if err != nil {
		return err
	}
	return a.done(d, "rolled %s back at lsn %d; nothing newer is lost: %s@%s is what it was before", dataset, d.LSN, dataset, d.Guard)
}

func (a *app) rollbackPath(ctx context.Context, p files.Place) error {
	w, err := a.confirmRollback(ctx, p.Share, p.Share+":"+files.Text(p.Path).String(), *p.When)
	if err != nil {
		return err
	}
	hint := "a part of it may be rolled back, and then a guard snapshot has what it was before: varve list -t snapshot " + p.Share
	d, err := a.followCopy(ctx, hint, func(tell func(files.Progress)) (files.Copied, error) {
		return a.client().RollbackPath(ctx, p.Share, p.Path, w, tell)
	})
	if err != nil {
		return err
	}
	a.echo(d.Moment)
	if a.json {
		return a.writeJSON(d)
	}
	a.say("rolled %s:%s back: %s made, %d removed, %s written; nothing newer is lost: %s@%s is what it was before",
		p.Share, d.Path, plural(d.Files, "file"), d.Removed, a.amount(d.Bytes), p.Share, d.Guard)
	return nil
}

// confirmRollback asks, and returns the moment that was agreed to.
func (a *app) confirmRollback(ctx context.Context, dataset, what string, w when.Spec) (when.Spec, error) {
	var m engine.Moment
	find := func() (err error) {
		m, err = a.client().Resolve(ctx, dataset, w)
		return err
	}
	err := a.confirm(ctx, find, func() (string, error) {
		a.echo(&m)
		if w.Kind == when.Ago { // what is agreed to, not what it is by then
			w = when.Spec{Kind: when.LSN, LSN: m.LSN}
		}
		return question(what, m), nil
	})
	return w, err
}

func question(what string, m engine.Moment) string {
	return fmt.Sprintf("Roll %s back to %s? Nothing newer is lost: it stays history, and a guard snapshot keeps the present.",
		what, m.Time.Local().Format(time.RFC3339))
}
