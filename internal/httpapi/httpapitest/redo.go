package httpapitest

import (
	"context"

	"varve/internal/engine"
	"varve/internal/redo"
)

// Undo finds one operation to undo, and a conflict, at Since.
func (p *Pool) Undo(_ context.Context, c engine.Caller, dataset string, o redo.UndoOptions) (*redo.Report, error) {
	p.Undone = o
	from, err := p.Resolve(dataset, o.Since)
	if err != nil {
		return nil, err
	}
	return p.redone(c, &redo.Report{Dataset: dataset, From: from, DryRun: o.DryRun})
}

// Replay is Undo for a new dataset.
func (p *Pool) Replay(_ context.Context, c engine.Caller, dataset string, o redo.ReplayOptions) (*redo.Report, error) {
	p.Replayed = o
	from, err := p.Resolve(dataset, o.From)
	if err != nil {
		return nil, err
	}
	return p.redone(c, &redo.Report{Dataset: dataset, Name: o.Name, From: from, DryRun: o.DryRun})
}

func (p *Pool) redone(c engine.Caller, r *redo.Report) (*redo.Report, error) {
	r.Ops, r.LeftOut, r.Repeated, r.Skipped, r.Partial = 3, 1, 1, 1, true
	r.Causes = map[string]uint64{"the directory is missing": 1}
	r.Clashes = []redo.Clash{{LSN: 7, Time: Start, Client: "nfs 127.0.0.1:1", Op: "create", Path: "/d/f", Cause: "the directory is missing", With: 6, Action: "left out"}}
	r.Changed, r.Changes = 1, []redo.Altered{{What: "removed", Path: "/d"}}
	if r.DryRun {
		return r, nil
	}
	var err error
	r.Done, err = p.change(c, func(*engine.Done) error { return nil })
	r.Guard = "before-undo-1"
	return r, err
}

// From is Undo for a new dataset, with as many operations as the file has.
func (p *Pool) From(ctx context.Context, c engine.Caller, dataset string, o redo.FromOptions) (*redo.Report, error) {
	r, err := p.Replay(ctx, c, dataset, redo.ReplayOptions{Options: o.Options, From: o.At, To: o.At, Name: o.Name})
	if err != nil {
		return r, err
	}
	r.Ops = 0
	return r, o.Source(ctx, func(*redo.Step) error { r.Ops++; return nil })
}
