package tree

import "sync"

// A Drop is a node on disk that a tree stopped using. It was part of the tree
// at moment m iff Birth <= m < Death.
type Drop struct {
	Addr, Birth, Death uint64
}

// A dropped is a node that a tree stopped using, as far as that is known yet.
type dropped struct {
	link  link  // where it is on disk, unless fate is set
	level int   // > 0: everything below it is dropped along with it
	fate  *fate // of a page that was not yet written
}

// A dropList collects what a tree drops. mu is taken last.
type dropList struct {
	mu     sync.Mutex
	open   []dropped // since the last Freeze
	frozen []dropGroup
}

type dropGroup struct {
	death uint64
	nodes []dropped
}

func (d *dropList) add(n dropped) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = append(d.open, n)
}

func (d *dropList) freeze(moment uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.open) > 0 {
		d.frozen = append(d.frozen, dropGroup{moment, d.open})
		d.open = nil
	}
}

// drop notes that t stopped using the node that a link led to, but not what
// is below it, and gives the link's reference back. The node is not one that
// t may change. The caller has entered the epoch.
func (t *Tree) drop(l link) {
	at, f := t.c.locate(&l, true)
	t.drops.add(dropped{link: at, fate: f})
	if l.addr&memoryBit != 0 {
		t.c.release(l.addr)
	}
}

// dropTree notes that t stopped using the nodes at a link and below it. What
// is in memory only is visited now, once in its life; what is on disk when
// drops are taken. The caller has entered the epoch.
func (t *Tree) dropTree(l *link, level int) {
	if !t.owns(l) {
		t.noteTree(l, level)
		if l.addr&memoryBit != 0 {
			t.c.release(l.addr)
		}
		return
	}
	id := uint32(l.addr)
	if p := t.c.page(id); level > 0 {
		for i := range p.count() {
			t.dropTree(p.link(i), level-1)
		}
	}
	t.c.discard(id)
}

// noteTree is dropTree for nodes that t may not change; references stay.
func (t *Tree) noteTree(l *link, level int) {
	at, f := t.c.locate(l, true)
	if f == nil {
		t.drops.add(dropped{link: at, level: level})
		return
	}
	t.drops.add(dropped{link: at, fate: f})
	if level > 0 {
		p := t.c.page(uint32(at.addr))
		for i := range p.count() {
			t.noteTree(p.link(i), level-1)
		}
	}
}

// locate returns where the node at a link is, with its birth: on disk, or else
// in memory, and then with await there is a fate that will tell its address.
// The caller has entered the epoch.
func (c *Cache) locate(l *link, await bool) (link, *fate) {
	at := c.resolve(l, false)
	if at.addr&memoryBit == 0 {
		return at, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := uint32(at.addr)
	m := c.meta(id)
	if m.addr.Load() != 0 { // written since: then resolve finds an address
		return c.resolve(l, false), nil
	}
	at.birth = c.gens[m.gen].moment
	if !await {
		return at, nil
	}
	f := new(fate)
	c.fates[id] = append(c.fates[id], f)
	m.awaits = true
	return at, f
}

// TakeDrops returns the nodes that t stopped using up to its last Freeze and
// that are on disk, each once over all calls. A node that is not yet written
// is returned by a later call, if it is ever written: so when the versions of
// a checkpoint are written, all drops up to its moment are returned, but for
// nodes that only other versions hold.
//
// It may run beside the tree's writer. It waits for the disk where
// DeleteRange dropped whole subtrees: their inner nodes are read. On an error
// nothing is lost; the next call returns it. lost is as for Walk: what is below a
// node that it gives up is never returned.
func (t *Tree) TakeDrops(lost func(error) bool) ([]Drop, error) {
	t.drops.mu.Lock()
	groups := t.drops.frozen
	t.drops.frozen = nil
	t.drops.mu.Unlock()

	drops, rest, err := t.settleDrops(groups, lost)
	if err != nil {
		drops, rest = nil, groups
	}
	t.drops.mu.Lock()
	t.drops.frozen = append(rest, t.drops.frozen...)
	t.drops.mu.Unlock()
	return drops, err
}

// settleDrops returns the drops of which all is known, and the rest.
func (t *Tree) settleDrops(groups []dropGroup, lost func(error) bool) (drops []Drop, rest []dropGroup, err error) {
	for _, g := range groups {
		var open []dropped
		for _, n := range g.nodes {
			addr := n.link.addr
			if n.fate != nil {
				addr = n.fate.addr.Load()
			}
			switch {
			case addr == 0:
				open = append(open, n)
			case addr == dead:
			case n.level == 0:
				drops = append(drops, Drop{addr, n.link.birth, g.death})
			default:
				err := t.c.nodesBelow(n.link, func(r Ref) {
					drops = append(drops, Drop{r.Addr, r.Birth, g.death})
				}, lost)
				if err != nil {
					return nil, nil, err
				}
			}
		}
		if len(open) > 0 {
			rest = append(rest, dropGroup{g.death, open})
		}
	}
	return drops, rest, nil
}
