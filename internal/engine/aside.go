package engine

import "varve/internal/tree"

// A root aside is what a snapshot of the past refers to. It was replayed from a
// root of its line, whose nodes it shares, and has nodes that were never the
// head's: born at its moment, and dead at the next one (asideNode). Its own lie in
// buckets of their own, and it pins the other root's. So the moment is kept
// without the records that it was replayed from, as soon as it is on disk.
//
//	line    ---r0---------m-----------
//	             \........m              the root aside: nodes of r0, and its own
//	                       \----        a clone, or the line after a rollback
//
// A line that begins with it has r0's nodes but for those that m does not share,
// which it gave up when it began; and m's own ones, which live on if it absorbs
// the line that it forked from.

// enterBegan enters what a line that began with a root aside gave up of the root
// that this shares nodes with. Both are on disk.
func (e *Engine) enterBegan(x *lineCut) error {
	l := x.l
	if l.began == nil {
		return nil
	}
	from := e.cache.OpenVersion(l.began.from.ref)
	defer from.Close()
	shared := map[uint64]bool{}
	err := e.asideNodes(l.began, func(n tree.Node, own bool) {
		if !own {
			shared[n.Ref.Addr] = true
		}
	})
	if err != nil && e.keepBelow(l.d)(err) { // it cannot be told what is shared: all of it, then
		l.began = nil
		return nil
	}
	if err != nil {
		return err
	}
	led := ledger{deaths: x.deaths}
	err = tree.Nodes(from, tree.Key{}, func(n tree.Node) error {
		if shared[n.Ref.Addr] {
			return tree.SkipNode
		}
		led.dropNode(tree.Drop{Addr: n.Ref.Addr, Birth: n.Ref.Birth, Death: l.id})
		return nil
	}, e.keepBelow(l.d))
	if err == nil {
		x.deaths, l.began = led.deaths, nil
	}
	return err
}

// asideNodes calls fn for the nodes of a root aside: its own, and the topmost of
// those that it shares.
func (e *Engine) asideNodes(r *root, fn func(n tree.Node, own bool)) error {
	v := e.cache.OpenVersion(r.ref)
	defer v.Close()
	return tree.Nodes(v, tree.Key{}, func(n tree.Node) error {
		own := n.Ref.Birth > r.from.lsn
		fn(n, own)
		if !own {
			return tree.SkipNode
		}
		return nil
	}, nil)
}
