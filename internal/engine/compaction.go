package engine

import (
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore/compact"
)

// compactor is a store that can move what is alive of several segments together;
// logical addresses stay.
type compactor interface {
	Compact(victims []compact.Victim, verify func(segment uint64, block int, data []byte) error) (compact.Result, error)
	Relocated() []uint64
	Held(segment uint64) (slot uint64, blocks []compact.Range)
	ReadAt(n uint64, p []byte, off int64) error
	Slots() ([]compact.SlotInfo, error)
	PunchSlots(least, most int) (bytes int64, err error)
	Dead() (bytes int64)
	CheckTables(visit func(slot uint64, err error))
	Finish() error
}

// relocated returns the segments that live in slots only.
func (e *Engine) relocated() map[uint64]bool {
	c, ok := e.store.(compactor)
	if !ok {
		return nil
	}
	out := map[uint64]bool{}
	for _, n := range c.Relocated() {
		out[n] = true
	}
	return out
}

// tellSlots repeats to the store, which does not remember it, which of the
// segments that it moved are gone.
func (e *Engine) tellSlots() error {
	store, ok := e.store.(compactor)
	if !ok {
		return nil
	}
	if err := store.Finish(); err != nil {
		return err
	}
	for _, seg := range store.Relocated() {
		if e.space.knows(seg) {
			continue
		}
		if err := e.store.Remove(seg); err != nil && !fail.Is(err, fail.NotFound) {
			return err
		}
	}
	return nil
}

// move is what one compaction is to move: what is alive of each segment and, for
// those in files of their own, what the log says of each block.
type move struct {
	victims []compact.Victim
	sums    map[uint64]map[int]uint32
}

// compactDead moves what is alive of mostly dead segments and slots together,
// until enough is free or none is worth it. In a hurry it does not rest.
func (r *round) compactDead(below float64, enough func() bool, hurry bool) error {
	e := r.e
	store, ok := e.store.(compactor)
	if !ok {
		return nil
	}
	tried := map[uint64]bool{}
	for !enough() {
		began := time.Now()
		m, more, err := e.choose(store, &r.CleanReport, tried, below, hurry)
		if err != nil || !more {
			return err
		}
		if more, err = e.compact(store, &r.CleanReport, m, tried); err != nil || !more {
			return err
		}
		if !hurry {
			e.pace(time.Since(began))
		}
	}
	return nil
}

// compact moves victims into a slot. more is false where there is no room for one.
func (e *Engine) compact(store compactor, r *CleanReport, m move, tried map[uint64]bool) (more bool, err error) {
	if len(m.victims) == 0 {
		return true, nil // all that were chosen are damaged
	}
	res, err := store.Compact(m.victims, m.verify)
	r.Compacted += len(res.Taken)
	r.CopiedBytes += int64(res.Blocks) * BlockSize
	for _, d := range res.Damaged {
		e.unmovable(r, d.Segment, fail.Wrap(fail.Corrupt, d.Err, "segment %d block %d", d.Segment, d.Block))
	}
	tried[res.Slot] = true
	switch {
	case err != nil && res.Slot != 0:
		err = store.Finish()
	case fail.Is(err, fail.NoSpace):
		return false, nil // there is no room to move anything
	}
	return true, err
}

// verify asks whether a block is what the log says. Of a segment that was moved
// before, the slot says that.
func (m *move) verify(seg uint64, block int, data []byte) error {
	sums, own := m.sums[seg]
	if want, ok := sums[block]; own && (!ok || segment.Checksum(data) != want) {
		return fail.New(fail.Corrupt, "segment %d block %d: checksum mismatch", seg, block)
	}
	return nil
}

// unmovable notes, once, that a segment is damaged: it stays as it is.
func (e *Engine) unmovable(r *CleanReport, seg uint64, err error) {
	r.Damaged++
	e.stuck[seg] = struct{}{}
	e.quarantined.Add(1)
	e.logger.Error("a damaged segment is not compacted: what can be read of it stays where it is", "segment", seg, "err", err)
}

// aloneGain is the part of a segment that moving one alone has to give: as one
// of small frames does, whose headers go.
const aloneGain = 8

func (e *Engine) isStuck(seg uint64) bool {
	_, stuck := e.stuck[seg]
	return stuck
}

// moveMost is how much one compaction gives back, in segments: files that go
// together hold up the file system, and those who wait for space.
const moveMost = 8

