package engine

import (
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// imageAt builds the state of d's line at lsn: the newest root before it, and
// Replay of the operations since into a scratch overlay. The caller owns the
// image's tree. No lock but dataset.mu is taken: usable in recovery, and
// under the gate where the moment is the present one (then it is a freeze).
func (e *Engine) imageAt(d *dataset, lsn uint64) (*overlay, error) { return e.replayTo(d, lsn, false) }

// replayTo is imageAt. With spill, the image is for a view only: what it holds
// may go to the scratch file.
func (e *Engine) replayTo(d *dataset, lsn uint64, spill bool) (*overlay, error) {
	d, lsn, err := d.owner(lsn)
	if err != nil {
		return nil, err
	}
	im, start, err := e.startOf(d, lsn, spill)
	if err != nil || start.lsn >= lsn {
		return im, err
	}
	defer e.reads.begin(start.pos)()
	im.tree.Blocking(true)
	im.spills = spill && start.vers == nil // else it shares pages with the head
	if err := e.replay(im, d, e.readable(start.pos), start.lsn, lsn); err != nil {
		im.close()
		return nil, err
	}
	im.tree.Blocking(false)
	if im.aside = true; im.past != nil && !spill { // the root after each rollback is a base, so nothing is replayed across one
		im.close()
		return nil, fail.New(fail.Corrupt, "lsn %d would be replayed from a snapshot of the past", lsn)
	}
	return im, nil
}

// owner returns the dataset on whose own line a moment of d lies: before it was
// cloned that is its origin.
func (d *dataset) owner(lsn uint64) (*dataset, uint64, error) {
	for lsn < d.created.lsn {
		if d.origin == nil || d.absorbed && lsn > d.fork { // the line on which it was is gone
			return nil, 0, fail.New(fail.OutsideHistory, "lsn %d is before %s was made", lsn, d.name).
				WithHint("oldest moment %s (lsn %d)", d.created.wall().Format(time.RFC3339), d.created.lsn)
		}
		d, lsn = d.origin, min(lsn, d.fork)
	}
	return d, lsn, nil
}

// kept reports whether a moment of d can still be reached. The gate is held.
func (d *dataset) kept(lsn uint64) bool {
	p, lsn, err := d.owner(lsn)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holdsMoment(lsn)
}

// startOf opens the newest image of d's line at or before lsn that is at hand,
// and returns a copy of its root. Where nothing changed the head since lsn,
// that is the head. Only a view may go on from nodes that were never a head's;
// what begins with exactly a root aside takes that, once it is on disk.
func (e *Engine) startOf(d *dataset, lsn uint64, view bool) (*overlay, root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.givenUp != 0 && lsn >= d.givenUp {
		return nil, root{}, d.damage
	}
	if !d.holdsMoment(lsn) {
		return nil, root{}, fail.New(fail.OutsideHistory, "lsn %d is outside the history of %s, which begins at lsn %d", lsn, d.name, d.horizon.lsn).
			WithHint("oldest moment %s (lsn %d)", time.Unix(0, d.horizon.time).UTC().Format(time.RFC3339), d.horizon.lsn)
	}
	if d.changed <= lsn {
		r := d.freeze(e.lastLSN(), e.position())
		defer r.vers.Close()
		r.lsn = lsn
		im := r.overlay(e.cache, &d.head)
		im.hold = e.holdMoment(d, lsn, im)
		return im, *r, nil
	}
	r := d.rootBefore(lsn, !view)
	if x := d.rootAt(lsn); x != nil && x.vers == nil {
		r = x
	}
	if r == nil {
		return nil, root{}, fail.New(fail.Corrupt, "%s has no root at or before lsn %d", d.name, lsn)
	}
	im := r.overlay(e.cache, &d.head)
	im.hold = e.holdMoment(d, lsn, im)
	return im, *r, nil
}

// replay runs the data operations of d's line in (from, to] through Apply into
// im. pos is a frame at or before the first of them.
func (e *Engine) replay(im *overlay, d *dataset, pos segment.Position, from, to uint64) error {
	if err := e.storeHas(to); err != nil {
		return err
	}
	var dec oplog.Decoder
	var op oplog.Op
	done := 0
	return segment.Read(e.store, e.super.pool, pos, to, func(f *segment.Frame) error {
		dec.Reset()
		for lsn, rec := range f.Records() {
			if err := dec.Decode(rec, lsn, &op); err != nil {
				return err
			}
			if lsn <= from || lsn > to || op.Dataset != d.id {
				continue
			}
			if err := e.replayOne(im, d, &op); err != nil {
				return err
			}
			if done++; done%spillOps == 0 {
				if err := e.spill(im, lsn); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// readable is replayFrom for who may hold the gate, or not.
func (e *Engine) readable(p segment.Position) segment.Position {
	if first, ok := e.firstRecords.Load().(segment.Position); ok && p.Addr != 0 && p.Seq < first.Seq {
		return first
	}
	return p
}

// storeHas makes sure that segment.Read finds the operations up to lsn. Those
// that are durable it finds in any case, also when the log has stopped.
func (e *Engine) storeHas(lsn uint64) error {
	if e.log == nil || lsn <= e.log.DurableLSN() {
		return nil
	}
	return e.log.Written(e.log.Cut().Seq)
}

// replayOne applies one operation of d's line to a scratch image. Most change
// only the catalog, and the image not at all.
func (e *Engine) replayOne(im *overlay, d *dataset, op *oplog.Op) error {
	switch op.Kind {
	case oplog.Resize:
		im.size = op.Size
	case oplog.Rollback, oplog.Undo: // the root right after one is a base, but where it was given up
		return fail.New(fail.Corrupt, "%v was given up, and what follows it", op)
	default:
		if !changesData(op.Kind) {
			return nil
		}
		if err := im.prepare(op); err != nil {
			return err
		}
		dead, err := im.apply(op)
		im.rough = im.rough || !dead.empty()
		return err
	}
	return nil
}
