package redo

import (
	"context"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
)

// An undo follows its dataset until it has repeated all that clients did, and then
// takes its place while they wait. Where they are as fast as it is, or faster, that
// moment would never come. So from some point on they take turns:
//
//	clients  --------------------|####|----|####|--|####|-|#####-> go on with the result
//	undo     catches up, freely      |catches up while they wait|Replace
//
// Each wait (#) is short, and what they get between two waits becomes less each
// time, so the rest shrinks whatever they do.
const (
	catchUp    = 512                   // operations: with so few left the turns begin
	freeRounds = 8                     // or after so many rounds, each up to the present
	waitTurn   = 50 * time.Millisecond // clients wait for what is repeated in that, and what was read ahead
	firstTurn  = 50 * time.Millisecond // what they get after it, at first;
	leastTurn  = time.Millisecond      // and in the end
	maxTurns   = 1000
)

// follow repeats the operations up to the present and lets clients wait for the
// last of them. It returns the last operation, and what lets them go on, which is to
// be called in any case unless it is nil. Busy where they stay ahead.
func (p *player) follow(ctx context.Context, s *stretch, r *engine.OpReader) (last uint64, resume func(), err error) {
	pick := s.picking()
	defer pick.close()
	n := uint64(catchUp + 1)
	for round := 0; round < freeRounds && n > catchUp; round++ {
		was, before := p.report.Ops, n
		if err := p.run(ctx, s.steps(r, pick, s.e.Status().LastLSN, time.Time{})); err != nil {
			return 0, nil, err
		}
		if n = p.report.Ops - was; round > 1 && n > before/4*3 {
			break // they are about as fast
		}
	}
	if err := p.a.Flush(); err != nil { // nobody has to wait for that
		return 0, nil, err
	}
	open := firstTurn
	for range maxTurns {
		if last, resume, err = p.a.Pause(); err != nil {
			return 0, nil, err
		}
		begun := time.Now()
		if last > r.Last() {
			err = p.run(ctx, s.steps(r, pick, last, begun.Add(waitTurn)))
		}
		goOn := resume
		resume = func() {
			goOn()
			p.report.Waited = max(p.report.Waited, took(begun))
		}
		if err != nil || r.Last() >= last {
			return max(last, r.Last()), resume, err
		}
		resume()
		select {
		case <-time.After(open):
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
		open = max(open/2, leastTurn)
	}
	return 0, nil, fail.New(fail.Busy, "clients do more on %s than can be repeated meanwhile", p.report.Dataset).
		WithHint("try again when they do less; nothing was changed")
}
