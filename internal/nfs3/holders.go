package nfs3

import (
	"container/heap"
	"net/netip"
)

// A remembered request is in two chains, each oldest first: that of all, from
// which the old are forgotten, and that of its client, from which room is made.
const (
	ofAll = iota
	ofClient
	chains
)

// links are the places of an entry in its chains.
type links [chains]struct{ prev, next *entry }

// chain is a list of entries.
type chain struct{ first, last *entry }

// push appends e to the chain, which is the one of its kind.
func (c *chain) push(e *entry, kind int) {
	l := &e.links[kind]
	l.prev, l.next = c.last, nil
	if c.last == nil {
		c.first = e
	} else {
		c.last.links[kind].next = e
	}
	c.last = e
}

// cut takes e out of the chain.
func (c *chain) cut(e *entry, kind int) {
	l := &e.links[kind]
	if l.prev == nil {
		c.first = l.next
	} else {
		l.prev.links[kind].next = l.next
	}
	if l.next == nil {
		c.last = l.prev
	} else {
		l.next.links[kind].prev = l.prev
	}
}

// holder is a client of which requests are remembered.
type holder struct {
	client netip.Addr
	held   chain
	n      int
	pos    int // in the ranking
}

// holders ranks those clients: a heap with the one that holds most on top.
type holders struct {
	byClient map[netip.Addr]*holder
	ranking  ranking
}

func (h *holders) add(e *entry) {
	o := h.byClient[e.key.client]
	if o == nil {
		o = &holder{client: e.key.client}
		h.byClient[o.client] = o
		heap.Push(&h.ranking, o)
	}
	o.held.push(e, ofClient)
	o.n++
	heap.Fix(&h.ranking, o.pos)
}

func (h *holders) remove(e *entry) {
	o := h.byClient[e.key.client]
	o.held.cut(e, ofClient)
	o.n--
	if o.n > 0 {
		heap.Fix(&h.ranking, o.pos)
		return
	}
	heap.Remove(&h.ranking, o.pos)
	delete(h.byClient, o.client)
}

// victim returns the oldest entry of the client that holds most; there is one.
func (h *holders) victim() *entry { return h.ranking[0].held.first }

// ranking implements heap.Interface.
type ranking []*holder

func (r ranking) Len() int           { return len(r) }
func (r ranking) Less(i, j int) bool { return r[i].n > r[j].n }
func (r ranking) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].pos, r[j].pos = i, j
}

func (r *ranking) Push(x any) {
	o := x.(*holder)
	o.pos = len(*r)
	*r = append(*r, o)
}

func (r *ranking) Pop() any {
	last := len(*r) - 1
	o := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return o
}
