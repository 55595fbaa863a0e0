package inode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// A tb is a test or a rapid run.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A disk keeps nodes by address.
type disk struct {
	mu    sync.Mutex
	nodes map[uint64][]byte
	reads int
	last  uint64
}

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

func (d *disk) put(pages [][]byte, _ []uint32) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.last + 1
	for _, p := range pages {
		d.last++
		d.nodes[d.last] = slices.Clone(p)
	}
	return first, nil
}

// A world is one share, with what an engine does for it. Its extents are one
// item per block.
type world struct {
	tb
	places
	d      *disk
	c      *tree.Cache
	tree   *tree.Tree
	moment uint64
	now    int64
	next   uint64   // inode number
	other  tree.Ref // of a tree that fills the cache
}

// newWorld makes a world with the smallest cache.
func newWorld(t tb, p places) *world { return newWorldWith(t, p, 0) }

func newWorldWith(t tb, p places, cacheBytes int64) *world {
	w := &world{tb: t, places: p, d: &disk{nodes: map[uint64][]byte{}}, now: 1e18, next: Root + 1}
	w.c = tree.NewCache(w.d, cacheBytes)
	w.tree = w.c.Open(tree.Ref{})
	Make(w.tree, 0o755, 0, 0, w.now)
	return w
}

func (w *world) close() {
	w.tree.Close()
	w.c.Close()
}

func (w *world) ino() uint64 {
	w.next++
	return w.next - 1
}

// freeze writes everything out and returns it.
func (w *world) freeze() *tree.Version {
	w.Helper()
	w.moment++
	v := w.tree.Freeze(w.moment)
	must(w, w.c.WriteOut([]*tree.Version{v}, w.d.put))
	w.c.Settle([]*tree.Tree{w.tree})
	return v
}

// evict writes everything out and forgets all that is in memory.
func (w *world) evict() {
	w.Helper()
	v := w.freeze()
	ref, ok := v.Ref()
	if !ok {
		w.Fatal("the tree has no reference")
	}
	v.Close()
	w.close()
	w.c = tree.NewCache(w.d, 0)
	w.tree = w.c.Open(ref)
}

// retry loads what fn misses until it does not.
func (w *world) retry(fn func() error) error {
	for {
		err := fn()
		var m *tree.Miss
		if !errors.As(err, &m) {
			return err
		}
		must(w, w.c.Load(m))
	}
}

// try runs an operation as an engine does, and returns what Prepare says
// against it.
func (w *world) try(op *oplog.Op) (Effect, error) {
	w.Helper()
	w.now += 1000
	op.Time = w.now
	var want Effect
	err := w.retry(func() (err error) {
		if want, err = w.plan(w.tree, op); err != nil {
			return err
		}
		if err := w.prepare(w.tree, op); err != nil || !want.Cut {
			return err
		}
		return w.tree.Prepare(DataKey(want.Ino, 0), itemKey(want.Ino, inodeItem, 0))
	})
	if err != nil {
		return Effect{}, err
	}
	w.churn()
	got, err := w.apply(w.tree, op)
	if err != nil {
		w.Fatalf("%v: prepared, but: %v", op, err)
	}
	if got != want {
		w.Fatalf("%v: planned %+v, did %+v", op, want, got)
	}
	if got.Cut {
		w.cut(got)
	}
	return got, nil
}

func (w *world) do(op *oplog.Op) Effect {
	w.Helper()
	e, err := w.try(op)
	must(w, err)
	return e
}

// cut removes the blocks that an operation left.
func (w *world) cut(e Effect) {
	w.Helper()
	keep := map[tree.Key][]byte{}
	n := int64(0)
	must(w, w.tree.Scan(DataKey(e.Ino, 0), itemKey(e.Ino, inodeItem, 0), func(k tree.Key, v []byte) bool {
		blocks, err := blocksIn(v)
		must(w, err)
		_, first := k.Split()
		stay := min(blocks, max(first, e.From)-first)
		if n += int64(blocks - stay); first < e.From && stay < blocks {
			keep[k] = extentOf(stay)
		}
		return true
	}))
	w.tree.DeleteRange(DataKey(e.Ino, e.From), itemKey(e.Ino, inodeItem, 0))
	for k, v := range keep {
		w.tree.Put(k, v)
	}
	if e.Large {
		n = 0
	}
	if e.Inodes == 0 {
		must(w, AddBlocks(w.tree, e.Ino, -n))
	}
}

// extentOf is the codec of these extents: their number of blocks, in decimal.
func extentOf(blocks uint64) []byte { return fmt.Appendf(nil, "%d blocks", blocks) }

