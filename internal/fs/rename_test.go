package fs

import "testing"

func TestRename(t *testing.T) {
	w := newWorld(t)
	a, b := w.mkdir(w.root, "a", 0o755), w.mkdir(w.root, "b", 0o755)
	sub := w.mkdir(a, "sub", 0o755)
	deep := w.mkdir(sub, "deep", 0o755)
	f := w.file(a, "f", "f")
	g := w.file(b, "g", "g")
	full := w.mkdir(b, "full", 0o755)
	w.file(full, "x", "")
	w.mkdir(b, "empty", 0o755)
	rename := func(from Handle, name string, to Handle, toName string, want Code) {
		t.Helper()
		_, _, _, err := w.f.Rename(root, from, name, to, toName)
		w.fails(err, want)
	}
	rename(a, "none", b, "x", CodeNoEnt)
	rename(a, "f", b, "full", CodeIsDir)
	rename(a, "f", b, "empty", CodeIsDir)
	rename(a, "sub", b, "g", CodeNotDir)
	rename(a, "sub", b, "full", CodeNotEmpty)
	rename(w.root, "a", deep, "a", CodeInval)
	rename(w.root, "a", a, "a", CodeInval)
	rename(a, "sub", sub, "x", CodeInval)
	rename(a, ".", b, "x", CodeInval)
	rename(a, "f", b, "..", CodeInval)
	rename(a, "f", f, "x", CodeNotDir)
	rename(f, "f", b, "x", CodeNotDir)
	rename(a, "f", b, SnapshotDir, CodeAccess)

	// Two names of one object: nothing happens.
	_, _, linked, err := w.f.Link(root, f, b, "same")
	w.ok(err)
	_, _, lsn, err := w.f.Rename(root, a, "f", b, "same")
	w.ok(err)
	if lsn != linked || w.lookup(a, "f") != f || w.lookup(b, "same") != f {
		t.Error("a name of the same object was taken away")
	}
	rename(a, "f", a, "f", CodeNone)
	rename(a, "sub", a, "sub", CodeNone)

	rename(a, "f", b, "g", CodeNone)
	if w.lookup(b, "g") != f {
		t.Error("the file is not where it was moved")
	}
	w.missing(a, "f")
	if _, err := w.f.Getattr(root, g); CodeOf(err) != CodeStale {
		t.Errorf("what was replaced: %v", err)
	}
	rename(a, "sub", b, "empty", CodeNone)
	if w.lookup(b, "empty") != sub || w.lookup(sub, "..") != b || w.lookup(sub, "deep") != deep {
		t.Error("the directory is not where it was moved")
	}
	links := func(h Handle, want uint32) {
		t.Helper()
		if n := w.attr(h).Nlink; n != want {
			t.Errorf("%d links, want %d", n, want)
		}
	}
	links(a, 2)
	links(b, 4)
	links(w.root, 4)
	links(f, 2)
	if w.content(f) != "f" {
		t.Error("content")
	}
}

// A directory's way up is looked through within a bound, which is the same for
// what is made and what is moved.
func TestDepth(t *testing.T) {
	w := newWorld(t)
	d := w.root // made of long pieces: so few ways up are long
	const piece = 128
	for range MaxDepth / piece {
		top := w.mkdir(w.root, "piece", 0o755)
		end := top
		for range piece - 1 {
			end = w.mkdir(end, "d", 0o755)
		}
		_, _, _, err := w.f.Rename(root, w.root, "piece", d, "d")
		w.ok(err)
		d = end
	}
	w.mkdir(w.root, "x", 0o755)
	w.file(d, "f", "files may be there")
	_, err := w.f.Mkdir(root, d, "x", SetAttr{})
	w.fails(err, CodeNameTooLong)
	_, _, _, err = w.f.Rename(root, w.root, "x", d, "x")
	w.fails(err, CodeNameTooLong)
	up := w.lookup(d, "..")
	w.mkdir(up, "y", 0o755)
	_, _, _, err = w.f.Rename(root, w.root, "x", up, "x")
	w.ok(err)
	for range 10 {
		_, _, _, err = w.f.Rename(root, w.root, "d", w.root, "e")
		w.ok(err)
		_, _, _, err = w.f.Rename(root, w.root, "e", w.root, "d")
		w.ok(err)
	}
}
