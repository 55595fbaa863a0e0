package tree

import (
	"sync/atomic"
	"unsafe"
)

// An epoch keeps pages from being reused under readers, at the price of two
// uncontended atomic adds per descent. A reader enters, follows links, and
// leaves. Who takes a page away first makes it unreachable for those who
// enter later, notes the epoch e, and reuses the page when the epoch is e+2:
//
//	from e   to e+1: when nobody is left who entered in e-1
//	from e+1 to e+2: when nobody is left who entered in e
//
// Readers count themselves under the parity of the epoch they entered in, on
// one of several stripes so that they do not share a cache line.
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
	for {
		now := e.now.Load()
		g := &s.gates[now&1]
		g.entered.Add(1)
		if e.now.Load() == now {
			return &g.left
		}
		g.left.Add(1) // the epoch went on in between: this count may not have been seen
	}
}

func leave(t ticket) { t.Add(1) }

// quiet reports whether all who entered with a parity have left. While the
// epoch has the other parity nobody new enters, so quiet remains true.
func (e *epoch) quiet(parity uint64) bool {
	for i := range e.stripes {
		g := &e.stripes[i].gates[parity&1]
		left := g.left.Load()
		if g.entered.Load() != left {
			return false
		}
	}
	return true
}

// advance goes to the next epoch if it may. Calls exclude each other.
func (e *epoch) advance() bool {
	now := e.now.Load()
	if !e.quiet(now + 1) { // the parity of now-1
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
