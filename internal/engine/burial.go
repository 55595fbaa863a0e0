package engine

import (
	"cmp"
	"maps"
	"slices"

	"varve/internal/segment"
)

// ancestor is a line that is over, which the one line that is left of it takes
// over.
type ancestor struct {
	*line
	fork, forkFrom uint64 // where the heir began
	aside          *root  // what it began with, if that was a root aside
}

// leaving returns l as what is left of it after c, which may be l itself, forked
// from its parent. No d.mu is held.
func (l *line) leaving(c *line) ancestor {
	a := ancestor{line: l, fork: c.fork, forkFrom: c.forkFrom}
	if c.fromAside {
		d := c.parent.d
		d.mu.Lock()
		defer d.mu.Unlock()
		a.aside = d.rootAt(c.fork)
	}
	return a
}

// settled reports whether a line that is over has nothing left to enter or to
// sort: only what pins keep. The gate and ckpt are held.
func (l *line) settled() bool {
	d := l.d
	mine := func(r *root) bool { return d.lineAt(r.lsn) == l }
	return len(l.led.deaths)+len(l.drops) == 0 && l.began == nil && l.estate.sorted() &&
		(d.gone || d.horizon.lsn >= l.end()) &&
		!slices.ContainsFunc(d.retired, func(t retiredHead) bool { return t.line == l }) &&
		!slices.ContainsFunc(d.fresh, mine) &&
		!slices.ContainsFunc(d.left, func(h *leftHead) bool { return mine(h.root) }) &&
		!slices.ContainsFunc(d.dying, func(y *dying) bool { return mine(y.root) })
}

// unused reports whether nothing needs l any more.
func (l *line) unused() bool {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.children == 0 && len(l.dataPins.at)+len(l.nodePins.at)+len(l.asidePins.at) == 0 && l.estate.empty()
}

// heir returns the line that takes l over: the only one that forked from it, but
// not in a gap. A line of another dataset does so only where nothing but its fork
// needs l. The gate is held.
func (e *Engine) heir(l *line) *line {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.children != 1 {
		return nil
	}
	for _, c := range l.d.lines {
		if c.parent != l {
			continue
		}
		if l.inGap(c.fork, c.forkFrom) {
			return nil
		}
		return c
	}
	for _, d := range e.datasets {
		for _, c := range d.lines {
			if c.parent == l && !d.gone && l.needsOnly(c) && !l.inGap(c.fork, c.forkFrom) {
				return c
			}
		}
	}
	return nil
}

// A gap of a line are moments of a branch that was left, after the fork of the line
// that absorbed it, where something needs them: what died on that branch before such
// a moment, and on the line that went on after it, did not live at the moment in
// between, though its birth and its death say so. It is kept too long by that; but a
// line that began in a gap does not absorb this one, for of what was kept there it
// would take all to live on. The moments of what AcceptLoss gave up are such a gap
// too: the line went on from the one before. l.d.mu is held.
func (l *line) inGap(fork, from uint64) bool {
	return slices.ContainsFunc(l.gaps, func(g stretch) bool {
		return g.from <= fork && fork < g.to || g.from <= from && from < g.to
	})
}

// gapAt adds the gap that comes about when c absorbs l; gaps where nothing is needed
// any more, behind the horizon, are none. l.d.mu is held.
func (l *line) gapAt(c *line) []stretch {
	gaps := slices.Concat(l.gaps, c.gaps)
	if !l.endsAt(c) {
		gaps = append(gaps, stretch{c.forkFrom + 1, c.id})
	}
	return slices.DeleteFunc(withoutInner(gaps), func(g stretch) bool {
		if c.d.horizon.lsn < g.to && slices.Contains(c.gaps, g) { // what was given up on c
			return false
		}
		for _, p := range []*pinSet{&l.dataPins, &l.nodePins, &c.dataPins, &c.nodePins} {
			if _, ok := rangeOf(p.at, g.from, g.to); ok {
				return false
			}
		}
		return true
	})
}

