package files

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/when"
)

func quiet(Progress) {}

// same reports how two trees differ, by what can be copied: inode numbers
// cannot, but which names are of one file can.
func same(a, b map[string]object, from, to string) string {
	rel := func(m map[string]object, top string) map[string]string {
		out := make(map[string]string)
		first := make(map[uint64]string) // name of each inode
		for _, p := range slices.Sorted(maps.Keys(m)) {
			o, r := m[p], strings.TrimPrefix(p, top)
			if first[o.ino] == "" {
				first[o.ino] = r
			}
			out[r] = fmt.Sprintf("%s %s %s %s %x as %q", o.typ, o.attrs, o.dirs, o.xattrs, o.data, first[o.ino])
		}
		return out
	}
	x, y := rel(a, from), rel(b, to)
	for p := range x {
		if x[p] != y[p] {
			return fmt.Sprintf("%q: %.300s != %.300s", p, x[p], y[p])
		}
	}
	for p := range y {
		if x[p] == "" {
			return fmt.Sprintf("%q is too much", p)
		}
	}
	return ""
}

// After a path was restored it is what it was; nothing else changed but the
// times of the directory that it is in, and the guard has what there was.
func TestRestore(t *testing.T) {
	restored, ctx := 0, context.Background()
	for seed := range uint64(15) {
		w := newWorld(t, seed)
		for range 150 {
			w.step()
		}
		past := w.lsn()
		for range w.rnd.IntN(60) {
			w.step()
		}
		if seed%5 == 0 { // the ctimes to show are all the same then
			_, err := w.e.Rollback(engine.Caller{}, "home", at(w.lsn()-1), false)
			w.ok(err)
		}
		was, before := w.tree("home", "/", past), w.tree("home", "/", w.lsn())
		paths := slices.Sorted(maps.Keys(was))
		p := paths[w.rnd.IntN(len(paths))]
		if p == "/" {
			continue
		}
		out, err := w.f.Restore(ctx, engine.Caller{Proto: "api", Addr: "me"}, "home", p, at(past), quiet)
		if _, there := before[path.Dir(p)]; !there || before[path.Dir(p)].typ != "dir" {
			if !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.Invalid) {
				t.Errorf("seed %d: restoring %s without its directory: %v", seed, p, err)
			}
			continue
		}
		w.ok(err)
		restored++
		is := w.tree("home", "/", w.lsn())
		if d := same(below(was, p), below(is, p), p, p); d != "" {
			t.Errorf("seed %d: restored %s at lsn %d: %s", seed, p, past, d)
		}
		for q, o := range before {
			if q == p || strings.HasPrefix(q, p+"/") {
				continue
			}
			if n := is[q]; n.ino != o.ino || n.data != o.data || n.xattrs != o.xattrs || n.typ != o.typ {
				t.Errorf("seed %d: restoring %s changed %s", seed, p, q)
			}
		}
		m, err := w.e.Resolve("home", when.Spec{Kind: when.Snapshot, Name: out.Guard})
		w.ok(err)
		if d := same(before, w.tree("home", "/", m.LSN), "", ""); d != "" {
			t.Errorf("seed %d: the guard %s: %s", seed, out.Guard, d)
		}
	}
	if restored < 6 {
		t.Errorf("only %d restored", restored)
	}
}

func below(m map[string]object, p string) map[string]object {
	out := make(map[string]object)
	for q, o := range m {
		if q == p || strings.HasPrefix(q, p+"/") {
			out[q] = o
		}
	}
	return out
}

// What is the same is not written again.
func TestRestoreTouchesOnlyWhatDiffers(t *testing.T) {
	w := newWorld(t, 3)
	for range 200 {
		w.step()
	}
	past := w.lsn()
	var dir string
	for p, o := range w.tree("home", "/", past) {
		if o.typ == "dir" && p != "/" {
			dir = p
		}
	}
	before := w.lsn()
	out, err := w.f.Restore(context.Background(), engine.Caller{}, "home", dir, at(past), quiet)
	if w.ok(err); out.Files != 0 || out.Removed != 0 || out.Bytes != 0 || w.lsn() != before+1 {
		t.Errorf("restoring %s to the present: %+v, %d operations", dir, out, w.lsn()-before)
	}
}

// A copy is equal to what was copied, whatever happens to that meanwhile.
func TestCopy(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(4) {
		w := newWorld(t, seed+100)
		for range 200 {
			w.step()
		}
		past := w.lsn()
		was := w.tree("home", "/", past)
		for range 50 {
			w.step()
		}
		spec := at(past)
		from := Place{Share: "home", When: &spec, Path: "/"}
		for range 2 { // the second time over the first
			out, err := w.f.Copy(ctx, engine.Caller{}, from, "other", "/copy", true, quiet)
			w.ok(err)
			if d := same(was, w.tree("other", string(out.Path), w.lsn()), "/", string(out.Path)+"/"); d != "" && !strings.HasPrefix(d, `""`) && !strings.HasPrefix(d, `"/copy"`) {
				t.Errorf("seed %d: %s", seed, d)
			}
		}
		into, err := w.f.Copy(ctx, engine.Caller{}, Place{Share: "home", Path: "/"}, "home", "/into", false, quiet)
		if w.ok(err); into.Moment != nil {
			t.Errorf("the present has the moment %+v", into.Moment)
		}
		if _, err := w.f.Copy(ctx, engine.Caller{}, Place{Share: "home", Path: "/"}, "home", "/into", false, quiet); err != nil && !fail.Is(err, fail.Exists) {
			t.Error(err)
		}
	}
}

// What is nested too deeply is refused: it would take all memory.
func TestNestedTooDeeply(t *testing.T) {
	w := newWorld(t, 1)
	d := w.root
	for range 5 {
		made, err := w.fs.Mkdir(root, d, "d", fs.SetAttr{})
		w.ok(err)
		d = made.Handle
	}
	src, view, err := w.f.view(context.Background(), "home", at(w.lsn()))
	w.ok(err)
	defer src.close()
	ino, i, err := src.find("/d")
	w.ok(err)
	for _, deep := range []int{0, fs.MaxDepth - 5, fs.MaxDepth - 4} {
		name := fmt.Sprint("copy", deep)
		k, err := w.f.copier(context.Background(), engine.Caller{}, src, view, "home", quiet)
		w.ok(err)
		k.depth = deep
		refused := func(err error) bool {
			if k.depth != deep {
				t.Errorf("a visit of %d directories ended at depth %d", deep, k.depth)
			}
			return fail.Is(err, fail.TooBig)
		}
		want := deep > fs.MaxDepth-5
		_, err = k.make(w.root, name, ino, i)
		if refused(err) != want || !want && err != nil {
			t.Errorf("copy below %d: %v", deep, err)
		}
		if !want {
			w.ok(k.put(place{handle: w.root, path: "/"}, name, ino, i, true))
			w.ok(k.restore(w.root, "d", ino, i))
		}
		there, _, err := k.lookup(w.root, "d")
		w.ok(err)
		if want && !refused(k.restore(w.root, "d", ino, i)) {
			t.Errorf("restore below %d is not refused", deep)
		}
		if want && !refused(k.remove(w.root, "d", there)) {
			t.Errorf("removal below %d is not refused", deep)
		}
	}
}
