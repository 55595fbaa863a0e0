package tree

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"varve/internal/fail"
)

// A Source reads nodes from where put of WriteOut has brought them.
type Source interface {
	// ReadNode fills page, PageSize bytes, with the node at addr. It may wait
	// for the disk, runs many times at once, and does not keep page. The
	// bytes are verified by the caller.
	ReadNode(addr uint64, page []byte) error
}

// A Cache holds the pages of all trees of a pool: those not yet written, and
// as many written ones as its limit allows. Its methods are safe for
// concurrent use.
//
// The one lock, mu, covers everything that is not on the way of a lookup:
// free pages, the address table's changes, generations, loads. It is never
// held while waiting for the disk.
type Cache struct {
	src   Source
	limit int // pages
	arena

	buckets []atomic.Uint32 // address table: first page of each chain
	shift   int

	unwritten atomic.Int64 // pages open or frozen

	writing  sync.Mutex // one WriteOut at a time; taken before mu
	writeOut uint64     // number of the current one

	mu        sync.Mutex
	gens      map[uint64]*generation // those with pages that are not written, by id
	lastGen   uint64
	fates     map[uint32][]*fate // drops that wait for the address of a frozen page
	loads     map[loadKey]*loading
	closed    bool
	misses    uint64
	evictions uint64
}

// A generation is the pages that one tree made between two calls of Freeze.
type generation struct {
	id     uint64
	moment uint64 // of the Freeze that ended it
	open   bool
	pages  int // not yet written
}

// A fate is what becomes of a frozen page: 0 not yet known, its address, or
// dead.
type fate struct{ addr atomic.Uint64 }

const minPages = 32

// NewCache returns a cache that reads from src and evicts written pages when
// more than limitBytes of pages are in use. Pages that are not written are
// never evicted, whatever the limit.
func NewCache(src Source, limitBytes int64) *Cache {
	if !littleEndian() {
		panic("tree: pages are shared with the disk as they are: needs a little-endian machine")
	}
	c := &Cache{
		src:   src,
		limit: max(minPages, int(limitBytes/PageSize)),
		gens:  map[uint64]*generation{},
		fates: map[uint32][]*fate{},
		loads: map[loadKey]*loading{},
	}
	log := max(10, bits.Len(uint(c.limit-1)))
	c.buckets = make([]atomic.Uint32, 1<<log)
	c.shift = 64 - log
	c.arena.init()
	return c
}

// Close frees all memory. Trees, versions and readers of the cache must be
// done; using one afterwards panics. It waits for loads that still run.
func (c *Cache) Close() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	for _, l := range c.loads {
		c.mu.Unlock()
		<-l.done
		c.mu.Lock()
	}
	old := *c.slabs.Swap(new([]slab))
	for !c.epoch.quiet(0) || !c.epoch.quiet(1) {
		runtime.Gosched()
	}
	for _, s := range old {
		unmapPages(s.pages)
	}
}

func (c *Cache) bucket(addr uint64) *atomic.Uint32 {
	return &c.buckets[addr*0x9e3779b97f4a7c15>>c.shift]
}

// find returns the page that holds the node at a disk address. The caller has
// entered the epoch or holds mu.
func (c *Cache) find(addr uint64) (uint32, bool) {
	for id := c.bucket(addr).Load(); id != 0; {
		m := c.meta(id)
		if m.addr.Load() == addr {
			return id, true
		}
		id = m.next.Load()
	}
	return 0, false
}

// publish makes a page found by its address. Holds mu.
func (c *Cache) publish(id uint32, addr uint64) {
	m, b := c.meta(id), c.bucket(addr)
	m.addr.Store(addr)
	m.next.Store(b.Load())
	b.Store(id)
}

// conceal takes a page out of the address table. Readers may still be on it,
// and go on along its chain. Holds mu.
func (c *Cache) conceal(id uint32) {
	m := c.meta(id)
	p := c.bucket(m.addr.Load())
	for p.Load() != id {
		p = &c.meta(p.Load()).next
	}
	p.Store(m.next.Load())
}

// makeRoom evicts up to two written pages if the limit is reached. The work
// per call is bounded: when most pages are needed, the cache grows instead.
// Holds mu.
func (c *Cache) makeRoom() {
	const looks, victims = 128, 2
	for i, n := 0, 0; i < looks && n < victims && c.used >= c.limit; i++ {
		if c.hand++; int(c.hand) >= c.mapped() {
			c.hand = 0
		}
		if c.evict(c.hand) {
			n++
		}
	}
}

