package engine

import (
	"fmt"
	"maps"
	"slices"

	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/tree"
)

// account is the books of a pool at one moment, for check: each payload block of
// the log is needed (a tree leads to it), owed (it is dead, and some list keeps
// it), or free, and of free blocks none is either of the others.
type account struct {
	need, owed blockSet
	free       blockSet
	died       []tree.Drop
	estates    []books
}

// books are what one dataset's estate held at that moment.
type books struct {
	id     uint64
	name   string
	runs   []deathRun
	deaths []death // in memory only
}

// blockSet is a bit for each block, by segment.
type blockSet map[uint64][]uint64

func (b blockSet) mark(addr, n uint64) {
	a := segment.Addr(addr)
	w := b[a.Segment()]
	for i := uint64(a.Block()); i < uint64(a.Block())+n; i++ {
		for int(i/64) >= len(w) {
			w = append(w, 0)
		}
		w[i/64] |= 1 << (i % 64)
	}
	b[a.Segment()] = w
}

func (b blockSet) has(addr uint64) bool {
	a := segment.Addr(addr)
	w := b[a.Segment()]
	i := a.Block()
	return int(i/64) < len(w) && w[i/64]&(1<<(i%64)) != 0
}

// take notes what a dataset's estate holds. ckpt, gate and d.mu are held.
func (c *account) take(d *dataset) {
	for _, l := range d.lines {
		es := &l.estate
		b := books{id: d.id, name: d.name}
		add := func(runs []*deathRun) {
			for _, x := range runs {
				b.runs = append(b.runs, *x)
			}
		}
		add(es.history)
		add(es.foreign)
		add(es.lost)
		for _, bs := range []*buckets{&es.data, &es.nodes} {
			for _, k := range bs.all {
				add(k.runs)
				b.deaths = append(b.deaths, k.fresh...)
			}
		}
		for _, x := range l.drops {
			b.deaths = append(b.deaths, death{kind: nodeDeath, count: 1, addr: x.Addr, birth: x.Birth, death: x.Death})
		}
		b.deaths = slices.Concat(b.deaths, es.newHistory, es.newForeign, l.led.deaths)
		c.estates = append(c.estates, b)
	}
}

// account compares what is needed with what is free.
func (c *checker) account() error {
	a := &c.acct
	for _, d := range a.died {
		a.owed.mark(d.Addr, 1)
	}
	for _, b := range a.estates {
		if err := c.books(b); err != nil {
			return err
		}
	}
	for _, seg := range slices.Sorted(maps.Keys(c.crcs)) {
		for block, sum := range c.crcs[seg] {
			if sum.kind == segment.Data || sum.kind == segment.Node || sum.kind == segment.Deaths || sum.kind == anyKind {
				c.judge(segment.MakeAddr(seg, uint32(block)), sum.kind)
			}
		}
	}
	return nil
}

// books marks what one dataset's lists keep.
func (c *checker) books(b books) error {
	a := &c.acct
	for _, x := range b.runs {
		a.need.mark(x.addr, uint64(len(x.crc)))
		ds, err := c.e.readRun(b.id, &x)
		if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.IO) {
			c.damage(fmt.Sprintf("dead blocks of %s", b.name), err)
			continue
		}
		if err != nil {
			return err
		}
		for _, y := range ds {
			a.owed.mark(y.addr, uint64(y.count))
		}
	}
	for _, y := range b.deaths {
		a.owed.mark(y.addr, uint64(y.count))
	}
	return nil
}

// judge says what is wrong with one block of payload.
func (c *checker) judge(addr segment.Addr, kind segment.Kind) {
	a, n := &c.acct, uint64(addr)
	where := fmt.Sprintf("segment %d block %d", addr.Segment(), addr.Block())
	switch free := a.free.has(n); {
	case free && a.need.has(n):
		c.damage(where, fail.New(fail.Corrupt, "%s that is needed counts as free", kind))
	case free && a.owed.has(n):
		c.damage(where, fail.New(fail.Corrupt, "%s that history or a snapshot keeps counts as free", kind))
	case free:
		c.report.Free++
	case !a.need.has(n) && !a.owed.has(n):
		c.damage(where, fail.New(fail.Corrupt, "nobody needs this %s, and it is not free", kind))
	}
}
