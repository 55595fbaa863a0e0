package engine

import (
	"cmp"

	"varve/internal/fail"
	"varve/internal/segment"
)

// olderRoots is how many super roots before the newest recovery goes back to.
// The last two are always kept whole.
const olderRoots = 2

// readWhole reads the state of a pool for writing. Where AcceptLoss gives up what the
// newest super root needs, an older one has to serve. Only where none does are
// operations given up that can be read.
func readWhole(o Options) (*Engine, segment.Tail, error) {
	e, tail, err := readRoots(o, reading{write: true})
	if o.AcceptLoss && fail.Is(err, fail.Corrupt) {
		return readRoots(o, reading{write: true, giveUp: true})
	}
	return e, tail, err
}

// reading is how the state of a pool is read.
type reading struct {
	write  bool        // to go on from it
	giveUp bool        // operations that cannot be repeated
	passed func(error) // told why a super root does not serve, where an older one may; nil: the log is
}

// readRoots reads the state of a pool. Where the newest super root or what it needs is
// damaged, an older one serves as well: it takes longer, and loses nothing, because the
// whole log after it must still be there.
func readRoots(o Options, r reading) (*Engine, segment.Tail, error) {
	var from segment.Addr
	var attested uint64
	var first error
	for range olderRoots + 1 {
		e := newEngine(o)
		e.mayGiveUp = r.giveUp
		tail, root, err := e.readState(r.write, from, attested)
		if err == nil && tail.Seq >= root.Seq {
			return e, tail, nil
		}
		if err == nil {
			err = fail.New(fail.Corrupt, "segment %d block %d: the log breaks before a checkpoint that opening needs", tail.Addr.Segment(), tail.Addr.Block())
		}
		if first == nil {
			if first = err; e.wouldGiveUp != "" {
				first = fail.Wrap(fail.Other, err, "").WithHint("--accept-loss gives up %s", e.wouldGiveUp)
			}
		}
		older, berr := e.rootBefore(root)
		e.release()
		switch err := cmp.Or(berr, err); {
		case !fail.Is(err, fail.Corrupt): // the disk does not give what may well be whole
			return nil, segment.Tail{}, err
		case older == 0:
			return nil, segment.Tail{}, first
		}
		if r.passed != nil {
			r.passed(err)
		} else {
			e.logger.Warn("a checkpoint cannot be used; going back to the one before", "err", err)
		}
		from, attested = older, max(attested, root.Seq)
	}
	return nil, segment.Tail{}, first
}

// rootBefore returns the super root that the one at p names, or 0.
func (e *Engine) rootBefore(p segment.Position) (before segment.Addr, err error) {
	if p.Addr == 0 {
		return 0, nil
	}
	err = segment.Inspect(e.store, e.super.pool, p.Addr.Segment(), func(f segment.Found) error {
		if f.Frame.Position.Addr == p.Addr && f.Err == nil {
			before = f.Frame.LastSuper
		}
		return nil
	})
	if err != nil && !fail.Is(err, fail.IO) {
		return 0, nil
	}
	return before, err
}
