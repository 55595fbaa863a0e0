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
	own        blockSet // of what is owed: what the line on which it lived has
	free       blockSet
	died       []tree.Drop
	payload    map[uint64]int // by segments that nobody writes any more
	estates    []books
	blind      bool // not all that trees lead to is known
	idle       idle
}

// idle is what nobody needs, and is not free.
type idle struct {
	blocks int64 // in all
	addr   segment.Addr
	run    uint32 // so many blocks from addr on are not told yet
	kind   segment.Kind
}

// books are what one dataset's estate held at that moment.
type books struct {
	id     uint64
	name   string
	fork   uint64
	runs   []deathRun
	deaths []death // in memory only

	history, data, nodes int64 // blocks, as the counters say
	counted              [asideBucket + 1]int64
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
		b := books{id: d.id, name: d.name, fork: l.fork}
		b.history, b.data, b.nodes = es.historyBlocks, es.data.blocks, es.nodes.blocks+es.asides.blocks
		add := func(runs []*deathRun) {
			for _, x := range runs {
				b.runs = append(b.runs, *x)
				b.counted[x.list] += x.data + x.nodes
			}
		}
		count := func(list deathList, ds []death) {
			for _, x := range ds {
				b.counted[list] += int64(x.count)
			}
		}
		count(historyList, es.newHistory)
		add(es.history)
		add(es.foreign)
		add(es.lost)
		for _, bs := range es.sorts() {
			for _, k := range bs.all {
				add(k.runs)
				count(bs.list, k.fresh)
				b.deaths = append(b.deaths, k.fresh...)
			}
		}
		for _, x := range l.drops {
			b.deaths = append(b.deaths, death{kind: nodeDeath, count: 1, addr: x.Addr, birth: x.Birth, death: x.Death})
		}
		for _, x := range es.renamed { // of pins that went with who was killed: the next checkpoint frees it
			if !es.filed(x) {
				b.runs = append(b.runs, *x)
			}
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
		c.payload(seg)
		for block, sum := range c.crcs[seg] {
			if sum.kind == segment.Data || sum.kind == segment.Node || sum.kind == segment.Deaths || sum.kind == anyKind {
				c.judge(segment.MakeAddr(seg, uint32(block)), sum.kind)
			}
		}
		c.tellIdle()
	}
	if a.idle.blocks > 0 && a.blind {
		c.damage("below what cannot be read", fail.New(fail.Corrupt, "%d blocks that nobody else needs are not free", a.idle.blocks))
	}
	return nil
}

// books marks what one dataset's lists keep.
func (c *checker) books(b books) error {
	a := &c.acct
	for _, x := range []struct {
		what      string
		says, has int64
	}{{"history", b.history, b.counted[historyList]}, {"snapshots", b.data, b.counted[dataBucket]}, {"nodes", b.nodes, b.counted[nodeBucket] + b.counted[asideBucket]}} {
		if x.says != x.has {
			c.damage("counters of "+b.name, fail.New(fail.Corrupt, "%d blocks are said to be kept for %s; it is %d", x.says, x.what, x.has))
		}
	}
	for _, x := range b.runs {
		a.need.mark(x.addr, uint64(len(x.crc)))
		ds, err := c.e.readRun(b.id, &x)
		if unreadable(err) {
			c.damage(fmt.Sprintf("dead blocks of %s", b.name), err)
			a.blind = true
			continue
		}
		if err != nil {
			return err
		}
		for _, y := range ds {
			c.owe(b, y, x.list != foreignList && x.list != lostList)
		}
	}
	for _, y := range b.deaths {
		c.owe(b, y, y.birth > b.fork)
	}
	return nil
}

// owe notes that a list keeps what died: its own line's only once, or it would be
// freed twice.
func (c *checker) owe(b books, y death, own bool) {
	a := &c.acct
	a.owed.mark(y.addr, uint64(y.count))
	for i := uint64(0); own && i < uint64(y.count); i++ {
		if a.own.has(y.addr + i) {
			at := segment.Addr(y.addr + i)
			c.damage(fmt.Sprintf("segment %d block %d", at.Segment(), at.Block()), fail.New(fail.Corrupt, "%s has it twice among what is dead", b.name))
		}
		a.own.mark(y.addr+i, 1)
	}
}

// payload compares how many blocks of payload a segment is said to have with what
// is there. Segments of which the last checkpoint did not see the end are still
// being counted.
func (c *checker) payload(seg uint64) {
	says, ok := c.acct.payload[seg]
	if !ok {
		return
	}
	has := 0
	for _, sum := range c.crcs[seg] {
		if sum.kind == segment.Data || sum.kind == segment.Node || sum.kind == segment.Deaths {
			has++
		}
	}
	if says != has {
		c.damage(fmt.Sprintf("segment %d", seg), fail.New(fail.Corrupt, "%d blocks of payload are said to be there; it is %d", says, has))
	}
}

// figures compares what a head is said to have mapped with its tree.
func (c *checker) figures(r rootToCheck) error {
	if !r.whole || r.rough {
		return nil
	}
	mapped, own, err := countMapped(r.vers, r.d.created.lsn)
	if unreadable(err) {
		return nil // the tree's own check has said so
	}
	if err == nil && (mapped != r.mapped || own != r.own) {
		c.damage("counters of "+r.name, fail.New(fail.Corrupt, "%d blocks are said to be mapped, %d of them its own; it is %d and %d", r.mapped, r.own, mapped, own))
	}
	return err
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
		c.idle(addr, kind)
	}
}

// idle notes a block that nobody needs, though it is not free: by ascending address.
func (c *checker) idle(addr segment.Addr, kind segment.Kind) {
	x := &c.acct.idle
	if x.addr+segment.Addr(x.run) != addr || x.kind != kind {
		c.tellIdle()
		x.addr, x.kind = addr, kind
	}
	x.blocks++
	x.run++
}

// tellIdle reports the run that ended. Where a tree could not be read, that may well
// be needed.
func (c *checker) tellIdle() {
	x := &c.acct.idle
	if x.run > 0 && !c.acct.blind {
		where := fmt.Sprintf("segment %d block %d", x.addr.Segment(), x.addr.Block())
		if x.run > 1 {
			where += fmt.Sprintf(" to %d", x.addr.Block()+x.run-1)
		}
		c.damage(where, fail.New(fail.Corrupt, "nobody needs this %s, and it is not free", x.kind))
	}
	x.run = 0
}
