package engine

import (
	"fmt"
	"slices"
	"time"

	"varve/internal/segstore"
)

// warnPercent is the part of a limit from which on it is warned of.
const warnPercent = 80

// ownBlocks are the blocks of d's head that count as its own: all, or for a clone
// what it wrote. d.mu is held.
func (d *dataset) ownBlocks() int64 {
	if d.origin == nil {
		return d.head.mapped
	}
	return d.head.own
}

// spaceInfo tells what d occupies, by counters. The gate is held, d.mu is not.
func (d *dataset) spaceInfo() (s SpaceInfo) {
	d.mu.RLock()
	own := d.ownBlocks()
	s.Live, s.Shared = d.head.mapped, d.head.mapped-own
	lines := slices.Clone(d.lines)
	forks := d.forks()
	held := d.heldMoments()
	for _, l := range lines {
		s.History += l.led.blocks
	}
	d.mu.RUnlock()
	var free int64
	for _, l := range lines {
		l.estate.mu.RLock()
		_, waiting := l.waiting()
		s.History += waiting
		s.Snapshots += l.estate.data.blocks
		for r, b := range l.estate.data.all {
			if within(held, r) {
				s.Held += b.blocks
			}
			if !within(forks, r) {
				free += b.blocks
			}
		}
		l.estate.mu.RUnlock()
	}
	if s.Reclaimable = free; len(forks) == 0 {
		s.Reclaimable += own + s.History
	}
	for _, n := range []*int64{&s.Live, &s.Shared, &s.History, &s.Snapshots, &s.Held, &s.Reclaimable} {
		*n *= BlockSize
	}
	return s
}

// within reports whether one of the moments, ascending, lies between two pins.
func within(moments []uint64, r pinRange) bool {
	i, _ := slices.BinarySearch(moments, r.first)
	return i < len(moments) && moments[i] <= r.last
}

// forks are the moments from which other datasets were cloned: what is pinned,
// and no snapshot. d.mu is held.
func (d *dataset) forks() (out []uint64) {
	for _, l := range d.lines {
		if l.children == 0 {
			continue
		}
		snaps := map[uint64]int{}
		for _, s := range d.snaps {
			snaps[s.lsn]++
		}
		for i, m := range l.dataPins.at {
			if l.dataPins.n[i]-l.views.count(m) > snaps[m] {
				out = append(out, m)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (d *dataset) heldMoments() (out []uint64) {
	for _, s := range d.snaps {
		if len(s.holds) > 0 {
			out = append(out, s.lsn)
		}
	}
	slices.Sort(out)
	return out
}

// limitInfos tells how full d's limits are. The gate is held, d.mu is not.
func (d *dataset) limitInfos() (out []LimitInfo) {
	d.mu.RLock()
	mapped, own := d.head.mapped*BlockSize, d.head.own*BlockSize
	d.mu.RUnlock()
	for _, l := range []LimitInfo{{Name: "quota", Used: mapped}, {Name: "budget", Used: own}} {
		if l.Limit = d.limit(l.Name); l.Limit > 0 {
			l.Percent = int(l.Used * 100 / l.Limit)
			out = append(out, l)
		}
	}
	return out
}

// warnOfLimits logs each limit once when it comes to a threshold. Of the pool only
// the last ones are: the cleaner lets it become as full as its low watermark.
func (e *Engine) warnOfLimits() {
	if sp, err := e.store.Space(); err == nil {
		e.warnOf("pool", LimitInfo{Name: "capacity", Limit: sp.Capacity, Percent: 100 - e.percentFree(sp)}, 95, 100)
	}
	e.gate.RLock()
	defer e.gate.RUnlock()
	for _, name := range e.sortedNames() {
		for _, l := range e.names[name].limitInfos() {
			e.warnOf(name, l, warnPercent, 95, 100)
		}
	}
}

func (e *Engine) warnOf(name string, l LimitInfo, thresholds ...int) {
	level := 0
	for _, at := range thresholds {
		if l.Percent >= at {
			level = at
		}
	}
	if was := e.warned[name+" "+l.Name]; level > was {
		e.logger.Warn("a limit is nearly reached", "dataset", name, "limit", l.Name, "bytes", l.Limit, "percent", l.Percent)
	}
	e.warned[name+" "+l.Name] = level
}

// snapshotSpace returns what only one snapshot of its moment keeps, and what it
// refers to: bytes. d.mu is held.
func (d *dataset) snapshotSpace(s *snapshot) (used, referenced int64) {
	l := d.lineAt(s.lsn)
	if r := d.rootAt(s.lsn); r != nil {
		referenced = r.mapped * BlockSize
	}
	if l.dataPins.count(s.lsn)-l.views.count(s.lsn) > 1 {
		return 0, referenced // something else keeps it as well
	}
	if b := l.estate.data.all[pinRange{s.lsn, s.lsn}]; b != nil {
		used = b.blocks * BlockSize
	}
	return used, referenced
}

// poolSpace sums up what the pool occupies, dead being unreturned. The gate is held.
func (e *Engine) poolSpace(dead int64) (s PoolSpace) {
	for _, d := range e.datasets {
		x := d.spaceInfo()
		own := x.Live - x.Shared
		if d.destroyed.lsn != 0 {
			s.Destroyed += own + x.History + x.Snapshots
			continue
		}
		s.Live += own
		s.History += x.History
		s.Snapshots += x.Snapshots
		s.Held += x.Held
	}
	payload, free := e.space.totals()
	s.Nodes = max(0, (payload-free)*BlockSize-s.Live-s.History-s.Snapshots-s.Destroyed)
	s.Dead, s.Reserve = dead, e.log.Reserve()
	return s
}

// totals returns how many payload blocks the segments have, and how many of them
// are free.
func (m *freeMap) totals() (payload, free int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.segs {
		payload += int64(s.payload)
	}
	return payload, m.blocks
}

// cleanerState says what the cleaner is at, in a word.
func (e *Engine) cleanerState() string {
	if !e.cleaning.TryLock() {
		return "cleaning"
	}
	e.cleaning.Unlock()
	if e.needy.Load() {
		return "short of space"
	}
	return "idle"
}

// warnings are what somebody should look at before it becomes a trouble. The
// gate is held.
func (e *Engine) warnings(s *Status) (out []string) {
	for _, name := range e.sortedNames() {
		for _, l := range e.names[name].limitInfos() {
			if l.Percent >= warnPercent {
				out = append(out, fmt.Sprintf("%s has used %d %% of its %s", name, l.Percent, l.Name))
			}
		}
	}
	if n := e.percentFree(segstore.Space{Free: s.FreeBytes, Capacity: s.CapacityBytes}); n < lowWater {
		out = append(out, fmt.Sprintf("%d %% of the pool is free for writers", n))
	}
	if s.Clock.Suspect {
		out = append(out, fmt.Sprintf("the machine's clock jumped by %s: nothing is forgotten until varve clock confirm", s.Clock.Jump.Round(time.Second)))
	}
	return out
}