// endsAt reports whether nothing needs what came on l after c forked from it.
// l.d.mu is held.
func (l *line) endsAt(c *line) bool {
	if l.dataPins.after(c.fork) {
		return false
	}
	for i, m := range l.nodePins.at {
		if m > c.forkFrom && l.nodePins.n[i] > l.asidePins.count(m) { // a root aside needs no other nodes of its moment
			return false
		}
	}
	return true
}

// needsOnly reports whether the fork of c, and what that needs, are all that pins
// l. l.d.mu is held.
func (l *line) needsOnly(c *line) bool {
	asides := 0
	if c.fromAside {
		r := l.d.rootAt(c.fork)
		if r.forks != 1 || r.snaps+r.views+r.walks+r.shared > 0 || r.vers != nil {
			return false
		}
		asides = 1 // it pins its own moment and the root that it shares nodes with
	}
	return l.dataPins.total() == 1 && l.nodePins.total() == 1+asides && l.asidePins.total() == asides
}

// unfork lets go of what one of its forks needed of a line: the last one keeps the
// root aside that it began with.
func (e *Engine) unfork(c *cut, l, fork *line) {
	l.addFork(fork, -1)
	if !fork.fromAside {
		return
	}
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	e.discard(c.records, l.d, l.d.rootAt(fork.fork))
}

// bury removes the lines that are over and that nothing needs any more, and the
// datasets that have none left. Where one line is left that forked from such a
// line, it absorbs it: no clone keeps its dead origin for ever, and after a
// rollback there is one line again. The gate is held exclusively, and ckpt; it
// is part of a cut.
func (e *Engine) bury(c *cut) {
	ends := slices.SortedFunc(maps.Keys(e.ends), func(a, b *line) int { return cmp.Compare(b.id, a.id) })
	for _, l := range ends { // the younger ones first
		if !l.settled() {
			continue
		}
		heir := e.heir(l)
		switch {
		case heir != nil:
			e.takeOver(c, heir, l)
		case l.unused() && l.goesOn:
			if !l.parent.settled() {
				continue // it is not known yet what is dead there
			}
			l.parent.estate.returning = append(l.parent.estate.returning, l.leaving(l))
			e.unfork(c, l.parent, l)
			e.touch(l.parent.d)
		case l.unused():
			e.forgetRuns(c, l)
			if l.parent != nil {
				e.unfork(c, l.parent, l)
				e.touch(l.parent.d)
			}
		default:
			continue
		}
		e.moreToDo.Store(true)
		e.removeLine(c, l)
	}
}

// removeLine takes l out of its dataset, and with the last line the dataset out
// of the pool.
func (e *Engine) removeLine(c *cut, l *line) {
	d := l.d
	delete(e.ends, l)
	c.records[itemKey(tagLine, d.id, l.id)] = nil
	d.mu.Lock()
	d.lines = slices.DeleteFunc(d.lines, func(x *line) bool { return x == l })
	d.joinSpans()
	d.mu.Unlock()
	if len(d.lines) > 0 {
		e.touch(d)
		return
	}
	c.records[itemKey(tagDataset, d.id, 0)] = nil
	d.dropStretches(c.records)
	d.head.tree.Close()
	delete(e.datasets, d.id)
}

