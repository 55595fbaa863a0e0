package tree

import "sync/atomic"

// slabPages is how many pages are mapped at a time (2 MiB).
const slabPages = 512

type slab struct {
	pages *[slabPages]page
	metas *[slabPages]meta
}

// A meta is what the cache knows about a page. A page is in one of these
// states:
//
//	state    addr     refs  meaning
//	free     dead     -1    in the free list, or waiting for readers to leave
//	open     0        1     may be changed by the tree whose open generation
//	                        it belongs to
//	frozen   0        >= 1  immutable, not on disk
//	written  address  >= 0  on disk, and found by address; evictable at 0
//	loading  0        1     being read, known to nobody else
//
// refs counts the links in memory that lead to the page by its id. An open or
// frozen page without any is freed at once; a written one holds only disk
// addresses, so nothing hangs on it.
type meta struct {
	addr atomic.Uint64
	refs atomic.Int32
	next atomic.Uint32 // page after this one in its bucket of the address table
	use  atomic.Uint32 // rounds of the clock that the page survives

	gen    uint64 // generation that made the page; 0 = loaded
	birth  uint64 // valid once addr is set
	crc    uint32 // valid once addr is set
	listed bool   // open leaf: in the tree's list of empty leaves
	awaits bool   // frozen: drops wait for its address (under Cache.mu)
	mark   uint64 // the WriteOut that has collected the page
}

// An arena owns the memory of all pages. Page ids count from 1. Everything
// but slabs is under Cache.mu.
type arena struct {
	slabs atomic.Pointer[[]slab]
	epoch epoch
	free  []uint32
	limbo [3][]uint32 // pages by the epoch, modulo 3, in which they were retired
	used  int         // pages neither free nor in limbo
	hand  uint32      // of the clock that finds pages to evict
}

func (a *arena) init() { a.slabs.Store(new([]slab)) }

func (a *arena) slab(id uint32) *slab { return &(*a.slabs.Load())[id/slabPages] }

func (a *arena) page(id uint32) *page { return &a.slab(id).pages[id%slabPages] }

func (a *arena) meta(id uint32) *meta { return &a.slab(id).metas[id%slabPages] }

// mapped returns how many page ids there are.
func (a *arena) mapped() int { return len(*a.slabs.Load()) * slabPages }

// take returns a free page; its content is whatever it was.
func (a *arena) take() uint32 {
	if len(a.free) == 0 {
		a.grow()
	}
	id := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	a.used++
	return id
}

// waiting returns how many pages wait for readers to leave.
func (a *arena) waiting() int { return len(a.limbo[0]) + len(a.limbo[1]) + len(a.limbo[2]) }

func (a *arena) grow() {
	old := *a.slabs.Load()
	s := slab{pages: mapPages(), metas: new([slabPages]meta)}
	first := uint32(len(old)) * slabPages
	for i := slabPages - 1; i >= 0; i-- {
		s.metas[i].addr.Store(dead)
		s.metas[i].refs.Store(-1)
		if id := first + uint32(i); id != 0 {
			a.free = append(a.free, id)
		}
	}
	grown := append(old[:len(old):len(old)], s)
	a.slabs.Store(&grown)
}

// retire takes back a page that nobody who enters the epoch from now on can
// reach. It is reused when those who could have left.
func (a *arena) retire(id uint32) {
	m := a.meta(id)
	m.addr.Store(dead)
	m.refs.Store(-1)
	a.used--
	l := &a.limbo[a.epoch.now.Load()%3]
	*l = append(*l, id)
	// Going on in small steps matters to callers who are inside themselves:
	// they hold up what was retired since they entered, but not more.
	if len(*l)%16 == 0 {
		a.reclaim()
	}
}

// reclaim goes to the next epoch if it may, and makes the pages free that are
// out of reach then. It reports whether it did.
func (a *arena) reclaim() bool {
	if !a.epoch.advance() {
		return false
	}
	old := &a.limbo[(a.epoch.now.Load()+1)%3] // of the epoch two before
	a.free = append(a.free, *old...)
	*old = (*old)[:0]
	return true
}
