package redo

import (
	"context"
	"slices"
	"time"

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
	out  Filter
}

// concerns reports whether an operation changes what the dataset holds.
func concerns(k oplog.Kind) bool {
	return k.OnFile() || k == oplog.Write || k == oplog.Trim || k == oplog.Resize || turnsBack(k)
}

func turnsBack(k oplog.Kind) bool { return k == oplog.Rollback || k == oplog.Undo }

// survey counts the operations up to a moment and how many are left out. Where the
// dataset was rolled back in between and that stands, all begins there: what was
// before does not count.
func (s *stretch) survey(ctx context.Context, to uint64) (total, out uint64, err error) {
	r, err := s.e.ReadOps(s.from)
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	err = r.To(ctx, s.id, to, func(op *oplog.Op) error {
		if !concerns(op.Kind) {
			return nil
		}
		isOut, err := s.out(op)
		switch {
		case err != nil:
			return err
		case isOut:
			out++
		case turnsBack(op.Kind) && out > 0:
			return fail.New(fail.Invalid, "it was rolled back at lsn %d, after operations that are to be left out", op.LSN).
				WithHint("begin at @lsn:%d or later, or roll back to @lsn:%d first", op.LSN, op.LSN-1)
		case turnsBack(op.Kind):
			s.from, total = op.LSN, 0
			return nil
		}
		total++
		return nil
	})
	return total, out, err
}

// steps reads operations from where r is up to a moment, in batches, with their
// payload.
func (s *stretch) steps(r *engine.OpReader, to uint64) source {
	return func(ctx context.Context, send func(*batch) error) error {
		b := &batch{}
		flush := func() error {
			if len(b.steps) == 0 {
				return nil
			}
			err := send(b)
			b = &batch{}
			return err
		}
		err := r.To(ctx, s.id, to, func(op *oplog.Op) error {
			if !concerns(op.Kind) {
				return nil
			}
			out, err := s.out(op)
			if err != nil {
				return err
			}
			n := engine.PayloadLen(op)
			if len(b.steps) == batchOps || len(b.data)+n > batchBytes && len(b.data) > 0 {
				if err := flush(); err != nil {
					return err
				}
			}
			step := Step{Out: out}
			if !out && (op.Kind == oplog.Write || op.Kind == oplog.WriteFile) {
				start := len(b.data)
				b.data = slices.Grow(b.data, n)[:start+n] // payload that moves is not used before it is sent
				if err := s.e.Payload(op, b.data[start:]); err != nil {
					return err
				}
				in := start + int(op.Off%engine.BlockSize)
				step.Data = b.data[in : in+int(op.Len)]
			}
			own := *op
			own.Extents = nil
			step.Op = &own
			b.steps = append(b.steps, step)
			return nil
		})
		if err != nil {
			return err
		}
		return flush()
	}
}

// catchUp is how many operations may be left when the dataset is paused.
const catchUp = 512

// follow repeats the operations up to the present, until few are left; then the
// dataset pauses, and the rest follows. It returns the last operation, and what
// lets the dataset go on.
func (p *player) follow(ctx context.Context, s *stretch, r *engine.OpReader) (last uint64, resume func(), err error) {
	for round, n := 0, uint64(catchUp+1); round < 8 && n > catchUp; round++ {
		was := p.report.Ops
		if err := p.run(ctx, s.steps(r, s.e.Status().LastLSN)); err != nil {
			return 0, nil, err
		}
		n = p.report.Ops - was
	}
	last, resume = p.a.Pause()
	if last > r.Last() {
		err = p.run(ctx, s.steps(r, last))
	}
	return max(last, r.Last()), resume, err
}

func took(since time.Time) float64 { return time.Since(since).Seconds() }