// takeOver makes heir go on from where l began: l's pins are its own now, but
// for its own fork.
func (e *Engine) takeOver(c *cut, heir, l *line) {
	d, left := heir.d, l.leaving(heir)
	if l.d != d {
		e.unfork(c, l, heir)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.d == d {
		heir.gaps = l.gapAt(heir)
		if l.dropFork(heir); heir.fromAside {
			e.discard(c.records, d, d.rootAt(heir.fork))
		}
	}
	heir.estate.absorbing = append(heir.estate.absorbing, left)
	heir.parent, heir.fork, heir.forkFrom, heir.fromAside, heir.goesOn, heir.led.fork = l.parent, l.fork, l.forkFrom, l.fromAside, l.goesOn, l.fork
	if l.d == d {
		heir.spans = append(slices.Clone(l.spans), heir.spans...)
		for i, m := range l.dataPins.at {
			for range l.dataPins.n[i] {
				heir.dataPins.add(m)
			}
		}
		for i, m := range l.views.at {
			for range l.views.n[i] {
				heir.views.add(m)
			}
		}
		for i, m := range l.nodePins.at {
			for range l.nodePins.n[i] {
				heir.nodePins.add(m)
			}
		}
		for _, m := range l.asidePins.at {
			heir.asidePins.add(m)
		}
	} else if heir == d.lines[0] { // else it was a draft, for an undo
		d.absorbed = true
		d.parent, d.origin, d.fork = 0, nil, 0
		if heir.parent != nil {
			d.parent, d.origin, d.fork = heir.parent.d.id, heir.parent.d, heir.fork
		}
	}
	e.touch(d)
}

// forgetRuns drops the foreign and lost deaths of a line that is buried: they
// concern nobody.
func (e *Engine) forgetRuns(c *cut, l *line) {
	f := filing{e: e, c: c, l: l, es: &l.estate}
	for _, x := range slices.Concat(l.estate.foreign, l.estate.lost) {
		if err := f.forget(x); err != nil {
			e.stop(err)
		}
	}
}

// wakeBurial asks for one more checkpoint where it can end a line. The gate is
// held.
func (e *Engine) wakeBurial() {
	for l := range e.ends {
		if l.settled() && (l.unused() && (!l.goesOn || l.parent.settled()) || e.heir(l) != nil) {
			e.moreToDo.Store(true)
		}
	}
}

// recordFloor is where the records begin that a replay may need: of history,
// from the newest root at or before each horizon; of recovery, from either of
// the last two super roots. The gate is held.
func (e *Engine) recordFloor(c *cut) segment.Position {
	floor := c.pos
	lower := func(p segment.Position) {
		if p.Addr != 0 && p.Seq < floor.Seq {
			floor = p
		}
	}
	lower(e.lastCkpt.Load().(checkpointRecord).pos)
	e.reads.each(lower)
	for _, d := range e.datasets {
		d.mu.Lock()
		if r := d.rootBefore(d.horizon.lsn, true); r != nil && !d.gone && d.changed > d.horizon.lsn {
			lower(e.replayFrom(r.pos))
		}
		for i := 0; d.asides > 0 && i < len(d.roots); i++ {
			if r := d.roots[i]; r.aside && r.vers != nil { // not on disk yet: it is replayed anew
				lower(e.replayFrom(r.from.pos))
			}
		}
		d.mu.Unlock()
	}
	for _, k := range slices.Backward(e.checkpoints) { // times of moments are looked up from a checkpoint on
		if k.pos.Seq <= floor.Seq {
			return k.pos
		}
	}
	return floor
}

// replayFrom is where the operations after a root are read from. What was
// forgotten of the log between the two was of others: of a dataset that changes,
// all is kept from its root on. The gate is held.
func (e *Engine) replayFrom(p segment.Position) segment.Position {
	if len(e.checkpoints) > 0 && p.Addr != 0 && p.Seq < e.checkpoints[0].pos.Seq {
		return e.checkpoints[0].pos
	}
	return p
}

// thinCheckpoints forgets the checkpoints whose operations nobody can read any
// more: all before the floor, for replays of what changes again begin at the first
// that is left. The gate is held exclusively.
func (e *Engine) thinCheckpoints(c *cut) {
	n := 0
	for n+1 < len(e.checkpoints) && e.checkpoints[n+1].pos.Seq <= c.floor.Seq {
		c.records[itemKey(tagCheckpoint, 0, e.checkpoints[n].number)] = nil
		n++
	}
	if n > 0 {
		e.checkpoints = slices.Clone(e.checkpoints[n:])
		e.firstRecords.Store(e.checkpoints[0].pos)
	}
}
