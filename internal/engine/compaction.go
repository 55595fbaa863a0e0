package engine

import (
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
	PunchSlots(least int) (bytes int64, err error)
	Dead() (bytes int64)
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

// compactDead moves what is alive of mostly dead segments and slots together,
// until enough is free or none is worth it. In a hurry it does not rest.
func (e *Engine) compactDead(r *CleanReport, below float64, enough func() bool, hurry bool) error {
	store, ok := e.store.(compactor)
	if !ok {
		return nil
	}
	tried := map[uint64]bool{}
	for !enough() {
		began := time.Now()
		victims, err := e.victims(store, tried, below, hurry)
		if err != nil || len(victims) == 0 {
			return err
		}
		slot, err := e.compact(store, r, victims)
		if err != nil || slot == 0 {
			return err
		}
		tried[slot] = true
		if !hurry {
			e.pace(time.Since(began))
		}
		select {
		case <-e.closing:
			return nil
		default:
		}
	}
	return nil
}

// compact moves victims into a slot; 0: nothing was moved.
func (e *Engine) compact(store compactor, r *CleanReport, victims []compact.Victim) (slot uint64, err error) {
	sums, moved := map[uint64]map[int]uint32{}, e.relocated()
	for _, v := range victims {
		if moved[v.Segment] {
			continue // the slot that it lies in has checksums
		}
		if sums[v.Segment], err = e.blockSums(v.Segment); err != nil {
			return 0, err
		}
	}
	res, err := store.Compact(victims, func(seg uint64, block int, data []byte) error {
		if want, ok := sums[seg][block]; ok && segment.Checksum(data) != want {
			return fail.New(fail.Corrupt, "segment %d block %d: checksum mismatch", seg, block)
		}
		return nil
	})
	r.Compacted += len(res.Taken)
	r.CopiedBytes += int64(res.Blocks) * BlockSize
	for _, d := range res.Damaged {
		r.Damaged++
		e.quarantined.Add(1)
		e.logger.Error("a damaged block was not moved", "segment", d.Segment, "block", d.Block, "err", d.Err)
	}
	switch {
	case err != nil && res.Slot != 0:
		err = store.Finish()
	case fail.Is(err, fail.NoSpace):
		return 0, nil // there is no room to move anything
	}
	return res.Slot, err
}

// aloneGain is the part of a segment that moving one alone has to give: as one
// of small frames does, whose headers go.
const aloneGain = 8

// victims chooses segments and slots to compact into one slot, and says what of
// them is alive: all that the store may not have.
func (e *Engine) victims(store compactor, tried map[uint64]bool, below float64, short bool) (out []compact.Victim, err error) {
	all, in, err := e.candidates(store, tried)
	if err != nil {
		return nil, err
	}
	size := int(e.store.SegmentSize() / BlockSize)
	room := size - size/16 // the slot's table
	chosen := compact.Choose(all, below, short)
	for i, c := range chosen {
		if room -= c.Live; room < 0 {
			chosen = chosen[:i]
			break
		}
	}
	if len(chosen) == 0 || len(chosen) == 1 && chosen[0].Blocks-chosen[0].Live < size/aloneGain {
		return nil, nil // a slot is as long as what is in it; but one alone may only move
	}
	for _, c := range chosen {
		tried[c.Number] = true
		if c.Number >= compact.SlotBase {
			for _, seg := range in[c.Number] {
				_, live := store.Held(seg)
				out = append(out, compact.Victim{Segment: seg, Live: live})
			}
			continue
		}
		live, err := e.liveRanges(c.Number)
		if err != nil {
			e.logger.Error("a segment cannot be compacted", "segment", c.Number, "err", err)
			continue
		}
		out = append(out, compact.Victim{Segment: c.Number, Live: live})
	}
	return out, nil
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
	size := int(e.store.SegmentSize() / BlockSize)
	since := func(t int64) time.Duration { return time.Duration(max(1, now-t)) }
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	for n, s := range e.space.segs {
		if n < floor && !tried[n] && !moved[n] && s.payload > s.dead {
			all = append(all, compact.Candidate{Number: n, Live: s.payload - s.dead, Blocks: size - s.holes, Age: since(s.usage.LastTime)})
		}
	}
	for _, x := range slots {
		if tried[x.Number] {
			continue
		}
		last := int64(0)
		in[x.Number] = x.Segments
		for _, n := range x.Segments {
			if s := e.space.segs[n]; s != nil {
				last = max(last, s.usage.LastTime)
			}
		}
		all = append(all, compact.Candidate{Number: x.Number, Live: x.Live, Blocks: x.Overhead + x.Blocks - x.Holes, Age: since(last)})
	}
	return all, in, nil
}

// liveRanges returns the payload blocks of a segment that the store may not have.
func (e *Engine) liveRanges(seg uint64) (out []compact.Range, err error) {
	err = segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		if f.Err != nil {
			return f.Err
		}
		if f.Beyond {
			return nil
		}
		e.space.mu.Lock()
		defer e.space.mu.Unlock()
		s := e.space.segs[seg]
		for r := range f.Frame.Runs() {
			if r.Kind == segment.Super {
				continue
			}
			for i := r.First; i < r.First+r.N; i++ {
				b := int(f.Frame.PayloadAddr(i).Block())
				if s == nil || bitOf(s.ready, b) {
					continue
				}
				if k := len(out); k > 0 && out[k-1].Block+out[k-1].Blocks == b {
					out[k-1].Blocks++
					continue
				}
				out = append(out, compact.Range{Block: b, Blocks: 1})
			}
		}
		return nil
	})
	return out, err
}

// blockSums returns what the log says of the payload blocks of a segment.
func (e *Engine) blockSums(seg uint64) (map[int]uint32, error) {
	sums := map[int]uint32{}
	err := segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		for r := range f.Frame.Runs() {
			for i := r.First; i < r.First+r.N; i++ {
				sums[int(f.Frame.PayloadAddr(i).Block())] = f.Frame.CRC(i)
			}
		}
		return nil
	})
	return sums, err
}
