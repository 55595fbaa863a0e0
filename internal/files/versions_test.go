package files

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
)

// A path changes at its versions and nowhere else, and each is what it says.
func TestVersionsAreAllThereWere(t *testing.T) {
	seen := 0
	for seed := range uint64(4) {
		w := newWorld(t, seed)
		first := w.lsn()
		paths := make(map[string]bool)
		for range 120 {
			w.step()
			if w.rnd.IntN(40) == 0 {
				_, err := w.e.Rollback(engine.Caller{}, "home", at(first+w.rnd.Uint64N(w.lsn()-first+1)), false)
				w.ok(err)
			}
			if w.rnd.IntN(8) > 0 {
				continue
			}
			for p := range w.tree("home", "/", w.lsn()) {
				paths[p] = true
			}
		}
		all := slices.Sorted(maps.Keys(paths))
		for range 6 {
			seen += w.compareVersions(all[w.rnd.IntN(len(all))], first)
		}
	}
	if seen < 50 {
		t.Errorf("only %d versions", seen)
	}
}

func (w *world) compareVersions(path string, first uint64) int {
	w.t.Helper()
	versions := make(map[uint64]Version)
	w.ok(w.f.Versions(context.Background(), "home", path, true, func(v Version) error {
		versions[v.LSN] = v
		return nil
	}))
	before := w.object(path, first)
	for lsn := first + 1; lsn <= w.lsn(); lsn++ {
		now := w.object(path, lsn)
		v, ok := versions[lsn]
		if now != before && !ok {
			w.t.Errorf("%s changed at lsn %d, which is no version: %+v %+v", path, lsn, before, now)
		}
		if ok && (v.Gone != (now.ino == 0) || !v.Gone && (v.Ino != now.ino || now.typ != "dir" && v.Size != uint64(len(now.data)))) {
			w.t.Errorf("%s at lsn %d is %+v of %d bytes, said to be %+v", path, lsn, now.ino, len(now.data), v)
		}
		before = now
	}
	return len(versions)
}

// object is what there is at a path, without its descendants.
func (w *world) object(path string, lsn uint64) object {
	s, _, err := w.f.view(context.Background(), "home", at(lsn))
	w.ok(err)
	defer s.close()
	ino, i, err := s.find(path)
	if fail.Is(err, fail.NotFound) || fail.Is(err, fail.Invalid) {
		return object{}
	}
	w.ok(err)
	o := object{ino: ino, typ: typeNames[i.Mode&inode.ModeType]}
	if o.typ == "file" || o.typ == "symlink" {
		buf := make([]byte, i.Size)
		if o.typ == "file" {
			w.ok(s.ReadFile(ino, buf, 0))
		}
		o.data = string(buf)
	}
	return o
}

// Changes that follow each other quickly are one version, but for a snapshot
// in between.
func TestBursts(t *testing.T) {
	w := newWorld(t, 1)
	write := func(text string) {
		made, err := w.fs.Create(root, w.root, "f", fs.SetAttr{}, false, nil)
		w.ok(err)
		_, _, err = w.fs.Write(root, made.Handle, []byte(text), 0)
		w.ok(err)
	}
	write("1")
	write("12")
	_, err := w.e.Snapshot(engine.Caller{}, "home", "a")
	w.ok(err)
	write("123")
	w.now.Add(int64(burst + time.Second))
	write("1234")
	_, _, err = w.fs.Remove(root, w.root, "f")
	w.ok(err)
	var got []string
	var sizes []uint64
	w.ok(w.f.Versions(context.Background(), "home", "/f", false, func(v Version) error {
		got, sizes = append(got, v.What), append(sizes, v.Size)
		return nil
	}))
	if !slices.Equal(got, []string{"created", "written", "written", "removed"}) || !slices.Equal(sizes, []uint64{2, 3, 4, 0}) {
		t.Errorf("%q of %d", got, sizes)
	}
}
