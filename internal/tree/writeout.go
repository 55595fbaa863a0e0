package tree

import "varve/internal/fail"

// maxBatch is how many pages are put at a time.
const maxBatch = 32

// WriteOut writes every page of the versions that is not on disk yet, once,
// children before parents and leaves in key order. put brings up to 32 pages
// to the addresses first, first+1, ... which were never used before; crcs are
// the CRC32C of the pages; it copies what it needs before it returns, and may
// block: nothing waits for it, except another WriteOut and Close. When put
// fails, WriteOut returns its error; pages already put count as written.
//
// It runs beside readers and writers. When all is written, the versions have
// their Ref.
func (c *Cache) WriteOut(vs []*Version, put func(pages [][]byte, crcs []uint32) (first uint64, err error)) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for _, v := range vs {
		defer v.Retain().Close()
	}
	c.writeOut++
	var todo [maxLevel + 1][]uint32
	for _, v := range vs {
		c.collect(&v.root, &todo)
	}
	for _, ids := range todo {
		for len(ids) > 0 {
			n := min(len(ids), maxBatch)
			if err := c.writeBatch(ids[:n], put); err != nil {
				return err
			}
			ids = ids[n:]
		}
	}
	for _, v := range vs {
		if c.written(&v.root) {
			c.patch(&v.root)
		}
	}
	return nil
}

// collect adds the pages at a link and below it that are not on disk, by
// level.
func (c *Cache) collect(l *link, todo *[maxLevel + 1][]uint32) {
	a := l.load()
	if a&memoryBit == 0 || c.written(l) {
		return
	}
	id := uint32(a)
	m, p := c.meta(id), c.page(id)
	if m.mark == c.writeOut {
		return
	}
	m.mark = c.writeOut
	level := p.level()
	if level > 0 {
		for i := range p.count() {
			c.collect(p.link(i), todo)
		}
	}
	todo[level] = append(todo[level], id)
}

// writeBatch writes frozen pages whose children are on disk.
func (c *Cache) writeBatch(ids []uint32, put func([][]byte, []uint32) (uint64, error)) error {
	var pages [maxBatch][]byte
	var crcs [maxBatch]uint32
	for i, id := range ids {
		p := c.page(id)
		if p.level() > 0 {
			for j := range p.count() {
				if l := p.link(j); c.written(l) {
					c.patch(l)
				}
			}
		}
		pages[i], crcs[i] = p[:], p.checksum()
	}
	n := uint64(len(ids))
	first, err := put(pages[:n], crcs[:n])
	if err != nil {
		return err
	}
	if first == 0 || first+n-1 < first || first+n-1 >= memoryBit {
		return fail.New(fail.Invalid, "tree nodes were put at the impossible address %#x", first)
	}
	for i, id := range ids {
		c.wrote(id, first+uint64(i), crcs[i])
	}
	return nil
}

// Settle makes the links of the trees that lead to written pages by way of
// memory lead there by address, so that those pages may be evicted. All that
// change these trees are excluded while it runs; it takes time by the pages
// that they changed since their last Freeze.
func (c *Cache) Settle(trees []*Tree) {
	for _, t := range trees {
		t.settle(&t.root)
	}
}

func (t *Tree) settle(l *link) {
	switch {
	case t.owns(l):
		if p := t.c.page(uint32(l.addr)); p.level() > 0 {
			for i := range p.count() {
				t.settle(p.link(i))
			}
		}
	case t.c.written(l):
		t.c.patch(l)
	}
}
