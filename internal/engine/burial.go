package engine

import (
	"cmp"
	"maps"
	"slices"

	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/tree"
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
// would take all to live on. l.d.mu is held.
func (l *line) inGap(fork, from uint64) bool {
	return slices.ContainsFunc(l.gaps, func(g stretch) bool {
		return g.from <= fork && fork < g.to || g.from <= from && from < g.to
	})
}

// gapAt adds the gap that comes about when c absorbs l; gaps where nothing is needed
// any more are none. l.d.mu is held.
func (l *line) gapAt(c *line) []stretch {
	gaps := slices.Concat(l.gaps, c.gaps)
	if !l.endsAt(c) {
		gaps = append(gaps, stretch{c.forkFrom + 1, c.id})
	}
	return slices.DeleteFunc(withoutInner(gaps), func(g stretch) bool {
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

// absorb takes over what an ancestor leaves. What lived at the fork lives on
// here, or this line has dropped it since: that is among its foreign deaths,
// which are its own now. What the ancestor dropped before the fork is dead here
// as well.
func (f *filing) absorb() error {
	for ; len(f.x.absorbed) > 0; f.x.absorbed = f.x.absorbed[1:] {
		if err := f.own(f.x.absorbed[0]); err != nil {
			return err
		}
		if err := f.inherit(f.x.absorbed[0]); err != nil {
			return err
		}
	}
	return nil
}

// own files this line's foreign deaths anew. A draft that took the place of an
// ancestor gave things up while that one went on: there they died when it ended.
func (f *filing) own(p ancestor) error {
	es := f.es
	es.mu.Lock()
	runs, ds := es.foreign, es.newForeign
	es.foreign, es.newForeign, es.foreignBlocks, es.foreignData = nil, nil, 0, 0
	es.mu.Unlock()
	for _, x := range runs {
		more, err := f.read(x)
		if err != nil {
			return err
		}
		if more == nil {
			continue // lost
		}
		if err := f.forget(x); err != nil {
			return err
		}
		ds = append(ds, more...)
	}
	f.x.deaths = append(f.x.deaths, ds...)
	if p.line.d != f.l.d {
		return nil
	}
	for i := range f.x.deaths {
		if y := &f.x.deaths[i]; y.birth <= p.fork {
			y.death = max(y.death, p.end())
		}
	}
	return nil
}

// inherit takes an ancestor's deaths.
func (f *filing) inherit(p ancestor) error {
	theirs := filing{e: f.e, c: f.c, l: p.line, es: &p.estate}
	if err := theirs.reviveAside(p); err != nil {
		return err
	}
	if p.line.d != f.l.d {
		if err := theirs.onlyFork(p); err != nil {
			return err
		}
	}
	for _, x := range p.estate.foreign { // of its own ancestors' blocks
		ds, err := theirs.read(x)
		if err != nil {
			return err
		}
		if ds == nil {
			continue
		}
		for _, y := range ds {
			if y.death <= p.fork && y.kind == dataDeath || y.death <= p.forkFrom { // else it is in the tree that this line began with
				f.x.deaths = append(f.x.deaths, y)
			}
		}
		if err := theirs.forget(x); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		theirs, ours *buckets
		void         []*bucket // what lived at the fork
	}{
		{&p.estate.data, &f.es.data, p.estate.data.keptBy(p.fork)},
		{&p.estate.nodes, &f.es.nodes, p.estate.nodes.keptBy(p.forkFrom)},
		{&p.estate.asides, &f.es.asides, nil},
	} {
		for _, b := range k.void {
			k.theirs.take(b)
			for _, x := range b.runs {
				if err := theirs.forget(x); err != nil {
					return err
				}
			}
		}
		f.es.mu.Lock()
		k.ours.join(k.theirs.pins)
		for _, b := range k.theirs.all {
			for _, x := range b.runs {
				f.rename(p.line, x)
			}
			k.ours.merge(b)
		}
		f.es.mu.Unlock()
	}
	for _, x := range p.estate.lost {
		f.rename(p.line, x)
		f.es.mu.Lock()
		f.es.lost, f.es.lostBlocks = append(f.es.lost, x), f.es.lostBlocks+x.data+x.nodes
		f.es.mu.Unlock()
	}
	return nil
}

// reviveAside takes the nodes of the root aside that the heir began with out of an
// ancestor's buckets: they live on in the heir, or are among its foreign deaths.
// They are in the root's own bucket; or in one of nodes that it keeps, if a line
// began with it before, gave them up, and was absorbed since. Other nodes of that
// moment stay: those of a root aside that was there before, and of the head.
func (f *filing) reviveAside(p ancestor) error {
	if p.aside == nil {
		return nil
	}
	own := map[uint64]bool{}
	lives := func(y death) bool { return own[y.addr] }
	err := f.e.asideNodes(p.aside, func(n tree.Node, mine bool) { own[n.Ref.Addr] = mine })
	switch {
	case fail.Is(err, fail.Corrupt), fail.Is(err, fail.IO):
		f.e.logger.Error("a snapshot's nodes cannot be read; dead ones of its moment stay", "dataset", p.line.d.name, "lsn", p.fork, "err", err)
		lives = func(y death) bool { return y.birth == p.fork } // so are all of its own
	case err != nil:
		return err
	}
	for _, bs := range []*buckets{&f.es.asides, &f.es.nodes} {
		for _, b := range bs.keptBy(p.fork) {
			if err := f.without(bs, b, lives); err != nil {
				return err
			}
		}
	}
	return nil
}

// without takes what is not dead out of a bucket.
func (f *filing) without(bs *buckets, b *bucket, lives func(death) bool) error {
	bs.take(b)
	fresh, runs := slices.DeleteFunc(b.fresh, lives), b.runs
	b.runs, b.blocks = nil, 0
	for _, x := range runs {
		ds, err := f.read(x)
		switch {
		case err != nil:
			return err
		case ds == nil: // lost
		case !slices.ContainsFunc(ds, lives):
			b.runs, b.blocks = append(b.runs, x), b.blocks+x.data+x.nodes
		default:
			if err := f.forget(x); err != nil {
				return err
			}
			fresh = append(fresh, slices.DeleteFunc(slices.Clone(ds), lives)...)
		}
	}
	b.fresh = fresh
	for _, y := range fresh {
		b.blocks += int64(y.count)
	}
	if len(b.runs)+len(b.fresh) > 0 {
		bs.link(b)
		bs.blocks += b.blocks
	}
	return nil
}

// onlyFork lets go of what pins kept that went since the last checkpoint of an
// ancestor in another dataset: only the fork needs anything of it. The moments of
// the two datasets lie between each other, so a pin of the heir would be taken for
// one that has gone.
func (f *filing) onlyFork(p ancestor) error {
	f.x = &lineCut{dataPins: []uint64{p.fork}, nodePins: []uint64{p.forkFrom}}
	if p.aside != nil {
		f.x.asidePins = []uint64{p.fork}
	}
	return f.pins()
}

// takeBack enters what a buried line, which went on from this one, gave up: it
// is dead here now, unless it was before that line began to go another way.
func (f *filing) takeBack() error {
	for ; len(f.x.returned) > 0; f.x.returned = f.x.returned[1:] {
		c := f.x.returned[0]
		theirs := filing{e: f.e, c: f.c, l: c.line, es: &c.estate}
		dead, err := f.deadSince(c)
		if err != nil {
			return err
		}
		for len(c.estate.foreign) > 0 {
			x := c.estate.foreign[0]
			ds, err := theirs.read(x)
			if err != nil {
				return err
			}
			if ds != nil {
				if err := theirs.forget(x); err != nil {
					return err
				}
			}
			c.estate.foreign = c.estate.foreign[1:]
			for _, y := range ds {
				f.x.deaths = append(f.x.deaths, dead.without(y)...)
			}
		}
		for _, x := range c.estate.lost {
			f.rename(c.line, x)
			f.es.mu.Lock()
			f.es.lost, f.es.lostBlocks = append(f.es.lost, x), f.es.lostBlocks+x.data+x.nodes
			f.es.mu.Unlock()
		}
		c.estate.lost = nil
	}
	return nil
}

// deadSince returns the blocks that were there at a fork and died on this line
// after it.
func (f *filing) deadSince(c ancestor) (blockSet, error) {
	dead := blockSet{}
	note := func(ds []death) {
		for _, y := range ds {
			fork := c.fork
			if y.kind == nodeDeath {
				fork = c.forkFrom
			}
			aside := c.aside != nil && y.birth == c.fork // what c gave up of such a birth was of the root aside
			if (y.birth <= fork || aside) && fork < y.death {
				dead.mark(y.addr, uint64(y.count))
			}
		}
	}
	var runs []*deathRun
	for _, bs := range f.es.sorts() {
		for _, b := range bs.all {
			runs = append(runs, b.runs...)
			note(b.fresh)
		}
	}
	note(f.es.newForeign)
	note(f.x.deaths) // what it has just taken over of an ancestor of its own
	for _, x := range slices.Concat(runs, f.es.foreign) {
		ds, err := f.e.readRun(f.l.d.id, x) // one that is damaged never frees what it lists
		if err != nil && !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.IO) {
			return nil, err
		}
		note(ds)
	}
	return dead, nil
}

// without returns the parts of a death whose blocks are not in b.
func (b blockSet) without(y death) (out []death) {
	for i := range y.count {
		addr := y.addr + uint64(i)
		switch n := len(out); {
		case b.has(addr):
		case n > 0 && out[n-1].addr+uint64(out[n-1].count) == addr:
			out[n-1].count++
		default:
			z := y
			z.addr, z.count = addr, 1
			out = append(out, z)
		}
	}
	return out
}

// rename makes a run of another line one of this line.
func (f *filing) rename(from *line, x *deathRun) {
	if from.d != f.l.d {
		f.c.records[itemKey(tagDeaths, from.d.id, x.seq)] = nil
		x.seq = f.l.d.deathSeq
		f.l.d.deathSeq++
	}
	x.line = f.l.id
	f.record(x)
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
