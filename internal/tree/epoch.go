package tree

import (
	"sync/atomic"
	"unsafe"
)

// An epoch keeps pages from being reused under readers, at the price of two
// uncontended atomic adds per descent. A reader enters, follows links, and
// leaves. There are two gates; readers enter by the one of the epoch's parity.
// The epoch goes on when the other gate is empty: from e to e+1 when gate
// (e+1)&1 is, from e+1 to e+2 when gate e&1 is.
//
// Who takes a page away in epoch e first makes it unreachable for those who
// enter later, and reuses it in e+2. Both gates were seen empty in between,
// so whoever was inside, by either gate, has left.
//
// Each gate is spread over stripes, so that readers do not share a cache line.
type epoch struct {
	now     atomic.Uint64
	stripes [16]stripe
}

type stripe struct {
	gates [2]struct{ entered, left atomic.Uint64 }
	_     [128 - 32]byte // a line and its neighbour, which is fetched along
}

// A ticket is what enter gives and leave takes back.
type ticket = *atomic.Uint64

// enter lets pages be followed until leave. Between the two nothing may block.
func (e *epoch) enter() ticket {
	// Goroutines have stacks of their own: the address picks a stripe.
	var here byte
	a := uintptr(unsafe.Pointer(&here))
	s := &e.stripes[(a>>12^a>>16)%uintptr(len(e.stripes))]
	g := &s.gates[e.now.Load()&1]
	g.entered.Add(1)
	return &g.left
}

func leave(t ticket) { t.Add(1) }

// quiet reports whether a gate was empty, each stripe at some time during the
// call.
func (e *epoch) quiet(gate uint64) bool {
	for i := range e.stripes {
		g := &e.stripes[i].gates[gate&1]
		left := g.left.Load()
		if g.entered.Load() != left {
			return false
		}
	}
	return true
}

// advance goes to the next epoch if it may. Calls exclude each other, and
// pages being taken away.
func (e *epoch) advance() bool {
	now := e.now.Load()
	if !e.quiet(now + 1) {
		return false
	}
	e.now.Store(now + 1)
	return true
}

// entries returns how often a reader entered.
func (e *epoch) entries() (n uint64) {
	for i := range e.stripes {
		n += e.stripes[i].gates[0].entered.Load() + e.stripes[i].gates[1].entered.Load()
	}
	return n
}
