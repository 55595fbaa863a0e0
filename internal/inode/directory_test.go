package inode

import (
	"fmt"
	"testing"
	"time"

	"varve/internal/oplog"
	"varve/internal/tree"
)

// height is the number of levels of a world's tree.
func (w *world) height() int {
	v := w.freeze()
	defer v.Close()
	levels := 0
	must(w, tree.Walk(v, tree.Key{}, tree.MaxKey, func(n tree.Node) error {
		levels = max(levels, n.Level+1)
		return tree.SkipNode
	}, nil))
	return levels
}

// What an operation on a directory reads and writes depends on the height of
// the tree alone.
func TestLargeDirectoryTouchesFewNodes(t *testing.T) {
	w := newWorld(t, placesOf(1))
	defer func() { w.close() }()
	dir := w.mkdir(Root, "dir")
	made := 0
	for _, size := range []int{100, 3000, 30000} {
		for ; made < size; made++ {
			w.create(dir, fmt.Sprint("file ", made))
		}
		levels := w.height()
		touches := func(what string, paths int, fn func()) {
			t.Helper()
			w.evict()
			w.d.reads = 0
			fn()
			if w.d.reads > paths*levels {
				t.Errorf("%s in a directory of %d: %d nodes read in a tree of %d levels", what, made, w.d.reads, levels)
			}
			if n := w.c.DirtyBytes() / tree.PageSize; n > int64(paths*levels) {
				t.Errorf("%s in a directory of %d: %d nodes written in a tree of %d levels", what, made, n, levels)
			}
		}
		if levels > 4 {
			t.Errorf("%d files make a tree of %d levels", made, levels)
		}
		// The paths: the directory, the entry, the object.
		touches("create", 3, func() { w.create(dir, "new") })
		touches("lookup", 1, func() { w.named(dir, "new") })
		e, _ := w.named(dir, "new")
		touches("link", 3, func() { w.do(&oplog.Op{Kind: oplog.Link, Dir: dir, Name: "new 2", Ino: e.Ino}) })
		touches("rename", 4, func() {
			w.do(&oplog.Op{Kind: oplog.Move, Dir: dir, Name: "new", Ino: e.Ino, Dir2: dir, Name2: "new 3"})
		})
		touches("remove", 3, func() { w.do(&oplog.Op{Kind: oplog.Remove, Dir: dir, Name: "new 2", Ino: e.Ino}) })
		touches("remove the last", 3, func() { w.do(&oplog.Op{Kind: oplog.Remove, Dir: dir, Name: "new 3", Ino: e.Ino}) })
	}
	w.sound()
}

// The cost of a new name in a directory of a million, against that in one of
// 20,000: last/first.
func BenchmarkMillionNames(b *testing.B) {
	const names, part = 1_000_000, 20_000
	for b.Loop() {
		w := newWorldWith(b, placesOf(1), 1<<30)
		var took []time.Duration
		for range names / part {
			began := time.Now()
			for range part {
				w.create(Root, fmt.Sprintf("some-file-%07d", w.next))
			}
			took = append(took, time.Since(began))
		}
		first, last := took[1], took[len(took)-1]
		b.ReportMetric(float64(first.Nanoseconds())/part, "ns/first")
		b.ReportMetric(float64(last.Nanoseconds())/part, "ns/last")
		b.ReportMetric(float64(last)/float64(first), "last/first")
		w.close()
	}
}

func BenchmarkLookup(b *testing.B) {
	w := newWorldWith(b, placesOf(1), 1<<30)
	defer w.close()
	var names []string
	for i := range 100_000 {
		names = append(names, fmt.Sprintf("some-file-%07d", i))
		w.create(Root, names[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := w.lookup(w.tree, Root, names[i*7919%len(names)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	w := newWorldWith(b, placesOf(1), 1<<30)
	defer w.close()
	op := &oplog.Op{Kind: oplog.WriteFile, Ino: w.create(Root, "f"), Len: 4096, Time: 1}
	b.ReportAllocs()
	for b.Loop() {
		op.Off += 4096
		must(b, w.prepare(w.tree, op))
		if _, err := w.apply(w.tree, op); err != nil {
			b.Fatal(err)
		}
	}
}
