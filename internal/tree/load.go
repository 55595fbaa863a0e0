package tree

import (
	"errors"
	"fmt"

	"varve/internal/fail"
)

// A Miss is the error of a read or Prepare that needs a page which is not in
// memory. Give up your locks, pass it to Cache.Load, and try again.
type Miss struct {
	addr uint64
	crc  uint32
}

func (m *Miss) Error() string {
	return fmt.Sprintf("tree node at %#x is not in memory", m.addr)
}

type loadKey struct {
	addr uint64
	crc  uint32
}

type loading struct {
	done chan struct{}
	err  error
}

// Load brings the page of a miss into memory, or finds that it is there.
// Loads of one page at the same time share one read. It fails with Corrupt
// if the bytes are not what the parent says or no node, naming the address,
// with Canceled after Close, and with what the source reports. A loaded page
// stays for a while, but not for ever: the retry may miss again.
func (c *Cache) Load(m *Miss) error {
	key := loadKey(*m)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return fail.New(fail.Canceled, "the tree cache is closed")
	}
	if id, ok := c.find(m.addr); ok {
		c.meta(id).touch(useFresh)
		c.mu.Unlock()
		return nil
	}
	if l := c.loads[key]; l != nil {
		c.mu.Unlock()
		<-l.done
		return l.err
	}
	l := &loading{done: make(chan struct{})}
	c.loads[key] = l
	c.misses++
	id := c.claim()
	mt := c.meta(id)
	mt.gen = 0
	mt.addr.Store(0)
	mt.refs.Store(1)
	c.mu.Unlock()

	l.err = c.read(c.page(id), m)

	c.mu.Lock()
	delete(c.loads, key)
	if _, ok := c.find(m.addr); l.err != nil || ok {
		c.retire(id)
	} else {
		mt.crc = m.crc
		mt.use.Store(useFresh)
		mt.refs.Store(0)
		c.publish(id, m.addr)
	}
	c.mu.Unlock()
	close(l.done)
	return l.err
}

func (c *Cache) read(p *page, m *Miss) error {
	if err := c.src.ReadNode(m.addr, p[:]); err != nil {
		return fail.Wrap(fail.Other, err, "read tree node at %#x", m.addr)
	}
	if p.checksum() != m.crc {
		return fail.New(fail.Corrupt, "tree node at %#x fails its checksum", m.addr)
	}
	if err := p.validate(); err != nil {
		return corrupt(m.addr, err)
	}
	return nil
}

// waited reports whether err was a miss that has been loaded since, so that
// what met it may be tried again; else it returns the error to report.
func (c *Cache) waited(err error) (bool, error) {
	var m *Miss
	if !errors.As(err, &m) {
		return false, err
	}
	err = c.Load(m)
	return err == nil, err
}
