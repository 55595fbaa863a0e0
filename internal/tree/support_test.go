package tree

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"varve/internal/fail"
)

// A disk keeps nodes by address, and is a Source.
type disk struct {
	mu    sync.Mutex
	nodes map[uint64][]byte
	reads int
	last  uint64
	sizes []int // of the batches put
}

func newDisk() *disk { return &disk{nodes: map[uint64][]byte{}} }

func (d *disk) ReadNode(addr uint64, page []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	n := d.nodes[addr]
	if n == nil {
		return fail.New(fail.IO, "nothing at %d", addr)
	}
	copy(page, n)
	return nil
}

func (d *disk) put(pages [][]byte, crcs []uint32) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last += 7 // addresses are not dense
	first := d.last + 1
	for _, p := range pages {
		d.last++
		d.nodes[d.last] = slices.Clone(p)
	}
	d.sizes = append(d.sizes, len(pages))
	return first, nil
}

// A tb is a test or a rapid run.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	FailNow()
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(n uint64) Key { return MakeKey(1, n) }

// change prepares k, loading what is missing, and calls fn.
func change(t tb, tr *Tree, lo, hi Key, fn func()) {
	t.Helper()
	retry(t, tr.c, func() error { return tr.Prepare(lo, hi) })
	fn()
}

func retry(t tb, c *Cache, fn func() error) {
	t.Helper()
	for {
		err := fn()
		if m, ok := err.(*Miss); ok {
			must(t, c.Load(m))
			continue
		}
		must(t, err)
		return
	}
}

func put(t tb, tr *Tree, k Key, v string) {
	t.Helper()
	change(t, tr, k, k, func() { tr.Put(k, []byte(v)) })
}

type scanner interface {
	Scan(lo, hi Key, fn func(Key, []byte) bool) error
}

// contents scans [lo, hi), resuming after misses.
func contents(t tb, c *Cache, s scanner, lo, hi Key) map[Key]string {
	t.Helper()
	got := map[Key]string{}
	retry(t, c, func() error {
		return s.Scan(lo, hi, func(k Key, v []byte) bool {
			if k.Less(lo) || !k.Less(hi) {
				t.Fatalf("scan from %v yields %v", lo, k)
			}
			got[k] = string(v)
			lo = k.Next()
			return true
		})
	})
	return got
}

func sameContents(t tb, what string, got, want map[Key]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s: key %v is %.20q (%v), not %.20q", what, k, g, ok, v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: key %v should not be there", what, k)
		}
	}
	t.FailNow()
}

// audit checks every page reachable in memory against the rules of its state,
// and all reference counts against the links there are.
func audit(c *Cache, trees []*Tree, versions []*Version) error {
	refs := map[uint32]int32{}
	var visit func(l *link, gen uint64, lo, hi Key, level int) error
	visit = func(l *link, gen uint64, lo, hi Key, level int) error {
		if l.addr&memoryBit == 0 {
			return nil
		}
		id := uint32(l.addr)
		m, p := c.meta(id), c.page(id)
		if refs[id]++; refs[id] > 1 {
			return nil
		}
		if level >= 0 && p.level() != level {
			return fmt.Errorf("page %d has level %d, not %d", id, p.level(), level)
		}
		if p.level() == 0 {
			if p.count() == 0 {
				if m.gen != gen || !m.listed {
					return fmt.Errorf("page %d is empty", id)
				}
				return nil
			}
			if p.leafKey(0).Less(lo) || !p.leafKey(p.count()-1).Less(hi) {
				return fmt.Errorf("leaf %d has keys outside its separators", id)
			}
			return p.validate()
		}
		for i := range p.count() {
			if i == 0 && p.sep(0) != (Key{}) || i > 0 && !p.sep(i-1).Less(p.sep(i)) {
				return fmt.Errorf("page %d has separators out of order", id)
			}
			from, to := lo, hi
			if i > 0 {
				from = p.sep(i)
			}
			if i+1 < p.count() {
				to = p.sep(i + 1)
			}
			if from.Less(lo) || hi.Less(to) {
				return fmt.Errorf("page %d has separators outside its parent's", id)
			}
			if err := visit(p.link(i), gen, from, to, p.level()-1); err != nil {
				return err
			}
			if m.addr.Load() != 0 && p.link(i).addr&memoryBit != 0 {
				return fmt.Errorf("written page %d has a memory link", id)
			}
		}
		return nil
	}
	for _, v := range versions {
		if err := visit(&v.root, 0, Key{}, MaxKey, -1); err != nil {
			return err
		}
	}
	for _, t := range trees {
		if err := visit(&t.root, t.gen.id, Key{}, MaxKey, -1); err != nil {
			return err
		}
	}
	used, unwritten := 0, 0
	for id := uint32(1); int(id) < c.mapped(); id++ {
		m := c.meta(id)
		if n := m.refs.Load(); n >= 0 {
			used++
			if n != refs[id] {
				return fmt.Errorf("page %d (address %d) has %d references, not %d", id, m.addr.Load(), n, refs[id])
			}
			if m.addr.Load() == 0 {
				unwritten++
			} else if at, ok := c.find(m.addr.Load()); !ok || at != id {
				return fmt.Errorf("page %d is not found by its address", id)
			}
		}
	}
	if used != c.used || unwritten != int(c.unwritten.Load()) {
		return fmt.Errorf("%d pages used, %d not written, counted %d and %d", used, unwritten, c.used, c.unwritten.Load())
	}
	return nil
}

// closed checks that nothing is held once all trees and versions are closed,
// and closes the cache.
func closed(t tb, c *Cache) {
	t.Helper()
	must(t, audit(c, nil, nil))
	if n := c.DirtyBytes(); n != 0 || len(c.gens) != 0 || len(c.fates) != 0 || len(c.loads) != 0 {
		t.Fatalf("left over: %d dirty bytes, generations %v, fates %v, loads %v", n, c.gens, c.fates, c.loads)
	}
	c.Close()
}
