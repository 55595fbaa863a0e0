package redo

import (
	"context"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// UndoOptions say which operations are undone: those after Since, up to and with
// Until, that Match accepts.
type UndoOptions struct {
	Options
	Since when.Spec
	Until *when.Spec    // nil: the present
	Match *oplog.Filter // nil: all
	Force bool          // disconnect who may write to a volume
}

// Undo makes a dataset what it would be without some operations: what it was before
// them, and all others repeated. It takes effect by one operation, and what the
// dataset was stays as a guard snapshot. Where Since is before history, it begins
// with the oldest moment that is kept: Report.Gap. NotFound: nothing matches.
func Undo(ctx context.Context, e *engine.Engine, c engine.Caller, dataset string, o UndoOptions) (*Report, error) {
	begun := time.Now()
	r := &Report{Dataset: dataset}
	info, err := e.Dataset(dataset)
	if err != nil {
		return r, err
	}
	if !o.DryRun {
		unfence, err := e.Exclude(dataset, o.Force)
		if err != nil {
			return r, err
		}
		defer unfence()
	}
	if err := r.begin(e, info, o.Since); err != nil {
		return r, err
	}
	if r.To, err = e.Resolve(dataset, when.Spec{Kind: when.Now}); err == nil && o.Until != nil {
		r.To, err = e.Resolve(dataset, *o.Until)
	}
	if err != nil {
		return r, err
	}
	since, until := r.From.LSN, r.To.LSN
	if o.Match == nil {
		o.Match = &oplog.Filter{}
	}
	s := &stretch{e: e, id: info.ID, from: since, pick: picker{exclude: o.Match, until: until}}
	began := e.Status().LastLSN
	total, out, err := s.survey(ctx, began)
	if err == nil && out == 0 {
		err = fail.New(fail.NotFound, "no operation on %s matches: there is nothing to undo", dataset).
			WithHint("varve log %s --since @lsn:%d shows what there was", dataset, since)
	}
	if err != nil {
		return r, err
	}
	return r, r.undo(ctx, e, c, s, o, total, began, begun)
}

// undo drafts the state and puts it in the place of the head.
func (r *Report) undo(ctx context.Context, e *engine.Engine, c engine.Caller, s *stretch, o UndoOptions, total, began uint64, begun time.Time) error {
	p, ops, err := r.draft(e, c, s, o.Options, r.Dataset)
	if err != nil {
		return err
	}
	defer p.a.Discard()
	defer ops.Close()
	p.total, p.began = total, began
	if o.DryRun {
		pick := s.picking()
		defer pick.close()
		if err := p.run(ctx, s.steps(ops, pick, e.Status().LastLSN, time.Time{})); err != nil {
			return err
		}
		return r.finish(p, e, s.id, ops.Last(), begun)
	}
	last, resume, err := p.follow(ctx, s, ops)
	if err == nil {
		r.Done, err = p.a.Replace(c, last)
	}
	if resume != nil {
		resume()
	}
	if err != nil {
		return err
	}
	r.compare(e, p, s.id, begun)
	return nil
}

// compare completes the report of an undo that has happened, whatever becomes of
// the dataset, and whatever cannot be read.
func (r *Report) compare(e *engine.Engine, p *player, id uint64, begun time.Time) {
	v, err := e.OpenViewID(id, r.Done.LSN)
	if err == nil {
		defer v.Close()
		p.result = v
		err = r.finish(p, e, id, r.Done.LSN-1, begun)
	}
	if err != nil {
		r.Note = "it is done; which files it changed is not known: " + err.Error()
		r.Took = took(begun)
	}
}

// draft begins a draft from where a stretch begins.
func (r *Report) draft(e *engine.Engine, c engine.Caller, s *stretch, o Options, name string) (*player, *engine.OpReader, error) {
	from := r.From
	from.LSN = s.from
	ops, err := e.ReadOps(s.id, s.from)
	if err != nil {
		return nil, nil, err
	}
	a, err := e.Draft(c, from, name)
	if err != nil {
		ops.Close()
		return nil, nil, err
	}
	if a.From() != s.id {
		a.Discard()
		ops.Close()
		return nil, nil, fail.New(fail.Busy, "%s is another dataset meanwhile", r.Dataset).WithHint("try again")
	}
	return newPlayer(a, o, r), ops, nil
}

// begin finds where to begin: at a moment, or where history does.
func (r *Report) begin(e *engine.Engine, d engine.DatasetInfo, w when.Spec) (err error) {
	r.From, err = e.Resolve(d.Name, w)
	first := err
	oldest := max(d.OldestLSN, d.CreatedLSN)
	switch {
	case fail.Is(err, fail.OutsideHistory), err == nil && r.From.LSN < oldest:
	default:
		return err
	}
	gap := r.From
	gap.Dataset, gap.Spec = d.Name, w.String()
	if w.Kind == when.LSN {
		gap.LSN = w.LSN
	}
	r.From, err = e.Resolve(d.Name, when.Spec{Kind: when.LSN, LSN: oldest})
	if err != nil {
		return err
	}
	if first != nil && (gap.LSN >= oldest || w.Kind == when.Time && !w.Time.Before(r.From.Time)) {
		return first // a moment to come
	}
	if d.OldestLSN <= d.CreatedLSN && d.Origin == "" && d.ForkLSN == 0 {
		return nil // there was nothing before
	}
	r.Gap, r.Partial = &gap, true
	return nil
}

// finish completes the report: the present was that of the moment lsn of a dataset.
func (r *Report) finish(p *player, e *engine.Engine, id, lsn uint64, begun time.Time) error {
	v, err := e.OpenViewID(id, lsn)
	if err != nil {
		return err
	}
	defer v.Close()
	err = p.changes(v)
	r.Took = took(begun)
	return err
}
