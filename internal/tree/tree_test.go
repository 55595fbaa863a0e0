package tree

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"varve/internal/fail"
)

func TestFirstSteps(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<20)
	tr := c.Open(Ref{})
	if v := tr.Freeze(1); func() bool { r, ok := v.Ref(); return !ok || !r.Empty() }() {
		t.Fatal("an empty tree is not on disk")
	} else {
		v.Close()
	}
	want := map[Key]string{}
	for i := range uint64(20000) {
		k, v := key(i*7919%20000), fmt.Sprint("value ", i)
		put(t, tr, k, v)
		want[k] = v
	}
	must(t, audit(c, []*Tree{tr}, nil))
	sameContents(t, "tree", contents(t, c, tr, Key{}, MaxKey), want)

	v1 := tr.Freeze(10)
	if v := tr.Freeze(11); v != v1 || v.Moment() != 10 {
		t.Fatal("an unchanged tree makes another version")
	} else {
		v.Close()
	}
	put(t, tr, key(3), "changed")
	must(t, audit(c, []*Tree{tr}, []*Version{v1}))
	sameContents(t, "version", contents(t, c, v1, Key{}, MaxKey), want)
	if _, ok := v1.Ref(); ok {
		t.Fatal("on disk before it is written")
	}
	must(t, c.WriteOut([]*Version{v1}, d.put))
	c.Settle([]*Tree{tr})
	must(t, audit(c, []*Tree{tr}, []*Version{v1}))
	r, ok := v1.Ref()
	if !ok || r.Birth != 10 {
		t.Fatalf("reference %v %v", r, ok)
	}

	c2 := NewCache(d, 0)
	v2 := c2.OpenVersion(r)
	if _, _, err := v2.Get(key(1), nil); err == nil {
		t.Fatal("no miss")
	}
	sameContents(t, "reopened", contents(t, c2, v2, Key{}, MaxKey), want)
	sameContents(t, "reopened", contents(t, c2, v2.Blocking(), key(100), key(101)), map[Key]string{key(100): want[key(100)]})
	if s := c2.Stats(); s.Pages > 2*minPages || s.Evictions == 0 {
		t.Fatalf("%+v", s)
	}
	v2.Close()
	closed(t, c2)

	val, ok, err := tr.Get(key(3), make([]byte, 0, 10))
	if string(val) != "changed" || !ok || err != nil {
		t.Fatal(string(val), ok, err)
	}
	if _, ok, err := tr.Get(key(20000), nil); ok || err != nil {
		t.Fatal(ok, err)
	}
	v1.Close()
	tr.Close()
	closed(t, c)
}

// grown returns a tree of n entries that is on disk, in a cache of its own.
func grown(t tb, d *disk, n uint64, v string) Ref {
	t.Helper()
	c := NewCache(d, 1<<30)
	tr := c.Open(Ref{})
	for i := range n {
		put(t, tr, key(i), v)
	}
	ver := tr.Freeze(5)
	must(t, c.WriteOut([]*Version{ver}, d.put))
	r, _ := ver.Ref()
	ver.Close()
	tr.Close()
	closed(t, c)
	return r
}

func TestPutFails(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<20)
	tr := c.Open(Ref{})
	for i := range uint64(20000) {
		put(t, tr, key(i), "some value or other")
	}
	v := tr.Freeze(1)
	calls := 0
	failing := func(pages [][]byte, crcs []uint32) (uint64, error) {
		if calls++; calls == 3 {
			return 0, fail.New(fail.NoSpace, "full")
		}
		return d.put(pages, crcs)
	}
	if err := c.WriteOut([]*Version{v}, failing); !fail.Is(err, fail.NoSpace) {
		t.Fatal(err)
	}
	must(t, audit(c, []*Tree{tr}, []*Version{v}))
	before := len(d.nodes)
	if _, ok := v.Ref(); ok || before != 2*maxBatch {
		t.Fatal("half written", ok, before)
	}
	must(t, c.WriteOut([]*Version{v}, d.put))
	nodes := 0
	must(t, Walk(v, Key{}, MaxKey, func(n Node) error { nodes++; return nil }, nil))
	if len(d.nodes) != nodes {
		t.Fatalf("%d nodes put for %d", len(d.nodes), nodes)
	}
	for _, bad := range []uint64{0, memoryBit, ^uint64(0)} {
		put(t, tr, key(1), fmt.Sprint(bad))
		w := tr.Freeze(2)
		err := c.WriteOut([]*Version{w}, func([][]byte, []uint32) (uint64, error) { return bad, nil })
		if !fail.Is(err, fail.Invalid) {
			t.Fatal(bad, err)
		}
		w.Close()
	}
	v.Close()
	tr.Close()
	closed(t, c)
}

// TestCloseDuringWriteOut lets go of tree and version while they are written.
func TestCloseDuringWriteOut(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<20)
	tr := c.Open(Ref{})
	for i := range uint64(20000) {
		put(t, tr, key(i), "some value or other")
	}
	v := tr.Freeze(1)
	n := c.DirtyBytes() / PageSize
	closing := sync.OnceFunc(func() { tr.Close(); v.Close() })
	must(t, c.WriteOut([]*Version{v}, func(pages [][]byte, crcs []uint32) (uint64, error) {
		closing()
		return d.put(pages, crcs)
	}))
	if len(d.nodes) != int(n) {
		t.Fatalf("%d nodes of %d", len(d.nodes), n)
	}
	for _, p := range d.nodes {
		must(t, (*page)(p).validate())
	}
	closed(t, c)
}

