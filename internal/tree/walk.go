package tree

import "errors"

// A Node describes a node to Walk and Leaves.
type Node struct {
	Ref   Ref // Addr is 0 while the node is not on disk
	Level int // 0 = leaf
	Count int // entries or children
	First Key // leaf: its first key; inner: where its keys may begin
}

// SkipNode, returned by the function given to Walk, leaves out what is below
// the node.
//
//lint:ignore ST1012 it is no failure, as fs.SkipDir is none
var SkipNode = errors.New("skip what is below the node")

// Walk calls fn for every node of v that overlaps [lo, hi), parents before
// children, in key order; it reads each, waiting for the disk. An error of
// fn ends the walk and is returned, except SkipNode. So does a node that cannot be
// read, unless lost, which may be nil, says to go on: then fn is called for what its
// parent says of it, with a Count of 0, and what is below it is left out.
func Walk(v *Version, lo, hi Key, fn func(Node) error, lost func(error) bool) error {
	w := walker{c: v.c, root: &v.root, lo: lo, hi: hi, fn: fn, lost: lost}
	return w.start()
}

// Row calls fn for every node of a level of v that overlaps [lo, hi), in key order,
// without reading it, unless it is the root: Count is 0, and First is where its keys
// may begin. It waits for the disk where nodes above have to be read. A tree that is
// lower has none.
func Row(v *Version, level int, lo, hi Key, fn func(Node) error) error {
	w := walker{c: v.c, root: &v.root, lo: lo, hi: hi, floor: level + 1, fn: func(n Node) error {
		if n.Level != level {
			return nil
		}
		n.Count = 0
		if err := fn(n); err != nil {
			return err
		}
		return SkipNode
	}}
	return w.start()
}

// Height returns the level of v's root, -1 of an empty tree.
func Height(v *Version) (level int, err error) {
	level = -1
	w := walker{c: v.c, root: &v.root, hi: MaxKey, fn: func(n Node) error {
		level = n.Level
		return SkipNode
	}}
	return level, w.start()
}

// Nodes calls fn for every node of v from lo on as Walk does, without reading
// leaves: their Count is 0, and First is where their keys may begin. lost is as for
// Walk.
func Nodes(v *Version, lo Key, fn func(Node) error, lost func(error) bool) error {
	w := walker{c: v.c, root: &v.root, lo: lo, hi: MaxKey, floor: 1, fn: fn, lost: lost}
	return w.start()
}

// nodesBelow calls fn for the node on disk at a link and for all below it,
// without reading leaves. lost is as for Walk.
func (c *Cache) nodesBelow(l link, fn func(Ref), lost func(error) bool) error {
	w := walker{c: c, root: &l, hi: MaxKey, floor: 1, lost: lost, fn: func(n Node) error {
		fn(n.Ref)
		return nil
	}}
	return w.start()
}

// A walker goes through a tree that does not change. It stays on no page
// while it waits or calls fn: it remembers the way to a node by the number of
// the child taken at each level.
type walker struct {
	c      *Cache
	root   *link
	lo, hi Key
	fn     func(Node) error
	lost   func(error) bool // whether to go on after an error; nil: never
	floor  int              // the lowest level that is read
	way    []int
}

// A look is what a walker takes along from a page.
type look struct {
	node     Node
	children []Node // of an inner page, with Ref, Level and First
}

func (w *walker) start() error {
	if w.root.load() == 0 || !w.lo.Less(w.hi) {
		return nil
	}
	return w.visit(w.top())
}

// top is what is known of the root before it is read.
func (w *walker) top() Node {
	defer leave(w.c.epoch.enter())
	return Node{Ref: w.c.refOf(w.root)}
}

// visit handles the node at the end of the way.
func (w *walker) visit(at Node) error {
	n, err := w.look()
	if err != nil && w.lost != nil && w.lost(err) {
		n, err = look{node: at}, nil
	}
	if err != nil {
		return err
	}
	if err := w.fn(n.node); err == SkipNode {
		return nil
	} else if err != nil {
		return err
	}
	for i, child := range n.children {
		if i+1 < len(n.children) && !w.lo.Less(n.children[i+1].First) || i > 0 && !child.First.Less(w.hi) {
			continue
		}
		if child.Level < w.floor {
			if err = w.fn(child); err == SkipNode {
				err = nil
			}
		} else {
			w.way = append(w.way, i)
			err = w.visit(child)
			w.way = w.way[:len(w.way)-1]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look reads the node at the end of the way, loading what is on it.
func (w *walker) look() (look, error) {
	for {
		n, err := w.tryLook()
		if err == nil {
			return n, nil
		}
		if again, err := w.c.waited(err); !again {
			return look{}, err
		}
	}
}

func (w *walker) tryLook() (look, error) {
	defer leave(w.c.epoch.enter())
	l, level := w.root, -1
	var first Key
	for depth := 0; ; depth++ {
		addr := l.load()
		id, err := w.c.resident(l, addr)
		if err != nil {
			return look{}, err
		}
		p := w.c.page(id)
		if level >= 0 && p.level() != level {
			return look{}, wrongLevel(addr, p.level(), level)
		}
		if depth == len(w.way) {
			return w.c.lookAt(l, p, first), nil
		}
		i := w.way[depth]
		level = p.level() - 1
		l = p.link(i)
		if i > 0 {
			first = p.sep(i)
		}
	}
}

// lookAt takes along what there is on a page whose keys begin at first.
func (c *Cache) lookAt(l *link, p *page, first Key) look {
	n := look{node: Node{Ref: c.refOf(l), Level: p.level(), Count: p.count(), First: first}}
	if n.node.Level == 0 {
		n.node.First = p.leafKey(0)
		return n
	}
	n.children = make([]Node, n.node.Count)
	for i := range n.children {
		n.children[i] = Node{Ref: c.refOf(p.link(i)), Level: n.node.Level - 1, First: first}
		if i+1 < n.node.Count {
			first = p.sep(i + 1)
		}
	}
	return n
}

// refOf returns what is known of the node at a link. The caller has entered
// the epoch.
func (c *Cache) refOf(l *link) Ref {
	at, _ := c.locate(l, false)
	if at.addr&memoryBit != 0 {
		return Ref{Birth: at.birth}
	}
	return Ref{Addr: at.addr, Birth: at.birth, CRC: at.crc}
}
