package tree

// Pages that deletions thin out are joined with a neighbour, but only with a
// writable one under the same parent. So a prepared range stays prepared: its
// keys never come to belong to a page that is not. An empty leaf without such
// a neighbour stays, and is removed by Freeze: frozen leaves are never empty.

// Delete removes k and reports whether it was there. k lies in a prepared
// range, or the tree is empty.
func (t *Tree) Delete(k Key) bool {
	if t.root.addr == 0 {
		return false
	}
	var way path
	p := t.prepared(k, &way)
	hi, lo := k.Split()
	i, found := p.find(hi, lo)
	if found {
		p.leafRemove(i, i+1)
		t.shrink(k, &way)
	}
	return found
}

// DeleteRange removes all keys in [lo, hi). The range was given to
// PrepareRange or Prepare, or the tree is empty. What lies between the two
// boundary leaves is not visited, apart from pages that were never written;
// its nodes are found when drops are taken.
func (t *Tree) DeleteRange(lo, hi Key) {
	if t.root.addr == 0 || !lo.Less(hi) {
		return
	}
	t.trim(&t.root, &lo, &hi)
	for _, k := range [2]Key{lo, hi.prev()} {
		var way path
		t.prepared(k, &way)
		t.shrink(k, &way)
	}
}

// trim removes the keys from lo on and below hi from the tree at a link; nil
// is no bound. At least one is given.
func (t *Tree) trim(l *link, lo, hi *Key) {
	if !t.owns(l) {
		panic("tree: DeleteRange outside a prepared range")
	}
	p := t.c.page(uint32(l.addr))
	if p.level() == 0 {
		i, j := 0, p.count()
		if lo != nil {
			i, _ = p.find(lo.Split())
		}
		if hi != nil {
			j, _ = p.find(hi.Split())
		}
		p.leafRemove(i, j)
		return
	}
	i, j := -1, p.count()
	if lo != nil {
		i = p.childFor(lo.Split())
	}
	if hi != nil {
		j = p.childFor(hi.prev().Split())
	}
	if i == j {
		t.trim(p.link(i), lo, hi)
		return
	}
	if lo != nil {
		t.trim(p.link(i), lo, nil)
	}
	if hi != nil {
		t.trim(p.link(j), nil, hi)
	}
	t.dropChildren(p, i+1, j)
}

// dropChildren removes the children [i, j) with all below them.
func (t *Tree) dropChildren(p *page, i, j int) {
	defer leave(t.c.epoch.enter())
	for m := i; m < j; m++ {
		t.dropTree(p.link(m), p.level()-1)
	}
	p.removeChildren(i, j)
}

// shrink joins what has become thin on the way to the leaf of k.
func (t *Tree) shrink(k Key, way *path) {
	if way.leaf.used() <= leafRoom/4 {
		t.shrinkLeaf(k, way)
	}
	for d := way.n - 1; d > 0; d-- {
		if s := way.steps[d-1]; way.steps[d].p.count() <= fanout/4 {
			_ = t.joinAt(s.p, s.i, joinInner) || s.i > 0 && t.joinAt(s.p, s.i-1, joinInner)
		}
	}
	t.lowerRoot()
}

// shrinkLeaf joins the leaf of k with a neighbour, or remembers that it is
// empty.
func (t *Tree) shrinkLeaf(k Key, way *path) {
	p, id := way.leaf, way.id
	if way.n > 0 {
		s := way.steps[way.n-1]
		if !t.joinAt(s.p, s.i, t.joinLeaves) && s.i > 0 && t.joinAt(s.p, s.i-1, t.joinLeaves) {
			id = uint32(s.p.link(s.i - 1).addr)
			p = t.c.page(id)
		}
	}
	if m := t.c.meta(id); p.count() == 0 && !m.listed {
		m.listed = true
		t.empty = append(t.empty, k)
	}
}

// lowerRoot replaces a root that has one child by that child.
func (t *Tree) lowerRoot() {
	for t.owns(&t.root) {
		id := uint32(t.root.addr)
		p := t.c.page(id)
		if p.level() == 0 || p.count() != 1 {
			return
		}
		t.root = *p.link(0)
		t.c.discard(id)
	}
}

// joinAt moves all that is in child i+1 of p to child i, if both are writable
// and join agrees, and reports whether it did.
func (t *Tree) joinAt(p *page, i int, join func(a, b *page, sep Key) bool) bool {
	if i+1 >= p.count() || !t.owns(p.link(i)) || !t.owns(p.link(i+1)) {
		return false
	}
	id := uint32(p.link(i + 1).addr)
	if !join(t.c.page(uint32(p.link(i).addr)), t.c.page(id), p.sep(i+1)) {
		return false
	}
	p.removeChildren(i+1, i+2)
	t.c.discard(id)
	return true
}

// joinLeaves moves the entries of b into a, if there is ample room.
func (t *Tree) joinLeaves(a, b *page, _ Key) bool {
	switch {
	case b.count() == 0:
	case a.count() == 0:
		*a = *b
	case mergedSize(a, b) <= leafRoom*3/4:
		t.scratch = *a
		mergeLeaves(a, &t.scratch, b)
	default:
		return false
	}
	return true
}

// joinInner moves the children of b, whose lowest key is sep, into a, if
// there is ample room.
func joinInner(a, b *page, sep Key) bool {
	if a.count()+b.count() > fanout*3/4 {
		return false
	}
	a.appendChildren(b, 0, b.count(), sep)
	return true
}

// sweep removes the leaves that deletions left empty.
func (t *Tree) sweep() {
	for _, k := range t.empty {
		t.sweepLeaf(k)
	}
	t.empty = nil
}

// sweepLeaf removes the leaf of k if it is empty, and inner pages that become
// so. Another empty leaf may have been joined with it and gone before.
func (t *Tree) sweepLeaf(k Key) {
	var way path
	p := t.walk(k, &way)
	if p == nil {
		return
	}
	t.c.meta(way.id).listed = false
	if p.count() > 0 {
		return
	}
	t.c.discard(way.id)
	for way.n > 0 {
		way.n--
		s := way.steps[way.n]
		s.p.removeChildren(s.i, s.i+1)
		if s.p.count() > 0 {
			t.lowerRoot()
			return
		}
		t.c.discard(s.id)
	}
	t.root = link{}
}
