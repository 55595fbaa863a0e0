package tree

import "sync/atomic"

func (l *link) load() uint64 { return atomic.LoadUint64(&l.addr) }

// acquire takes one more reference to a page that is not free; it fails on a
// page that lost its last one.
func (m *meta) acquire() bool {
	for {
		n := m.refs.Load()
		if n <= 0 {
			return false
		}
		if m.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// resolve reads a link that may be patched at the same time. It returns the
// disk address wherever there is one by now, else the page id; with hold it
// takes a reference to that page. The caller has entered the epoch.
func (c *Cache) resolve(l *link, hold bool) link {
	for {
		a := l.load()
		if a&memoryBit == 0 {
			return link{addr: a, birth: l.birth, crc: l.crc}
		}
		m := c.meta(uint32(a))
		switch w := m.addr.Load(); {
		case w == dead:
			// Written, patched and evicted since: the link says so by now.
		case w != 0:
			return link{addr: w, birth: m.birth, crc: m.crc}
		case !hold || m.acquire():
			return link{addr: a}
		}
	}
}

// patch makes a memory link whose page is written a disk link.
func (c *Cache) patch(l *link) {
	a := l.load()
	m := c.meta(uint32(a))
	l.birth, l.crc = m.birth, m.crc
	atomic.StoreUint64(&l.addr, m.addr.Load())
	c.release(a)
}

// written reports whether a link leads to a page in memory that is on disk.
// The link keeps the page from being evicted.
func (c *Cache) written(l *link) bool {
	a := l.load()
	return a&memoryBit != 0 && c.meta(uint32(a)).addr.Load() != 0
}

// release gives back the reference of a memory link. The last one frees a
// page that is not written, and gives back what its own links hold.
func (c *Cache) release(addr uint64) {
	id := uint32(addr)
	if !c.unref(c.meta(id)) {
		return
	}
	if p := c.page(id); p.level() > 0 {
		for i := range p.count() {
			if a := p.link(i).load(); a&memoryBit != 0 {
				c.release(a)
			}
		}
	}
	c.discard(id)
}

// unref drops one reference and reports whether it was the last one of a page
// that is not written. Inside the epoch, because a written page may be evicted
// between the two steps, but must not have become another page.
func (c *Cache) unref(m *meta) bool {
	defer leave(c.epoch.enter())
	return m.refs.Add(-1) == 0 && m.addr.Load() == 0
}

// copyPage makes dst a copy of a page that no one changes, except that links
// may be patched meanwhile. The copy holds references of its own. The caller
// has entered the epoch.
func (c *Cache) copyPage(dst *page, id uint32) {
	src := c.page(id)
	if src.level() == 0 || c.meta(id).addr.Load() != 0 {
		*dst = *src
		return
	}
	copy(dst[:innerRefs], src[:innerRefs])
	for i := range src.count() {
		*dst.link(i) = c.resolve(src.link(i), true)
	}
	clear(dst[innerRefs+linkSize*src.count():])
}