func (c *Cache) evict(id uint32) bool {
	m := c.meta(id)
	if a := m.addr.Load(); a == 0 || a == dead || m.refs.Load() != 0 {
		return false
	}
	if u := m.use.Load(); u > 0 {
		m.use.Store(u - 1)
		return false
	}
	c.conceal(id)
	c.retire(id)
	c.evictions++
	return true
}

// Rounds of the clock that a page survives after it was read or found.
const (
	useLeaf  = 1
	useFresh = 2
	useInner = 3
)

// touch protects a written page against eviction for a while.
func (m *meta) touch(use uint32) {
	if m.use.Load() < use {
		m.use.Store(use)
	}
}

// claim returns a page for a new use, evicting others as far as the limit asks
// for. Holds mu, and may give it up for a moment.
func (c *Cache) claim() uint32 {
	const patience = 64
	c.makeRoom()
	for i := 0; len(c.free) == 0 && c.waiting() > 0 && i < patience; i++ {
		if !c.reclaim() {
			// A reader was interrupted on its way. Rather than to take ever
			// more memory until it goes on, let it.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
	}
	return c.take()
}

// alloc returns a page of an open generation, with one reference. Its content
// is whatever it was.
func (c *Cache) alloc(g *generation) (uint32, *page) {
	c.mu.Lock()
	id := c.claim()
	m := c.meta(id)
	m.gen, m.listed = g.id, false
	m.addr.Store(0)
	m.refs.Store(1)
	g.pages++
	c.mu.Unlock()
	c.unwritten.Add(1)
	return id, c.page(id)
}

// discard frees a page that was never written and to which nothing leads.
// What its links hold is the caller's.
func (c *Cache) discard(id uint32) {
	c.unwritten.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleFate(id, dead)
	c.leaveGeneration(c.meta(id).gen)
	c.retire(id)
}

// leaveGeneration counts a page out of its generation. Holds mu.
func (c *Cache) leaveGeneration(id uint64) {
	g := c.gens[id]
	if g.pages--; g.pages == 0 && !g.open {
		delete(c.gens, id)
	}
}

// settleFate tells the drops that wait for a frozen page. Holds mu.
func (c *Cache) settleFate(id uint32, addr uint64) {
	m := c.meta(id)
	if !m.awaits {
		return
	}
	m.awaits = false
	for _, f := range c.fates[id] {
		f.addr.Store(addr)
	}
	delete(c.fates, id)
}

// wrote makes a frozen page a written one: its drops learn the address, it
// is found by it, and once no link in memory leads to it, it may be evicted.
func (c *Cache) wrote(id uint32, addr uint64, crc uint32) {
	c.unwritten.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meta(id)
	m.birth, m.crc = c.gens[m.gen].moment, crc
	m.use.Store(useLeaf)
	c.settleFate(id, addr)
	c.leaveGeneration(m.gen)
	c.publish(id, addr)
}

func (c *Cache) newGeneration() *generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastGen++
	g := &generation{id: c.lastGen, open: true}
	c.gens[g.id] = g
	return g
}

// endGeneration gives all pages of g their birth.
func (c *Cache) endGeneration(g *generation, moment uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.moment, g.open = moment, false
	if g.pages == 0 {
		delete(c.gens, g.id)
	}
}

// DirtyBytes returns how many bytes of pages are not yet written.
func (c *Cache) DirtyBytes() int64 { return c.unwritten.Load() * PageSize }

// Stats counts what a cache holds and did.
type Stats struct {
	Pages, Clean, Dirty     int64  // pages in use: all, written, not yet written
	Bytes                   int64  // memory mapped for pages
	Hits, Misses, Evictions uint64 // descents that met no miss, loads, pages evicted
}

// Stats returns the current counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Pages:     int64(c.used),
		Dirty:     c.unwritten.Load(),
		Bytes:     int64(c.mapped()) * PageSize,
		Misses:    c.misses,
		Evictions: c.evictions,
	}
	s.Clean = max(0, s.Pages-s.Dirty-int64(len(c.loads)))
	if n := c.epoch.entries(); n > s.Misses {
		s.Hits = n - s.Misses
	}
	return s
}

// corrupt reports a node that contradicts its parent or itself.
func corrupt(addr uint64, err error) error {
	return fail.Wrap(fail.Corrupt, err, "tree node at %#x", addr)
}
