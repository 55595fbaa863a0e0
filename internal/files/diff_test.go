package files

import (
	"context"
	"path"
	"slices"
	"strings"
	"testing"

	"varve/internal/fs"
)

// What Compare says turns the earlier tree into the later one, names all that
// differs, and nothing that does not.
func TestCompareExplainsEverything(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		moments := []uint64{w.lsn()}
		for range 12 {
			for range 1 + w.rnd.IntN(30) {
				w.step()
			}
			if w.rnd.IntN(4) == 0 {
				w.ok(w.e.Checkpoint())
			}
			moments = append(moments, w.lsn())
		}
		for range 20 {
			w.explain(moments[w.rnd.IntN(len(moments))], moments[w.rnd.IntN(len(moments))])
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (w *world) explain(from, to uint64) {
	w.t.Helper()
	a, b := w.tree("home", "/", from), w.tree("home", "/", to)
	said := make(map[string][]string) // what, by path of b, or of a for what is gone
	moved := make(map[string]string)
	_, _, err := w.f.Compare(context.Background(), "home", "/", at(from), at(to), func(d Difference) error {
		said[string(d.Path)] = append(said[string(d.Path)], d.What)
		if d.What == Renamed {
			moved[string(d.From)] = string(d.Path)
		}
		return nil
	})
	w.ok(err)
	has := func(p, what string) bool { return slices.Contains(said[p], what) }
	var now func(p string) string // where a path of a is in b
	now = func(p string) string {
		if to, ok := moved[p]; ok {
			return to
		}
		if p == "/" {
			return p
		}
		return child(now(path.Dir(p)), path.Base(p))
	}
	explained := make(map[string]bool)
	for p, was := range a {
		q := now(p)
		is, there := b[q]
		_, wasMoved := moved[p]
		gone := has(p, Removed) && !wasMoved
		switch {
		case gone:
			continue
		case !there:
			w.t.Errorf("%d..%d: %s should be at %s, where nothing is: %v", from, to, p, q, said)
			continue
		}
		explained[q] = true
		w.pair(q, was, is, has)
	}
	for q := range b {
		if explained[q] == has(q, Created) && !has(q, Removed) {
			w.t.Errorf("%d..%d: %s is there; created %v, explained %v: %v", from, to, q, has(q, Created), explained[q], said)
		}
	}
}

// pair judges what was said of an object that is there on both sides.
func (w *world) pair(p string, was, is object, has func(p, what string) bool) {
	w.t.Helper()
	if was.ino != is.ino {
		if !has(p, Modified) {
			w.t.Errorf("%s is another inode, which nobody says", p)
		}
		return
	}
	data := was.data != is.data
	attrs := was.attrs != is.attrs || was.xattrs != is.xattrs
	if data && !has(p, Modified) {
		w.t.Errorf("%s has other bytes, which nobody says", p)
	}
	if attrs && !has(p, Changed) && !has(p, Modified) {
		w.t.Errorf("%s has other attributes, which nobody says: %s %s, %s %s", p, was.attrs, was.xattrs, is.attrs, is.xattrs)
	}
	if !attrs && was.dirs == is.dirs && has(p, Changed) {
		w.t.Errorf("%s is the same, and said to have other attributes", p)
	}
}

// A file with two names, of which the newer is gone, is found by the older one.
func TestComparePathsOfLinks(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range []string{"one", "two"} {
		_, err := w.fs.Mkdir(root, w.root, name, fs.SetAttr{})
		w.ok(err)
	}
	one, _, _, err := w.fs.Lookup(root, w.root, "one")
	w.ok(err)
	two, _, _, err := w.fs.Lookup(root, w.root, "two")
	w.ok(err)
	f, err := w.fs.Create(root, one, "f", fs.SetAttr{}, true, nil)
	w.ok(err)
	_, _, _, err = w.fs.Link(root, f.Handle, two, "g")
	w.ok(err)
	_, _, err = w.fs.Remove(root, two, "g")
	w.ok(err)
	from := w.lsn()
	_, _, err = w.fs.Write(root, f.Handle, []byte("text"), 0)
	w.ok(err)
	var said []string
	_, _, err = w.f.Compare(context.Background(), "home", "/", at(from), at(w.lsn()), func(d Difference) error {
		said = append(said, d.What+" "+string(d.Path))
		return nil
	})
	if w.ok(err); strings.Join(said, ", ") != "modified /one/f" {
		t.Errorf("said %q", said)
	}
}
