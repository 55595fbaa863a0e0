package tree

// A path is the way from the root to a leaf: inner pages, and which child was
// taken in each. All of them are writable.
type path struct {
	steps [maxLevel]step
	n     int
	leaf  *page
	id    uint32 // of the leaf
}

type step struct {
	p  *page
	id uint32
	i  int
}

// walk goes to the leaf where k belongs and returns it; nil if it was not
// prepared, or the tree is empty.
func (t *Tree) walk(k Key, way *path) *page {
	hi, lo := k.Split()
	for l := &t.root; t.owns(l); {
		id := uint32(l.addr)
		p := t.c.page(id)
		if p.level() == 0 {
			way.leaf, way.id = p, id
			return p
		}
		i := p.childFor(hi, lo)
		way.steps[way.n] = step{p, id, i}
		way.n++
		l = p.link(i)
	}
	return nil
}

// prepared is walk where k lies in a prepared range.
func (t *Tree) prepared(k Key, way *path) *page {
	p := t.walk(k, way)
	if p == nil {
		panic("tree: change outside a prepared range")
	}
	return p
}

// Put inserts k with v, or replaces its value. k lies in a prepared range, or
// the tree is empty. It panics on a value longer than MaxValue, and on MaxKey.
func (t *Tree) Put(k Key, v []byte) {
	if len(v) > MaxValue || k == MaxKey {
		panic("tree: key or value out of bounds")
	}
	if t.root.addr == 0 {
		t.changed()
		id, p := t.c.alloc(t.gen)
		p.reset(0)
		t.root = link{addr: memoryAddr(id)}
	}
	var way path
	p := t.prepared(k, &way)
	hi, lo := k.Split()
	i, found := p.find(hi, lo)
	if found && p.leafReplace(i, v) || !found && p.leafInsert(i, k, v) {
		return
	}
	t.scratch = *p
	t.rebuild(&way, &leafSeq{p: &t.scratch, at: i, replace: found, k: k, v: v})
}

// Move makes the entry of k one of to, with value v, and reports whether k was
// there. No other key is in (k, to]. Both lie in a prepared range, or the tree is
// empty. An entry that gets shorter stays where it lies.
func (t *Tree) Move(k, to Key, v []byte) bool {
	if t.root.addr == 0 {
		return false
	}
	var way, dest path
	p := t.prepared(k, &way)
	i, found := p.find(k.Split())
	if !found {
		return false
	}
	if t.prepared(to, &dest) != p || !p.leafMove(i, to, v) {
		t.Delete(k)
		t.Put(to, v)
	}
	return true
}

// rebuild makes the leaf of way what q says, or two leaves.
func (t *Tree) rebuild(way *path, q *leafSeq) {
	p, n := way.leaf, q.len()
	if q.size(0, n) <= leafRoom {
		q.build(p, 0, n)
		p.setHint(q.at + 1)
		return
	}
	cut := q.cut()
	id, right := t.c.alloc(t.gen)
	q.build(right, cut, n)
	q.build(p, 0, cut)
	t.insertChild(way, right.leafKey(0), link{addr: memoryAddr(id)})
}

// insertChild puts a new node right of the node that way leads to, one level
// above it, splitting inner nodes and growing a new root where they are full.
// k is the lowest key of the new node.
func (t *Tree) insertChild(way *path, k Key, l link) {
	for way.n > 0 {
		way.n--
		s := way.steps[way.n]
		if s.p.count() < fanout {
			s.p.insertChild(s.i+1, k, l)
			return
		}
		k, l = t.splitInner(s.p, s.i+1, k, l)
	}
	level := t.c.page(uint32(t.root.addr)).level() + 1
	if level > maxLevel {
		panic("tree: too high")
	}
	id, p := t.c.alloc(t.gen)
	p.reset(level)
	p.insertChild(0, Key{}, t.root)
	p.insertChild(1, k, l)
	t.root = link{addr: memoryAddr(id)}
}

// splitInner inserts a child into a full inner page as child i, moving part
// of the children to a new page, whose lowest key and link it returns.
func (t *Tree) splitInner(p *page, i int, k Key, l link) (Key, link) {
	id, right := t.c.alloc(t.gen)
	right.reset(p.level())
	n, cut := p.count(), p.count()/2
	if i == n { // ascending keys: the left page stays full
		right.insertChild(0, Key{}, l)
		return k, link{addr: memoryAddr(id)}
	}
	if i == p.hint() {
		cut = i // an ascending run in the midst of others
	}
	sep := p.sep(cut)
	right.appendChildren(p, cut, n, sep)
	p.removeChildren(cut, n)
	if i <= cut {
		p.insertChild(i, k, l)
	} else {
		right.insertChild(i-cut, k, l)
	}
	return sep, link{addr: memoryAddr(id)}
}