func TestDamagedNodes(t *testing.T) {
	d := newDisk()
	r := grown(t, d, 20000, "v")
	damage := func(name string, want fail.Kind, says string, r Ref) {
		t.Helper()
		c := NewCache(d, 1<<20)
		v := c.OpenVersion(r)
		_, _, err := v.Blocking().Get(key(0), nil)
		if !fail.Is(err, want) || !strings.Contains(err.Error(), says) {
			t.Fatalf("%s: %v", name, err)
		}
		tr := c.OpenRoot(v)
		tr.Blocking(true)
		if err := tr.Prepare(key(0), key(0)); !fail.Is(err, want) {
			t.Fatalf("%s: prepare: %v", name, err)
		}
		if err := Walk(v, Key{}, MaxKey, func(Node) error { return nil }, nil); !fail.Is(err, want) {
			t.Fatalf("%s: walk: %v", name, err)
		}
		tr.Close()
		v.Close()
		closed(t, c)
	}
	damage("no such node", fail.IO, "0x3e7", Ref{Addr: 999, CRC: 1})
	damage("checksum", fail.Corrupt, fmt.Sprintf("%#x", r.Addr), Ref{Addr: r.Addr, CRC: r.CRC + 1})

	put := func(p *page) Ref {
		addr, _ := d.put([][]byte{p[:]}, nil)
		return Ref{Addr: addr, Birth: 1, CRC: p.checksum()}
	}
	root := page(d.nodes[r.Addr])
	root[4] = 9
	damage("levels", fail.Corrupt, "level", put(&root))
	root = page(d.nodes[r.Addr])
	root.setCount(fanout + 1)
	damage("count", fail.Corrupt, "header", put(&root))
	root = page(d.nodes[r.Addr])
	root.link(0).addr |= memoryBit
	damage("memory address", fail.Corrupt, "address", put(&root))
}

func TestUnpreparedPanics(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<20)
	tr := c.Open(grown(t, d, 1000, "v"))
	for name, fn := range map[string]func(){
		"put":    func() { tr.Put(key(1), nil) },
		"delete": func() { tr.Delete(key(1)) },
		"range":  func() { tr.DeleteRange(key(1), key(2)) },
		"long":   func() { tr.Put(key(1), make([]byte, MaxValue+1)) },
		"max":    func() { tr.Put(MaxKey, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			fn()
		}()
	}
	tr.Close()
	closed(t, c)
}

func TestLoadsAreShared(t *testing.T) {
	d := newDisk()
	r := grown(t, d, 10, "v")
	slow := &slowSource{disk: d, entered: make(chan struct{}, 10), gate: make(chan struct{})}
	c := NewCache(slow, 1<<20)
	v := c.OpenVersion(r)
	done := make(chan error)
	get := func() {
		val, ok, err := v.Blocking().Get(key(3), nil)
		if err == nil && (!ok || string(val) != "v") {
			err = fmt.Errorf("got %q %v", val, ok)
		}
		done <- err
	}
	go get()
	<-slow.entered
	for range 5 {
		go get()
	}
	// Reads that pass the gate later would be counted.
	close(slow.gate)
	for range 6 {
		must(t, <-done)
	}
	if d.reads != 1 || c.Stats().Misses != 1 {
		t.Fatalf("%d reads, %+v", d.reads, c.Stats())
	}
	v.Close()
	closed(t, c)
	if err := c.Load(&Miss{addr: 1}); !fail.Is(err, fail.Canceled) {
		t.Fatal(err)
	}
}

type slowSource struct {
	*disk
	entered, gate chan struct{}
}

func (s *slowSource) ReadNode(addr uint64, page []byte) error {
	s.entered <- struct{}{}
	<-s.gate
	return s.disk.ReadNode(addr, page)
}

func TestWalk(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1<<20)
	tr := c.Open(grown(t, d, 50000, "fourteen bytes"))
	put(t, tr, key(20000), "new")
	v := tr.Freeze(9)
	var nodes, leaves, fresh, entries int
	must(t, Walk(v, Key{}, MaxKey, func(n Node) error {
		nodes++
		if n.Ref.Addr == 0 {
			fresh++
		}
		if n.Level == 0 {
			leaves++
			entries += n.Count
		}
		if want := uint64(5); n.Ref.Addr != 0 && n.Ref.Birth != want || n.Ref.Addr == 0 && n.Ref.Birth != 9 {
			t.Fatalf("%+v", n)
		}
		return nil
	}, nil))
	if entries != 50000 || fresh != 3 {
		t.Fatalf("%d entries, %d nodes not on disk", entries, fresh)
	}
	reads := d.reads
	c2 := NewCache(d, 1<<20)
	v2 := c2.OpenVersion(grown(t, d, 50000, "fourteen bytes"))
	n := 0
	must(t, Row(v2, 0, Key{}, MaxKey, func(Node) error { n++; return nil }))
	if n != leaves || d.reads-reads != nodes-leaves {
		t.Fatalf("%d leaves of %d, %d reads", n, leaves, d.reads-reads)
	}
	n = 0
	must(t, Row(v2, 0, key(1000), key(1001), func(Node) error { n++; return nil }))
	if n != 1 {
		t.Fatal(n, "leaves for one key")
	}
	n = 0
	must(t, Walk(v2, Key{}, MaxKey, func(Node) error { n++; return SkipNode }, nil))
	if n != 1 {
		t.Fatal(n, "nodes not skipped")
	}
	v.Close()
	tr.Close()
	v2.Close()
	closed(t, c)
	closed(t, c2)
}
