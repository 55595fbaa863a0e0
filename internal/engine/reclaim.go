package engine

import (
	"cmp"
	"context"
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
	e.checks.hand(&e.space, e.freed)
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

// effort is a stage of a round of the cleaner. Cheap ones come first, and each is
// made only while less than until percent of the capacity are free. What costs is
// calls: a hole is one to the file system, which commits it and keeps an extent
// more, whatever its length. On some disks that takes as long as copying a
// hundred blocks. So what little is left of a segment is moved before holes are
// made in it; but where much is alive they are cheaper than to copy that.
type effort struct {
	until int     // percent
	least int     // blocks in a row: shorter holes are not punched; 0: none are
	below float64 // segments are compacted of whose space less is alive
}

var efforts = []effort{
	{highWater, 0, 0.1},
	{highWater, 16, 0.25},
	{lowWater, 4, 0.25},
	{lowWater, 1, 0.25},
	{lowWater / 2, 1, 0.6},
}

// want is how far a round of the cleaner goes.
type want uint8

const (
	wantMarks want = iota // as the watermarks say
	wantRoom              // until writers that wait can go on for a while
	wantAll               // all that is worth the work
	wantBare              // until no dead byte can be read any more
)

// roomSegments are what writers who waited get at least, so that they do not wait
// for each segment.
const roomSegments = 4

// cleaner gives back what is free, whenever the retainer has looked.
func (e *Engine) cleaner() {
	defer e.background.Done()
	for e.woken(e.cleanWake) {
		if _, err := e.reclaim(context.Background(), wantMarks); err != nil && e.writable() == nil {
			e.logger.Error("giving back space", "err", err)
		}
	}
}

// round is one round of the cleaner. It ends early, and without an error, with ctx.
type round struct {
	e    *Engine
	ctx  context.Context
	want want
	CleanReport
}

// reclaim is one round of giving back what is free.
func (e *Engine) reclaim(ctx context.Context, w want) (CleanReport, error) {
	if !e.beginCleaning(ctx, w) {
		return CleanReport{}, nil
	}
	defer e.cleaning.Unlock()
	r := round{e: e, ctx: ctx, want: w}
	err := r.run()
	e.cleaned.note(r.CleanReport)
	return r.CleanReport, err
}

func (r *round) run() error {
	e := r.e
	before, err := e.store.Space()
	if err != nil {
		return err
	}
	if err = r.retireDead(); err != nil {
		return err
	}
	short := e.percentFree(before)
	if short == 0 { // the reserve is in use
		e.endChecks()
	}
	switch {
	case short < lowWater:
		e.needy.Store(true)
	case short >= highWater:
		e.needy.Store(false)
	}
	for _, x := range efforts {
		if err = r.exert(x); err != nil {
			return err
		}
	}
	if r.want == wantBare {
		if err = r.punchDead(1, r.over, true); err != nil {
			return err
		}
	}
	after, err := e.store.Space()
	r.FreedBytes = max(0, before.Used-after.Used)
	r.RemainingBytes = e.unreturned()
	if r.FreedBytes > 0 {
		e.log.SpaceFreed()
	}
	return err
}

// beginCleaning waits for the round that runs, which ends early for somebody who
// asked for one. Writers who wait need not do so to its end, which may be far. false:
// they have room before, or nobody waits any more.
func (e *Engine) beginCleaning(ctx context.Context, w want) bool {
	switch w {
	case wantMarks:
		e.cleaning.Lock()
		return true
	case wantAll, wantBare:
		e.asked.Add(1)
		defer e.asked.Add(-1)
	}
	for !e.cleaning.TryLock() {
		if sp, err := e.store.Space(); w == wantRoom && err == nil && e.roomy(sp) {
			e.log.SpaceFreed()
			return false
		}
		select {
		case <-e.closing:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

// roomy reports whether writers who waited can go on for a while.
func (e *Engine) roomy(sp segstore.Space) bool {
	return sp.Free >= e.log.Reserve()+roomSegments*e.store.SegmentSize()
}

// short reports whether the cleaner has to do.
func (e *Engine) short() bool {
	sp, err := e.store.Space()
	return err == nil && (e.needy.Load() || e.percentFree(sp) < lowWater)
}

// over reports whether nobody waits for the round any more, or somebody for a
// better one.
func (r *round) over() bool {
	if r.want == wantMarks && r.e.asked.Load() > 0 {
		return true
	}
	select {
	case <-r.e.closing:
		return true
	case <-r.ctx.Done():
		return true
	default:
		return false
	}
}

// enough reports whether the round may end, or a stage of it. On the way it gives
// back what has died as a whole.
func (r *round) enough(x effort) bool {
	if r.over() || r.retireDead() != nil {
		return true // the next round says why
	}
	sp, err := r.e.store.Space()
	switch {
	case err != nil:
		return true
	case r.want >= wantAll && x.until == highWater:
		return false
	case r.want == wantRoom:
		return r.e.roomy(sp)
	}
	return r.e.percentFree(sp) >= x.until
}

// exert makes an effort.
func (r *round) exert(x effort) error {
	if r.want == wantMarks && !r.e.needy.Load() {
		return nil
	}
	enough := func() bool { return r.enough(x) }
	if enough() {
		return nil
	}
	hurry := r.want != wantMarks || x.until < lowWater
	if x.least > 0 {
		if err := r.punchDead(x.least, enough, hurry); err != nil {
			return err
		}
	}
	return r.compactDead(x.below, enough, hurry)
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

// retireDead gives segments that are dead as a whole back: first those in files of
// their own, which give more for less. Where nobody asked for it, it rests as long
// as it worked: to remove many files at once holds up the file system.
func (r *round) retireDead() error {
	e := r.e
	dead := e.space.deadSegments(e.recordsFrom())
	if len(dead) == 0 {
		return nil
	}
	moved := e.relocated()
	slices.SortStableFunc(dead, func(a, b uint64) int {
		switch {
		case moved[a] == moved[b]:
			return 0
		case moved[b]:
			return -1
		}
		return 1
	})
	for _, seg := range dead {
		if r.over() {
			break
		}
		began := time.Now()
		retire := e.log.Retire
		if moved[seg] {
			retire = e.store.Remove
		}
		if err := retire(seg); err != nil && !fail.Is(err, fail.NotFound) {
			if fail.Is(err, fail.Busy) {
				continue
			}
			return err
		}
		e.gate.Lock()
		e.space.drop(seg, e.records)
		e.gate.Unlock()
		r.Retired++
		if r.want == wantMarks {
			e.pace(time.Since(began))
		}
	}
	e.log.SpaceFreed()
	return nil
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
// by segment, those with most of them first. In segments that were moved every
// run counts: only the store knows how long it is where it lies.
func (m *freeMap) holes(least int, moved map[uint64]bool) (out [][]hole) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gain := func(list []hole) (n int) {
		for _, h := range list {
			n += h.n
		}
		return n
	}
	for seg, s := range m.segs {
		if s.dead <= s.holes {
			continue
		}
		var list []hole
		shortest := least
		if moved[seg] {
			shortest = 1
		}
		runsOf(s.ready, shortest, func(block, n int) {
			for b := block; b < block+n; b++ {
				if !bitOf(s.punched, b) {
					list = append(list, hole{seg, block, n})
					return
				}
			}
		})
		if len(list) > 0 {
			out = append(out, list)
		}
	}
	slices.SortFunc(out, func(a, b []hole) int {
		return cmp.Or(cmp.Compare(gain(b), gain(a)), cmp.Compare(a[0].seg, b[0].seg))
	})
	return out
}

// punch notes that a hole was punched, and returns how many blocks it gave.
func (m *freeMap) punch(h hole) (gave int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.segs[h.seg]
	if s == nil {
		return 0
	}
	if need := len(s.ready) - len(s.punched); need > 0 {
		s.punched = append(s.punched, make([]uint64, need)...)
	}
	for b := h.block; b < h.block+h.n; b++ {
		if !bitOf(s.punched, b) {
			s.punched[b/64] |= 1 << (b % 64)
			gave++
		}
	}
	s.holes += gave
	return gave
}

// punchMost is how many holes are made before somebody looks whether that is
// enough: on some disks they take milliseconds each.
const punchMost = 64

// punchDead frees runs of dead blocks inside segments, and then inside slots, until
// enough is free. It rests as long as it worked, unless in a hurry.
func (r *round) punchDead(least int, enough func() bool, hurry bool) error {
	e := r.e
	moved := e.relocated()
	began, made := time.Now(), 0
	for _, list := range e.space.holes(least, moved) {
		for _, h := range list {
			err := e.store.PunchHole(h.seg, int64(h.block)*BlockSize, int64(h.n)*BlockSize)
			if fail.Is(err, fail.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			r.PunchedBytes += int64(e.space.punch(h)) * BlockSize
			if made++; made%punchMost > 0 {
				continue
			}
			if !hurry {
				e.pace(time.Since(began))
			}
			if enough() {
				return nil
			}
			began = time.Now()
		}
	}
	store, ok := e.store.(compactor)
	for ok && !enough() {
		began := time.Now()
		n, err := store.PunchSlots(least, punchMost)
		if n == 0 || err != nil {
			return err
		}
		if r.PunchedBytes += n; !hurry {
			e.pace(time.Since(began))
		}
	}
	return nil
}

// unreturned is how many bytes are free in segments and slots that are still
// there. Which holes an earlier opening made nobody remembers: so it is no more
// than what they occupy beyond what is needed. The store is asked, which may wait
// for the disk: not under the gate.
func (e *Engine) unreturned() (bytes int64) {
	in := 0 // blocks that lie in slots, and are not known there to be dead
	if store, ok := e.store.(compactor); ok {
		bytes = store.Dead()
		if slots, err := store.Slots(); err == nil {
			for _, x := range slots {
				in += x.Live
			}
		}
	}
	occupied := e.occupied()
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	for n, s := range e.space.segs {
		needed := s.payload - s.free
		if has, own := occupied[n]; own {
			bytes += int64(max(0, min(s.free-s.holes, has-needed))) * BlockSize
		} else {
			in -= needed
		}
	}
	return bytes + int64(max(0, in))*BlockSize
}

// occupied is how many blocks the segments in files of their own have on the disk.
func (e *Engine) occupied() map[uint64]int {
	list, err := e.store.List()
	if err != nil {
		return nil
	}
	blocks := make(map[uint64]int, len(list))
	for _, s := range list {
		blocks[s.Number] = int(s.Allocated / BlockSize)
	}
	return blocks
}

// pace makes the cleaner rest as long as it has worked: the foreground has the disk
// too. It does not where writers are about to wait for it.
func (e *Engine) pace(worked time.Duration) {
	if sp, err := e.store.Space(); err != nil || e.percentFree(sp) < lowWater/2 {
		return
	}
	select {
	case <-e.closing:
	case <-time.After(min(worked, time.Second)):
	}
}