// choose chooses segments and slots to compact into one slot, and says what of
// them is alive: all that the store may not have. more is false where none is
// worth it.
func (e *Engine) choose(store compactor, r *CleanReport, tried map[uint64]bool, below float64, short bool) (m move, more bool, err error) {
	all, in, err := e.candidates(store, tried)
	if err != nil {
		return m, false, err
	}
	size := int(e.store.SegmentSize() / BlockSize)
	room, gain := size-size/16, 0 // beside the slot's tables
	chosen := compact.Choose(all, below, short)
	for i, c := range chosen {
		if room -= c.Live; room < 0 || gain >= moveMost*size {
			chosen = chosen[:i]
			break
		}
		gain += c.Blocks - c.Live
	}
	if len(chosen) == 0 || len(chosen) == 1 && chosen[0].Blocks-chosen[0].Live < size/aloneGain {
		return m, false, nil // a slot is as long as what is in it; but one alone may only move
	}
	m.sums = map[uint64]map[int]uint32{}
	for _, c := range chosen {
		tried[c.Number] = true
		if c.Number >= compact.SlotBase {
			for _, seg := range in[c.Number] {
				_, live := store.Held(seg)
				m.victims = append(m.victims, compact.Victim{Segment: seg, Live: live})
			}
			continue
		}
		live, sums, err := e.alive(c.Number)
		if err != nil {
			e.unmovable(r, c.Number, err)
			continue
		}
		if len(live) == 0 {
			continue // a checkpoint came between: it goes as a whole
		}
		m.victims = append(m.victims, compact.Victim{Segment: c.Number, Live: live})
		m.sums[c.Number] = sums
	}
	return m, true, nil
}

// candidates are the segments and slots of which something is dead: what is
// alive of them, and how many blocks they occupy; and which segments each slot has.
func (e *Engine) candidates(store compactor, tried map[uint64]bool) (all []compact.Candidate, in map[uint64][]uint64, err error) {
	floor, moved, now := e.recordsFrom(), e.relocated(), e.poolTime()
	slots, err := store.Slots()
	if err != nil {
		return nil, nil, err
	}
	in = map[uint64][]uint64{}
	occupied := e.occupied()
	size := int(e.store.SegmentSize() / BlockSize)
	since := func(t int64) time.Duration { return time.Duration(max(1, now-t)) }
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	for n, s := range e.space.segs {
		if n < floor && !tried[n] && !moved[n] && !e.isStuck(n) && s.payload > s.dead {
			all = append(all, compact.Candidate{Number: n, Live: s.payload - s.dead, Blocks: min(size-s.holes, occupied[n]), Age: since(s.usage.LastTime)})
		}
	}
	for _, x := range slots {
		if tried[x.Number] || slices.ContainsFunc(x.Segments, e.isStuck) {
			continue
		}
		last := int64(0)
		in[x.Number] = x.Segments
		for _, n := range x.Segments {
			if s := e.space.segs[n]; s != nil {
				last = max(last, s.usage.LastTime)
			}
		}
		all = append(all, compact.Candidate{Number: x.Number, Live: x.Live, Blocks: min(x.Overhead+x.Blocks-x.Holes, int(x.Allocated/BlockSize)), Age: since(last)})
	}
	return all, in, nil
}

// alive returns the payload blocks of a segment that the store may not have, and
// what the log says of them. Corrupt: a header or a summary is damaged, so that
// there are more than its frames show.
func (e *Engine) alive(seg uint64) (live []compact.Range, sums map[int]uint32, err error) {
	ready, want := e.space.needed(seg)
	sums = map[int]uint32{}
	err = segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		if f.Err != nil || f.Beyond {
			return f.Err
		}
		for r := range f.Frame.Runs() {
			for i := r.First; r.Kind != segment.Super && i < r.First+r.N; i++ {
				b := int(f.Frame.PayloadAddr(i).Block())
				if bitOf(ready, b) {
					continue
				}
				sums[b] = f.Frame.CRC(i)
				if k := len(live); k > 0 && live[k-1].Block+live[k-1].Blocks == b {
					live[k-1].Blocks++
					continue
				}
				live = append(live, compact.Range{Block: b, Blocks: 1})
			}
		}
		return nil
	})
	if err == nil && len(sums) != want {
		err = fail.New(fail.Corrupt, "the frames of segment %d show %d blocks that are needed, of %d: a header is damaged", seg, len(sums), want)
	}
	return live, sums, err
}

// needed returns which blocks of a segment the store may have, and how many more
// there are of payload. Nobody changes the bits.
func (m *freeMap) needed(seg uint64) (ready []uint64, blocks int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.segs[seg]; s != nil {
		return s.ready, s.payload - s.dead
	}
	return nil, 0
}
