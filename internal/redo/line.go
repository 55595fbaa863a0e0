package redo

import (
	"context"
	"errors"
	"time"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
)

// stretch are the operations of a dataset after one moment up to another, of which
// some are left out.
type stretch struct {
	e    *engine.Engine
	id   uint64
	from uint64
	pick picker
}

// picker says which operations are left out.
type picker struct {
	only, exclude *oplog.Filter // nil: all, none
	until         uint64        // what came after it never is
}

// picking is one pass of a picker over operations in order. Where paths matter it
// follows the names, as they were.
type picking struct {
	picker
	names *ask.Follower // nil: they do not
}

func (s *stretch) picking() *picking {
	p := &picking{picker: s.pick}
	if p.only != nil && p.only.HasPaths() || p.exclude != nil && p.exclude.HasPaths() {
		p.names = ask.Follow(s.e, s.id)
	}
	return p
}

func (p *picking) close() {
	if p.names != nil {
		p.names.Close()
	}
}

// out reports whether an operation is left out, and takes it.
func (p *picking) out(op *oplog.Op) (out bool, err error) {
	if op.LSN > p.until {
		return false, nil
	}
	if op.Kind.TurnsBack() && !names(p.exclude, op.Kind) {
		return false, p.apply(op)
	}
	if p.only != nil && !op.Kind.TurnsBack() {
		in, err := p.match(p.only, op)
		if out = !in; err != nil {
			return false, err
		}
	}
	if p.exclude != nil && !out {
		if out, err = p.match(p.exclude, op); err != nil {
			return false, err
		}
	}
	return out, p.apply(op)
}

func (p *picking) apply(op *oplog.Op) error {
	if p.names == nil {
		return nil
	}
	return p.names.Apply(op)
}

// names reports whether a filter means operations of a kind by its name, or by
// meaning all. Only such a filter leaves out one that turns a dataset back: without
// it what was turned back would come again, which a condition on clients or bytes
// does not ask for.
func names(f *oplog.Filter, k oplog.Kind) bool {
	return f != nil && (f.String() == "" || f.Kinds.Has(k))
}

func (p *picking) match(f *oplog.Filter, op *oplog.Op) (bool, error) {
	if !f.Match(op) || !f.HasPaths() {
		return f.Match(op), nil
	}
	path, path2, err := p.names.Before(op)
	if fail.Is(err, fail.Stale) {
		return false, nil // nobody knows any more
	}
	return f.MatchPath(path, path2), err
}

// concerns reports whether an operation changes what the dataset holds.
func concerns(k oplog.Kind) bool {
	return k.OnData() || k == oplog.Resize || k.TurnsBack()
}

// survey counts the operations up to a moment and how many are left out. Where the
// dataset was rolled back in between and that stands, all begins there: what was
// before does not count.
func (s *stretch) survey(ctx context.Context, to uint64) (total, out uint64, err error) {
	r, err := s.e.ReadOps(s.id, s.from)
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	pick := s.picking()
	defer pick.close()
	err = r.To(ctx, s.id, to, func(op *oplog.Op) error {
		if !concerns(op.Kind) {
			return nil
		}
		left, err := pick.out(op)
		switch {
		case err != nil:
			return err
		case left:
			out++
		case op.Kind.TurnsBack() && out > 0:
			return fail.New(fail.Invalid, "the dataset was rolled back at lsn %d, perhaps by an undo, after operations that are to be left out", op.LSN).
				WithHint("begin at @lsn:%d or later, or roll it back to @lsn:%d first", op.LSN, op.LSN-1)
		case op.Kind.TurnsBack():
			s.from, total = op.LSN, 0
			return nil
		}
		total++
		return nil
	})
	return total, out, err
}

// errLate ends the reading of operations when its time is over.
var errLate = errors.New("the time is over")

// steps reads operations from where r is up to a moment, in batches, with their
// payload; not all of them where it gets later than by, if that is not zero.
func (s *stretch) steps(r *engine.OpReader, pick *picking, to uint64, by time.Time) source {
	return func(ctx context.Context, send func(*batch) error) error {
		f := filler{send: send}
		err := r.To(ctx, s.id, to, func(op *oplog.Op) error {
			if !concerns(op.Kind) {
				return nil
			}
			if !by.IsZero() && time.Now().After(by) {
				return errLate
			}
			out, err := pick.out(op)
			if err != nil {
				return err
			}
			n := 0
			if !out && op.Kind.Writes() {
				n = engine.PayloadLen(op)
			}
			step, payload, err := f.add(op, n)
			if err != nil {
				return err
			}
			if step.Out = out; n == 0 {
				return nil
			}
			in := int(op.Off % engine.BlockSize)
			if in+int(op.Len) > n {
				return fail.New(fail.Corrupt, "%v has %d bytes of payload", op, n)
			}
			step.Data = payload[in : in+int(op.Len)]
			return s.e.Payload(op, payload)
		})
		if err != nil && err != errLate {
			return err
		}
		return f.flush()
	}
}

func took(since time.Time) float64 { return time.Since(since).Seconds() }