func blocksIn(v []byte) (n uint64, err error) {
	_, err = fmt.Sscanf(string(v), "%d blocks", &n)
	return n, err
}

// fill writes an extent of n blocks to a file.
func (w *world) fill(ino, block, n uint64) {
	w.Helper()
	w.do(&oplog.Op{Kind: oplog.WriteFile, Ino: ino, Off: block * blockSize, Len: n * blockSize})
	k := DataKey(ino, block)
	must(w, w.retry(func() error { return w.tree.Prepare(k, k) }))
	if !w.tree.Delete(k) {
		must(w, AddBlocks(w.tree, ino, int64(n)))
	}
	w.tree.Put(k, extentOf(n))
}

// fillDisk makes another tree, so that churn has something to read.
func (w *world) fillDisk() {
	w.Helper()
	other := w.c.Open(tree.Ref{})
	defer other.Close()
	for i := range uint64(300) {
		k := tree.MakeKey(i, 0)
		must(w, other.Prepare(k, k))
		other.Put(k, make([]byte, tree.MaxValue))
	}
	v := other.Freeze(1)
	defer v.Close()
	must(w, w.c.WriteOut([]*tree.Version{v}, w.d.put))
	w.c.Settle([]*tree.Tree{other})
	w.other, _ = v.Ref()
}

// churn pushes all pages out of the cache that may go.
func (w *world) churn() {
	w.Helper()
	if w.other.Empty() {
		return
	}
	v := w.c.OpenVersion(w.other)
	defer v.Close()
	must(w, v.Blocking().Scan(tree.Key{}, tree.MaxKey, func(tree.Key, []byte) bool { return true }))
}

// raw changes one item behind everybody's back; nil deletes it.
func (w *world) raw(k tree.Key, v []byte) {
	w.Helper()
	must(w, w.retry(func() error { return w.tree.Prepare(k, k) }))
	if v != nil {
		w.tree.Put(k, v)
	} else if !w.tree.Delete(k) {
		w.Fatalf("no item at %v", k)
	}
}

func (w *world) inode(ino uint64) Inode {
	w.Helper()
	var i Inode
	must(w, w.retry(func() (err error) {
		i, err = Load(w.tree, ino)
		return err
	}))
	return i
}

// entries lists a directory, going on after misses and after every second
// entry.
func (w *world) entries(dir uint64) []Entry {
	w.Helper()
	var all []Entry
	after := uint64(0)
	for n := -1; n != len(all); {
		n = len(all)
		must(w, w.retry(func() error {
			return List(w.tree, dir, after, func(e Entry) bool {
				all = append(all, e)
				after = e.Cookie
				return len(all)%2 == 1
			})
		}))
	}
	return all
}

func (w *world) named(dir uint64, name string) (e Entry, ok bool) {
	w.Helper()
	must(w, w.retry(func() (err error) {
		e, ok, err = w.lookup(w.tree, dir, name)
		return err
	}))
	return e, ok
}

// problems is what a check of the share says.
func (w *world) problems() ([]string, Totals) {
	w.Helper()
	v := w.freeze()
	defer v.Close()
	var all []string
	totals, err := w.check(context.Background(), v.Blocking(), blocksIn, func(err error) {
		if !fail.Is(err, fail.Corrupt) {
			w.Errorf("reported %v", err)
		}
		all = append(all, err.Error())
	})
	must(w, err)
	return all, totals
}

// sound fails the test if a check of the share does.
func (w *world) sound() Totals {
	w.Helper()
	all, totals := w.problems()
	for _, p := range all {
		w.Errorf("check: %s", p)
	}
	if len(all) > 0 {
		w.Fatal("the share is not sound")
	}
	return totals
}

func (w *world) create(dir uint64, name string) uint64 {
	w.Helper()
	ino := w.ino()
	w.do(made(oplog.Create, ModeFile|0o644, dir, name, ino))
	return ino
}

func (w *world) mkdir(dir uint64, name string) uint64 {
	w.Helper()
	ino := w.ino()
	w.do(made(oplog.Mkdir, ModeDir|0o755, dir, name, ino))
	return ino
}

func made(kind oplog.Kind, mode uint32, dir uint64, name string, ino uint64) *oplog.Op {
	return &oplog.Op{Kind: kind, Dir: dir, Name: name, Ino: ino, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: mode}}
}

// dump returns all items.
func dump(t tb, v *tree.Version) map[tree.Key]string {
	t.Helper()
	all := map[tree.Key]string{}
	must(t, v.Blocking().Scan(tree.Key{}, tree.MaxKey, func(k tree.Key, v []byte) bool {
		all[k] = string(v)
		return true
	}))
	return all
}
