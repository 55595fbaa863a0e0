package redo_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/opfile"
	"varve/internal/redo"
	"varve/internal/when"
)

// export writes what was done to a dataset between two moments as a file.
func (w *world) export(dataset string, from, to uint64) []byte {
	w.t.Helper()
	var file bytes.Buffer
	q := ask.Query{Dataset: dataset}
	if from > 0 {
		q.Since = &when.Spec{Kind: when.LSN, LSN: from}
	}
	q.Until = &when.Spec{Kind: when.LSN, LSN: to}
	_, err := ask.New(w.e).Export(context.Background(), q, &file)
	w.ok(err)
	return file.Bytes()
}

// take repeats a file on a dataset as it is now, as a new one.
func (w *world) take(dataset, name string, file []byte) {
	w.t.Helper()
	f, err := opfile.NewReader(bytes.NewReader(file))
	w.ok(err)
	r, err := redo.From(context.Background(), w.e, caller, dataset, redo.FromOptions{
		At: when.Spec{Kind: when.Now}, Name: name,
		Source: func(_ context.Context, fn func(*redo.Step) error) error { return redo.Steps(f, fn) },
	})
	w.ok(err)
	if r.Partial || len(r.Clashes) > 0 || r.Repeated != r.Ops {
		w.t.Fatalf("%s: %+v", name, r)
	}
}

// tree is all that can be seen of a share at a moment, by path: with times, and with
// which names are of one object.
func (w *world) tree(dataset string, lsn uint64) map[string]string {
	w.t.Helper()
	all := w.paths(dataset, lsn)
	v := w.view(dataset, lsn)
	defer v.Close()
	first := map[uint64]string{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		ino := w.walk(v, path)
		if first[ino] == "" {
			first[ino] = path
		}
		w.ok(v.Look(func(r inode.Reader) error {
			i, err := inode.Load(r, ino)
			all[path] += fmt.Sprintf(" changed %d %d like %s", i.Mtime, i.Ctime, first[ino])
			return err
		}))
	}
	return all
}

func (w *world) walk(v *engine.View, path string) uint64 {
	w.t.Helper()
	ino := uint64(inode.Root)
	for _, name := range bytes.Split([]byte(path[1:]), []byte("/")) {
		w.ok(v.Look(func(r inode.Reader) error {
			e, ok, err := inode.Lookup(r, v.Seed(), ino, string(name))
			if !ok && err == nil {
				w.t.Fatalf("%s is not there", path)
			}
			ino = e.Ino
			return err
		}))
	}
	return ino
}

// What is exported of one pool and imported into another is there what it is here,
// of several ranges one after the other too, though objects have other numbers.
func TestExportImportShare(t *testing.T) {
	for seed := range uint64(4) {
		there, here := newWorld(t), newWorld(t)
		for i := range 7 + seed { // so that numbers differ
			_, err := here.f.Create(by("zero"), here.root, fmt.Sprint("other", i), fs.SetAttr{}, true, nil)
			here.ok(err)
			_, _, err = here.f.Remove(by("zero"), here.root, fmt.Sprint("other", i))
			here.ok(err)
		}
		one, two := there.author("one", seed, there.root), there.author("three", seed+100, there.root)
		from, name := uint64(0), "home"
		for part := range 4 {
			for range 120 {
				one.step()
				two.step()
			}
			if part == 1 {
				there.ok(there.e.Checkpoint())
			}
			file := there.export("home", from, there.last())
			from = there.last()
			next := fmt.Sprint("part", part)
			here.take(name, next, file)
			name = next
			want := there.tree("home", from)
			here.same(fmt.Sprintf("seed %d, %s", seed, name), here.tree(name, here.last()), want)
			if len(want) < 10 {
				t.Fatalf("only %d objects", len(want))
			}
		}
	}
}

// The same of a volume: unaligned writes and trims.
func TestExportImportVolume(t *testing.T) {
	there, here := newWorld(t), newWorld(t)
	rng := rand.New(rand.NewPCG(4, 4))
	from, name := uint64(0), "disk"
	for part := range 3 {
		h, err := there.e.Attach("disk", caller, true, func() {})
		there.ok(err)
		for range 150 {
			if rng.IntN(5) == 0 {
				there.ok(h.Trim(uint64(rng.IntN(1000))*4096, uint64(1+rng.IntN(40))*4096))
				continue
			}
			p := make([]byte, 1+rng.IntN(30_000))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			there.ok(h.WriteAt(p, rng.Uint64N(8<<20-40_000)))
		}
		h.Detach()
		file := there.export("disk", from, there.last())
		from = there.last()
		next := fmt.Sprint("part", part)
		here.take(name, next, file)
		name = next
		here.sameBytes(name, here.disk(name, here.last()), there.disk("disk", from))
	}
}
