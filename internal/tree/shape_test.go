package tree

import (
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/fail"
)

// leafShape returns how many leaves and entries a tree has in memory, and the
// bytes its entries take.
func leafShape(t *testing.T, tr *Tree) (leaves, entries, used int) {
	var visit func(l *link)
	visit = func(l *link) {
		p := tr.c.page(uint32(l.addr))
		if p.level() == 0 {
			leaves, entries, used = leaves+1, entries+p.count(), used+p.used()
			return
		}
		for i := range p.count() {
			visit(p.link(i))
		}
	}
	visit(&tr.root)
	if leaves == 0 {
		t.Fatal("no leaves")
	}
	return leaves, entries, used
}

// TestShape fills trees in several orders and measures what an entry of a
// volume costs, and how full leaves are.
func TestShape(t *testing.T) {
	const n = 50000
	orders := map[string]struct {
		at      func(r *rand.Rand, i int) uint64
		entry   float64 // bytes at most, of an entry in a leaf
		percent int     // of the leaves' room in use, at least
	}{
		"ascending":  {func(_ *rand.Rand, i int) uint64 { return uint64(i) }, 20, 98},
		"random":     {func(r *rand.Rand, _ int) uint64 { return r.Uint64N(1 << 26) }, 26, 65},
		"descending": {func(_ *rand.Rand, i int) uint64 { return n - uint64(i) }, 26, 45},
		"runs":       {func(_ *rand.Rand, i int) uint64 { return uint64(i%100)<<20 + uint64(i/100) }, 26, 45},
		"one run after another": {func(r *rand.Rand, i int) uint64 {
			return uint64(i/500*7919%100)<<20 + uint64(i%500)
		}, 26, 60},
	}
	for name, o := range orders {
		t.Run(name, func(t *testing.T) {
			c := NewCache(newDisk(), 1<<30)
			tr := c.Open(Ref{})
			r := rand.New(rand.NewPCG(1, 2))
			for i := range n {
				k := key(o.at(r, i))
				must(t, tr.Prepare(k, k))
				tr.Put(k, make([]byte, 14))
			}
			leaves, entries, used := leafShape(t, tr)
			bytes, percent := float64(used)/float64(entries), used*100/(leaves*leafRoom)
			t.Logf("%d entries of %.1f bytes in %d leaves, %d%% full: %.1f bytes each in all",
				entries, bytes, leaves, percent, float64(leaves)*PageSize/float64(entries))
			if bytes > o.entry || percent < o.percent {
				t.Errorf("want %.0f bytes and %d%%", o.entry, o.percent)
			}
			must(t, audit(c, []*Tree{tr}, nil))
			tr.Close()
			closed(t, c)
		})
	}
}

// TestDeleteRangeReadsLittle removes nearly all of a large tree: only two
// paths are read then, and only inner nodes when drops are taken.
func TestDeleteRangeReadsLittle(t *testing.T) {
	const n = 200000
	d, c, tr, before := without(t, n, key(10), key(n-10))
	if d.reads > 6 {
		t.Fatalf("%d nodes read for two paths", d.reads)
	}
	if got := contents(t, c, tr, Key{}, MaxKey); len(got) != 20 {
		t.Fatalf("%d entries left", len(got))
	}
	v := tr.Freeze(9)
	inner := loseInner(t, d)
	if drops, err := tr.TakeDrops(nil); !fail.Is(err, fail.IO) || len(drops) != 0 {
		t.Fatalf("%d drops without a node: %v", len(drops), err)
	}
	inner()
	drops, err := tr.TakeDrops(nil)
	must(t, err)
	if len(drops) != before || d.reads > 30 {
		t.Fatalf("%d of %d nodes dropped, %d read", len(drops), before, d.reads)
	}
	must(t, c.WriteOut([]*Version{v}, d.put))
	if got := len(d.nodes) - before; got > 3 {
		t.Fatalf("%d nodes for 20 entries", got)
	}
	v.Close()
	tr.Close()
	closed(t, c)
}

// What is below an inner node that is given up is not among the drops; all else is,
// the node too.
func TestDropsBesideDamage(t *testing.T) {
	const n = 200000
	d, c, tr, before := without(t, n, Key{}, key(n))
	v := tr.Freeze(9)
	loseInner(t, d)
	lost := 0
	drops, err := tr.TakeDrops(func(err error) bool {
		lost++
		return fail.Is(err, fail.IO)
	})
	must(t, err)
	if lost != 1 || len(drops) >= before-10 || len(drops) < before/4 {
		t.Errorf("%d nodes given up; %d of %d nodes dropped", lost, len(drops), before)
	}
	if more, err := tr.TakeDrops(nil); err != nil || len(more) != 0 {
		t.Errorf("%d more drops: %v", len(more), err)
	}
	v.Close()
	tr.Close()
	closed(t, c)
}

// without makes a tree of n entries, and deletes a range of them; before is how many
// nodes it had.
func without(t *testing.T, n uint64, lo, hi Key) (d *disk, c *Cache, tr *Tree, before int) {
	d = newDisk()
	c = NewCache(d, 1<<30)
	tr = c.Open(grown(t, d, n, "fourteen bytes"))
	before = len(d.nodes)
	retry(t, c, func() error { return tr.PrepareRange(lo, hi) })
	tr.DeleteRange(lo, hi)
	return d, c, tr, before
}

// loseInner takes an inner node in the midst of the others away from a disk;
// what it returns puts it back.
func loseInner(t *testing.T, d *disk) func() {
	t.Helper()
	var addrs []uint64
	for addr, n := range d.nodes {
		if (*page)(n).level() == 1 {
			addrs = append(addrs, addr)
		}
	}
	slices.Sort(addrs)
	addr := addrs[len(addrs)/2]
	n := d.nodes[addr]
	delete(d.nodes, addr)
	return func() { d.nodes[addr] = n }
}

// TestLookupDoesNotAllocate, nor does an update of what is prepared.
func TestLookupDoesNotAllocate(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<30)
	tr := c.Open(grown(t, d, 50000, "fourteen bytes"))
	tr.Blocking(true)
	buf := make([]byte, 0, 100)
	update := func() {
		must(t, tr.Prepare(key(4000), key(4001)))
		tr.Put(key(4000), []byte("other"))
		if v, ok, err := tr.Get(key(4000), buf); string(v) != "other" || !ok || err != nil {
			t.Fatal(string(v), ok, err)
		}
	}
	update()
	if n := testing.AllocsPerRun(100, update); n != 0 {
		t.Fatalf("%.1f allocations", n)
	}
	tr.Close()
	closed(t, c)
}
