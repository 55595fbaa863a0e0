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
	Pending() []uint64
	Held(segment uint64) (slot uint64, blocks []compact.Range)
	ReadAt(n uint64, p []byte, off int64) error
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

// compactDead moves what is alive of mostly dead segments together, until none
// is worth it or, without force, enough is free.
func (e *Engine) compactDead(r *CleanReport, short, force bool) error {
	store, ok := e.store.(compactor)
	if !ok {
		return nil
	}
	tried := map[uint64]bool{}
	for {
		began := time.Now()
		victims := e.victims(store, tried, short)
		if len(victims) < 2 { // one alone would only move
			return nil
		}
		sums := map[uint64]map[int]uint32{}
		for _, v := range victims {
			tried[v.Segment] = true
			sum, err := e.blockSums(v.Segment)
			if err != nil {
				return err
			}
			sums[v.Segment] = sum
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
		if err != nil && res.Slot != 0 {
			err = store.Finish()
		}
		if err != nil {
			return err
		}
		if len(res.Taken) == 0 {
			return nil
		}
		if sp, err := e.store.Space(); err != nil || !force && e.percentFree(sp) >= highWater {
			return err
		}
		if !force && !short {
			e.pace(time.Since(began))
		}
		select {
		case <-e.closing:
			return nil
		default:
		}
	}
}

// victims chooses segments to compact into one slot, and says what of them is
// alive: all that the store may not have.
func (e *Engine) victims(store compactor, tried map[uint64]bool, short bool) (out []compact.Victim) {
	floor, moved := e.recordsFrom(), e.relocated()
	size := int(e.store.SegmentSize() / BlockSize)
	now := e.poolTime()
	e.space.mu.Lock()
	var all []compact.Candidate
	for n, s := range e.space.segs {
		if n < floor && !tried[n] && !moved[n] && s.payload > s.dead {
			all = append(all, compact.Candidate{Number: n, Live: s.payload - s.dead, Blocks: size, Age: time.Duration(max(1, now-s.usage.LastTime))})
		}
	}
	e.space.mu.Unlock()
	room := size - size/16 // the slot's table
	below := compactLive
	if short {
		below = scarceLive
	}
	for _, c := range compact.Choose(all, below, short) {
		if room -= c.Live; room < 0 {
			break
		}
		live, err := e.liveRanges(c.Number)
		if err != nil {
			e.logger.Error("a segment cannot be compacted", "segment", c.Number, "err", err)
			tried[c.Number] = true
			continue
		}
		out = append(out, compact.Victim{Segment: c.Number, Live: live})
	}
	return out
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
