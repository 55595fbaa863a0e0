package engine

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// freeDrops frees the nodes of the pool tree that the last super root named as
// dropped.
func (e *Engine) freeDrops() error {
	died := e.died
	e.died = nil
	for _, x := range died {
		if err := e.space.add(x.Addr, 1); err != nil {
			e.stop(err)
			return err
		}
	}
	return nil
}

// handOver lets the store have what the checkpoint before c freed: c is durable,
// so neither of the last two super roots leads there. The gate is held.
func (e *Engine) handOver(c *cut) {
	e.space.hand(e.freed)
	e.freed = c.freed
	e.floors[0], e.floors[1] = e.floors[1], c.floor
}

// age is how long the pool has been served, ever: what history is measured by.
// No jump of a clock changes it.
func (e *Engine) age() time.Duration { return e.clock.Age() }

// Watermarks of the cleaner: parts of the capacity that are free, in percent, as
// NILFS2's has them. Below the low one it begins, at the high one it ends.
// Segments that are dead as a whole are given back always.
const (
	lowWater  = 10
	highWater = 20
)

const (
	punchLeast  = 16   // blocks in a row: a shorter hole costs the file system more than it gives
	compactLive = 0.25 // segments of which less is alive are compacted;
	scarceLive  = 0.6  // and of which less than this, when hardly anything is free
)

// reclaim is one round of giving back what is free. With force it goes on
// whatever the watermarks say.
func (e *Engine) reclaim(force bool) (r CleanReport, err error) {
	e.cleaning.Lock()
	defer e.cleaning.Unlock()
	defer func() { e.cleaned.note(r) }()
	before, err := e.store.Space()
	if err != nil {
		return r, err
	}
	if r.Retired, err = e.retireDead(); err != nil {
		return r, err
	}
	short := e.percentFree(before)
	switch {
	case short < lowWater:
		e.needy.Store(true)
	case short >= highWater:
		e.needy.Store(false)
	}
	scarce := short < lowWater/2
	if force || e.needy.Load() {
		if r.PunchedBytes, err = e.punchDead(scarce); err != nil {
			return r, err
		}
		if err = e.compactDead(&r, scarce, force); err != nil {
			return r, err
		}
	}
	after, err := e.store.Space()
	r.FreedBytes = max(0, before.Used-after.Used)
	r.RemainingBytes = e.space.unreturned()
	if r.FreedBytes > 0 {
		e.log.SpaceFreed()
	}
	return r, err
}

// percentFree is how much of the capacity writers may still use.
func (e *Engine) percentFree(s segstore.Space) int {
	if s.Capacity <= 0 {
		return 100
	}
	return int(max(0, s.Free-e.log.Reserve()) * 100 / s.Capacity)
}

// recordsFrom is the first segment whose records anybody may need.
func (e *Engine) recordsFrom() uint64 {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return e.floors[0].Addr.Segment()
}

// retireDead gives segments that are dead as a whole back, and returns how many.
func (e *Engine) retireDead() (n int, err error) {
	moved := e.relocated()
	for _, seg := range e.space.deadSegments(e.recordsFrom()) {
		retire := e.log.Retire
		if moved[seg] {
			retire = e.store.Remove
		}
		if err := retire(seg); err != nil && !fail.Is(err, fail.NotFound) {
			if fail.Is(err, fail.Busy) {
				continue
			}
			return n, err
		}
		e.gate.Lock()
		e.space.drop(seg, e.records)
		e.gate.Unlock()
		n++
	}
	return n, nil
}

// deadSegments returns the segments below floor without a payload block that
// anybody needs.
func (m *freeMap) deadSegments(floor uint64) (out []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, s := range m.segs {
		if n < floor && s.dead == s.payload {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// hole is a run of dead blocks that the store still has.
type hole struct {
	seg      uint64
	block, n int
}

// holes returns the runs of at least least dead blocks that were not punched yet,
// and counts them as punched.
func (m *freeMap) holes(least int) (out []hole) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for seg, s := range m.segs {
		runsOf(s.ready, least, func(block, n int) {
			for b := block; b < block+n; b++ {
				if !bitOf(s.punched, b) {
					out = append(out, hole{seg: seg, block: block, n: n})
					return
				}
			}
		})
	}
	for _, h := range out {
		s := m.segs[h.seg]
		s.punched = slices.Grow(s.punched, max(0, len(s.ready)-len(s.punched)))[:max(len(s.punched), len(s.ready))]
		for b := h.block; b < h.block+h.n; b++ {
			s.punched[b/64] |= 1 << (b % 64)
		}
	}
	slices.SortFunc(out, func(a, b hole) int { return cmp.Compare(a.seg, b.seg) })
	return out
}

// punchDead frees runs of dead blocks inside segments, and returns how many
// bytes.
func (e *Engine) punchDead(scarce bool) (bytes int64, err error) {
	least := punchLeast
	if scarce {
		least = 1
	}
	for _, h := range e.space.holes(least) {
		err := e.store.PunchHole(h.seg, int64(h.block)*BlockSize, int64(h.n)*BlockSize)
		if fail.Is(err, fail.NotFound) {
			continue
		}
		if err != nil {
			return bytes, err
		}
		bytes += int64(h.n) * BlockSize
	}
	return bytes, nil
}

// unreturned is how many bytes are free in segments that are still there.
func (m *freeMap) unreturned() (bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.segs {
		punched := 0
		for _, w := range s.punched {
			punched += bits.OnesCount64(w)
		}
		bytes += int64(s.free-punched) * BlockSize
	}
	return bytes
}

// pace makes the cleaner rest as long as it has worked, unless it is in a hurry:
// the foreground has the disk too.
func (e *Engine) pace(worked time.Duration) {
	select {
	case <-e.closing:
	case <-time.After(min(worked, time.Second)):
	}
}
