package redo

import (
	"context"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// ReplayOptions say which operations are repeated: those after From, up to and with
// To, that Only accepts and Exclude does not.
type ReplayOptions struct {
	Options
	From, To      when.Spec
	Only, Exclude *oplog.Filter // nil: all, none
	Name          string        // of the new dataset
}

// Replay makes a new dataset: what another was at one moment, and of the operations
// up to another moment those that are wanted. It is there when all of it is.
func Replay(ctx context.Context, e *engine.Engine, c engine.Caller, dataset string, o ReplayOptions) (*Report, error) {
	begun := time.Now()
	r := &Report{Dataset: dataset, Name: o.Name}
	info, err := e.Dataset(dataset)
	if err != nil {
		return r, err
	}
	if r.From, err = e.Resolve(dataset, o.From); err == nil {
		r.To, err = e.Resolve(dataset, o.To)
	}
	if err == nil && !o.DryRun {
		err = e.FreeName(o.Name)
	}
	if err != nil {
		return r, err
	}
	if oldest := max(info.OldestLSN, info.CreatedLSN); r.From.LSN < oldest {
		return r, fail.New(fail.OutsideHistory, "the operations after lsn %d are not kept any more; those after lsn %d are", r.From.LSN, oldest).
			WithHint("begin at %s@lsn:%d", dataset, oldest)
	}
	s := &stretch{e: e, id: info.ID, from: r.From.LSN, pick: picker{only: o.Only, exclude: o.Exclude, until: r.To.LSN}}
	total, _, err := s.survey(ctx, r.To.LSN)
	if err != nil {
		return r, err
	}
	p, ops, err := r.draft(e, c, s, o.Options, o.Name)
	if err != nil {
		return r, err
	}
	defer p.a.Discard()
	defer ops.Close()
	p.total = total
	pick := s.picking()
	defer pick.close()
	if err := p.run(ctx, s.steps(ops, pick, r.To.LSN, time.Time{})); err != nil {
		return r, err
	}
	if err := r.finish(p, e, info.ID, r.To.LSN, begun); err != nil {
		return r, err
	}
	if !o.DryRun {
		r.Done, err = p.a.Publish(c, o.Name)
		r.Took = took(begun)
	}
	return r, err
}
