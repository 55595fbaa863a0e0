package engine

import (
	"slices"

	"varve/internal/tree"
)

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
		f.lose(x)
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
	case unreadable(err):
		f.e.logger.Error("a snapshot's nodes cannot be read; dead ones of its moment stay", "dataset", p.line.d.name, "lsn", p.fork, "err", err)
		lives = func(y death) bool { return y.birth == p.fork } // so are all of its own
	case err != nil:
		return err
	}
	for _, bs := range []*buckets{&f.es.asides, &f.es.nodes} {
		for _, b := range bs.keptBy(p.fork) {
			if err := f.takeLiving(bs, b, lives); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeLiving takes what is not dead out of a bucket.
func (f *filing) takeLiving(bs *buckets, b *bucket, lives func(death) bool) error {
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
			f.lose(x)
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
		if err != nil && !unreadable(err) {
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
