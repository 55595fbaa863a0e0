package engine

import (
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// orphans are payload blocks in the frames that recovery reads to which nothing
// leads: tree nodes and pages of deaths of a checkpoint that was not finished,
// and data whose operation the crash took, or whose dataset is given up as a
// whole. They are free.
type orphans struct {
	super uint64 // sequence number of the super root: nodes in later frames are of no checkpoint
	data  map[uint64]struct{}
	nodes []uint64
}

func (o *orphans) frame(f *segment.Frame) {
	for r := range f.Runs() {
		for i := r.First; i < r.First+r.N; i++ {
			a := uint64(f.PayloadAddr(i))
			switch {
			case r.Kind == segment.Data:
				o.data[a] = struct{}{}
			case r.Kind != segment.Super && f.Position.Seq > o.super:
				o.nodes = append(o.nodes, a)
			}
		}
	}
}

func (o *orphans) op(op *oplog.Op) {
	for _, x := range op.Extents {
		for i := range uint64(len(x.CRC)) {
			delete(o.data, x.Addr+i)
		}
	}
}

// free enters them in the map of free blocks.
func (o *orphans) free(m *freeMap) error {
	for a := range o.data {
		if err := m.add(a, 1); err != nil {
			return err
		}
	}
	for _, a := range o.nodes {
		if err := m.add(a, 1); err != nil {
			return err
		}
	}
	return nil
}

// recountUsage counts anew what lies in the segments that the last checkpoint
// was not finished with, up to the end of the log.
func (e *Engine) recountUsage(from segment.Position, tail segment.Tail) error {
	segs, err := e.store.List()
	if err != nil {
		return err
	}
	for _, s := range segs {
		if s.Number < from.Addr.Segment() || s.Number > tail.Addr.Segment() {
			continue
		}
		u := segment.Usage{Segment: s.Number}
		err := segment.Inspect(e.store, e.super.pool, s.Number, func(f segment.Found) error {
			if f.Err == nil && !f.Beyond && f.Frame.Position.Seq <= tail.Seq {
				u.Count(f.Frame)
			}
			return nil
		})
		if err != nil && !fail.Is(err, fail.Corrupt) {
			return err
		}
		e.space.setUsage(u)
		e.records[itemKey(tagSegment, 0, u.Segment)] = usageRecord(u)
	}
	return nil
}

// dropMissing forgets the segments that were given back after the checkpoint
// that was read.
func (e *Engine) dropMissing() error {
	segs, err := e.store.List()
	if err != nil {
		return err
	}
	there := map[uint64]bool{}
	for _, s := range segs {
		there[s.Number] = true
	}
	for n := range e.relocated() {
		there[n] = true
	}
	for n := range e.space.segs {
		if !there[n] {
			e.space.drop(n, e.records)
		}
	}
	return nil
}
