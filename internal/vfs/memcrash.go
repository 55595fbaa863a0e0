package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Kill returns what another process would find after this one was killed: all
// that was written, with what is not durable still not durable, and no locks.
// The original goes on by itself.
func (m *Mem) Kill() *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := &cloner{dirs: map[*memDir]*memDir{}, data: map[*memData]*memData{}}
	killed := &Mem{
		seed: m.seed, root: c.dir(m.root), used: m.used, total: m.total, ops: m.ops,
		locks: map[string]*memLock{},
	}
	for _, v := range m.moves {
		v.entry, v.from, v.to = c.entry(v.entry), c.dir(v.from), c.dir(v.to)
		killed.moves = append(killed.moves, v)
	}
	return killed
}

// cloner copies directories and files, each once. Pages are shared.
type cloner struct {
	dirs map[*memDir]*memDir
	data map[*memData]*memData
}

func (c *cloner) dir(d *memDir) *memDir {
	if d == nil {
		return nil
	}
	if done := c.dirs[d]; done != nil {
		return done
	}
	copied := newMemDir()
	c.dirs[d] = copied
	for name, e := range d.now {
		copied.now[name] = c.entry(e)
	}
	for name, e := range d.durable {
		copied.durable[name] = c.entry(e)
	}
	return copied
}

func (c *cloner) entry(e memEntry) memEntry {
	if e.data == nil {
		return memEntry{dir: c.dir(e.dir)}
	}
	copied := c.data[e.data]
	if copied == nil {
		copied = new(memData)
		*copied = *e.data
		copied.pages = slices.Clone(e.data.pages)
		copied.unsynced = slices.Clone(e.data.unsynced)
		c.data[e.data] = copied
	}
	return memEntry{data: copied}
}

// Crash returns what a reboot would find if the power went now. What was made
// durable is there; of the rest, rng (or, if nil, the seed of NewMem) chooses
// what survives: in some crashes all or nothing, in others any part of it. The
// original goes on; see Freeze.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	crashed := m.Kill()
	rng = crashed.rand(rng)
	crashed.settleNames(rng)
	first, last := uint64(crashed.ops), uint64(crashed.ops)
	crashed.root.walk(func(d *memData) {
		if len(d.unsynced) > 0 {
			first = min(first, d.unsynced[0].write)
		}
	})
	luck := newLuck(rng, first, last)
	crashed.used = 0
	settled := map[*memData]bool{}
	crashed.root.walk(func(d *memData) {
		if !settled[d] {
			settled[d] = true
			d.crash(uint64(len(settled)), luck)
			crashed.used += d.pagesUsed * memPageSize
		}
	})
	return crashed
}

// settleNames decides which moves survive, and forgets the others.
func (m *Mem) settleNames(rng *rand.Rand) {
	odds := [...]float64{0, 1, rng.Float64(), rng.Float64()}[rng.IntN(4)]
	lost := map[memEntry]bool{}
	for _, v := range m.moves {
		if lost[v.entry] || rng.Float64() >= odds {
			lost[v.entry] = true
			continue
		}
		v.apply(viewDurable)
	}
	m.moves = nil
	m.root.forget()
}

// forget makes the durable names the ones that processes see.
func (d *memDir) forget() {
	d.now = maps.Clone(d.durable)
	for _, e := range d.now {
		if e.dir != nil {
			e.dir.forget()
		}
	}
}

// walk visits every file, in the order of names, so that a seed always means
// the same crash.
func (d *memDir) walk(visit func(*memData)) {
	for _, name := range slices.Sorted(maps.Keys(d.now)) {
		e := d.now[name]
		if e.data != nil {
			visit(e.data)
		} else {
			e.dir.walk(visit)
		}
	}
}

// crash replaces the content by what survives.
func (d *memData) crash(file uint64, luck luck) {
	for _, c := range slices.Backward(d.unsynced) {
		d.pages[c.index] = c.prev
	}
	for i, c := range d.unsynced {
		kept := c.sectors
		if !c.durable {
			kept &= luck.sectors(file, c.write, uint64(i))
		}
		d.pages[c.index] = merge(d.pages[c.index], c.next, kept)
	}
	d.unsynced = nil
	d.crashSize(luck.between(file, min(d.size, d.durableSize), max(d.size, d.durableSize)))
	d.linked = true
}

// crashSize sets the size, and drops what lies beyond.
func (d *memData) crashSize(size int64) {
	d.size, d.durableSize = size, size
	if n := (size + memPageSize - 1) / memPageSize; n < int64(len(d.pages)) {
		d.pages = d.pages[:n]
	}
	if at := size % memPageSize; at != 0 && int64(len(d.pages)) == size/memPageSize+1 {
		if last := &d.pages[len(d.pages)-1]; *last != nil {
			*last = (*last).with(zeroPage[at:], at)
		}
	}
	d.pagesUsed = 0
	for _, p := range d.pages {
		if p != nil {
			d.pagesUsed++
		}
	}
}

// merge takes some sectors of a page from next and the others from base.
func merge(base, next *memPage, sectors uint8) *memPage {
	switch {
	case sectors == 0 || base == next:
		return base
	case sectors == allSectors:
		return next
	}
	merged := new(memPage)
	if base != nil {
		*merged = *base
	}
	if next == nil {
		next = zeroPage
	}
	for s := range memPageSize / memSectorSize {
		if sectors&(1<<s) != 0 {
			at := s * memSectorSize
			copy(merged[at:at+memSectorSize], next[at:])
		}
	}
	return merged
}
