package fs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/when"
)

func mustParse(t testing.TB, s string) when.Spec {
	t.Helper()
	w, err := when.Parse(s, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// allChanges tries every change and returns the error that all have in common.
func allChanges(w *world, c *Call, dir, file Handle) error {
	w.t.Helper()
	set, m := SetAttr{}, uint32(0)
	changes := map[string]func() error{
		"create":  func() error { _, err := w.f.Create(c, dir, "new", set, false, nil); return err },
		"mkdir":   func() error { _, err := w.f.Mkdir(c, dir, "new", set); return err },
		"symlink": func() error { _, err := w.f.Symlink(c, dir, "new", "t", set); return err },
		"mknod":   func() error { _, err := w.f.Mknod(c, dir, "new", inode.ModeFIFO, 0, set); return err },
		"link":    func() error { _, _, _, err := w.f.Link(c, file, dir, "new"); return err },
		"remove":  func() error { _, _, err := w.f.Remove(c, dir, "f"); return err },
		"rmdir":   func() error { _, _, err := w.f.Rmdir(c, dir, "f"); return err },
		"rename":  func() error { _, _, _, err := w.f.Rename(c, dir, "f", dir, "new"); return err },
		"setattr": func() error { _, _, err := w.f.Setattr(c, file, SetAttr{Mode: &m}); return err },
		"write":   func() error { _, _, err := w.f.Write(c, file, []byte("x"), 0); return err },
		"xattr":   func() error { _, err := w.f.SetXattr(c, file, "user.a", nil, XattrSet); return err },
		"rmxattr": func() error { _, err := w.f.RemoveXattr(c, file, "user.a"); return err },
	}
	var common error
	for name, change := range changes {
		err := change()
		if err == nil {
			w.t.Errorf("%s was not refused", name)
		}
		if common != nil && CodeOf(err) != CodeOf(common) {
			w.t.Errorf("%s: %v, others: %v", name, err, common)
		}
		common = err
	}
	return common
}

func TestPastByPath(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	f := w.file(d, "f", "one")
	lsn := w.snapshot("monday")
	w.pass(time.Hour)
	w.write(f, "two", 0)
	_, _, err := w.f.Remove(root, d, "f")
	w.ok(err)
	late := w.mkdir(w.root, "late", 0o755)

	for _, path := range []string{
		"/home@monday/d/f", "/home@lsn:" + fmt.Sprint(lsn) + "/d/f", "/home/.snapshot/monday/d/f", "home/d/.snapshot/monday/f",
		"/home/d/.snapshot/30m-ago/f", "/home@2026-03-01T12:30/d/f", "/home/.snapshot/2026-03-01T12:30/d/f", "/home/d/.snapshot/./monday/f",
	} {
		h, a, err := w.f.Walk(root, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if h != at(f, lsn) || a.Size != 3 || w.content(h) != "one" {
			t.Errorf("%s: %+v %+v", path, h, a)
		}
	}
	for path, want := range map[string]Code{
		"/home/d/f": CodeNoEnt, "/home@tuesday": CodeNoEnt, "/home@lsn:999": CodeNoEnt, "/home@!": CodeInval, "/away": CodeNoEnt, "/": CodeNoEnt,
		"/home/.snapshot/tuesday": CodeNoEnt, "/home/.snapshot/no%20such": CodeNoEnt, "/home/.snapshot/9h-ago": CodeNoEnt,
		"/home/.snapshot/2030-01-01": CodeNoEnt, "/home/late/.snapshot/monday": CodeNoEnt, "/home@monday/.snapshot": CodeNoEnt,
		"/home@monday/d/f/": CodeNotDir, "/home@monday/d/f/x": CodeNotDir, "/home/" + strings.Repeat("n", 256): CodeNameTooLong,
	} {
		if _, _, err := w.f.Walk(root, path); CodeOf(err) != want {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if h, _, err := w.f.Walk(root, "/home/d/../../.././late/.snapshot/.."); err != nil || h != late {
		t.Errorf("dots lead to %+v, %v", h, err)
	}
}

func TestPastIsReadOnly(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o777)
	f := w.file(d, "f", "one")
	_, err := w.f.SetXattr(root, f, "user.a", []byte("v"), XattrSet)
	w.ok(err)
	lsn := w.snapshot("s")
	w.fails(allChanges(w, root, at(d, lsn), at(f, lsn)), CodeReadOnly)
	_, _, _, err = w.f.Rename(root, at(d, lsn), "f", d, "g")
	w.fails(err, CodeXDev)
	_, _, _, err = w.f.Rename(root, d, "f", at(d, lsn), "g")
	w.fails(err, CodeXDev)
	_, _, _, err = w.f.Link(root, at(f, lsn), d, "g")
	w.fails(err, CodeXDev)
	have, a, err := w.f.Access(root, at(f, lsn), 0x3f)
	w.ok(err)
	if have != AccessRead || a.Mode&permMask != 0o644 {
		t.Errorf("access %#x, mode %o", have, a.Mode)
	}
	v, err := w.f.Xattr(root, at(f, lsn), "user.a")
	w.ok(err)
	if string(v) != "v" {
		t.Errorf("xattr of the past %q", v)
	}
	snap := w.lookup(d, SnapshotDir)
	w.fails(allChanges(w, root, snap, snap), CodeReadOnly)
}

// Numbers of the past are others than the present's, and than those of other
// moments; the file system is the same.
func TestFileIDs(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	one := w.snapshot("one")
	w.mkdir(w.root, "e", 0o755)
	two := w.snapshot("two")
	ids := map[uint64]Handle{}
	for _, h := range []Handle{w.root, d, at(w.root, one), at(d, one), at(w.root, two), at(d, two), w.lookup(d, SnapshotDir), w.lookup(w.root, SnapshotDir)} {
		a := w.attr(h)
		if other, ok := ids[a.FileID]; ok {
			t.Errorf("%+v and %+v have the number %d", h, other, a.FileID)
		}
		if ids[a.FileID] = h; a.FSID != w.f.fsid(w.share) {
			t.Errorf("%+v has fsid %x", h, a.FSID)
		}
		if past := h.Moment != 0 || h.SnapDir; past != (a.FileID>>63 == 1) {
			t.Errorf("%+v has number %x", h, a.FileID)
		}
	}
}

func TestSnapshotDir(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o711)
	snap := w.lookup(d, SnapshotDir)
	a := w.attr(snap)
	if a.Mode != inode.ModeDir|0o555 || a.Nlink != 2 {
		t.Errorf("attributes %+v", a)
	}
	if slices.Contains(w.list(d, 5), SnapshotDir) {
		t.Error("it is listed")
	}
	var want []string
	for i := range 250 {
		name := fmt.Sprintf("s%d", i)
		w.snapshot(name)
		want = append(want, name)
	}
	for _, piece := range []int{1, 2, 3, 1000} {
		if got := w.list(snap, piece); !slices.Equal(got, want) {
			t.Errorf("listed in pieces of %d: %d names, %q", piece, len(got), got[:min(4, len(got))])
		}
	}
	// A listing goes on where it was, whatever goes meanwhile.
	ents, _, _, err := w.f.Readdir(root, snap, 0, 100, true, nil)
	w.ok(err)
	if ents[0].Name != "." || ents[0].Handle != snap || ents[0].Attr != w.attr(snap) || ents[1].Name != ".." || ents[1].Handle != d || ents[1].Attr != w.attr(d) {
		t.Errorf("begins with %+v", ents[:2])
	}
	for i := range 150 {
		_, err := w.e.DestroySnapshot(engine.Caller{}, "home", fmt.Sprintf("s%d", i))
		w.ok(err)
	}
	ents, eof, _, err := w.f.Readdir(root, snap, ents[99].Cookie, 1000, false, nil)
	w.ok(err)
	if len(ents) != 100 || ents[0].Name != "s150" || !eof {
		t.Errorf("goes on with %d names, eof %v", len(ents), eof)
	}
	h := w.lookup(snap, "s200")
	if w.lookup(h, ".") != h || w.lookup(snap, "..") != d {
		t.Error("dots")
	}
	stranger := as(7)
	w.chmod(d, 0o700)
	_, _, _, err = w.f.Lookup(stranger, d, SnapshotDir)
	w.fails(err, CodeAccess)
	_, _, err = w.f.Rmdir(root, d, SnapshotDir)
	w.fails(err, CodeAccess)
	_, err = w.f.Mkdir(root, d, SnapshotDir, SetAttr{})
	w.fails(err, CodeAccess)
	if !strings.Contains(err.Error(), "reserved") {
		t.Errorf("says %q", err)
	}
}

// A time that goes with the clock is the same moment for a while.
func TestSteadyMoment(t *testing.T) {
	w := newWorld(t)
	for range 1000 {
		w.file(w.root, fmt.Sprint("f", w.pass(0).UnixNano()), "")
		w.pass(3 * time.Second)
	}
	snap := w.lookup(w.root, SnapshotDir)
	moments := map[uint64]int{}
	for range 600 {
		w.pass(50 * time.Millisecond)
		moments[w.lookup(snap, "10m-ago").Moment]++
	}
	if len(moments) > 2 {
		t.Errorf("10m-ago is %d moments within half a minute", len(moments))
	}
	h := w.lookup(snap, "10m-ago")
	m, err := w.e.Resolve("home", lsnSpec(h.Moment))
	w.ok(err)
	if age := w.pass(0).Sub(m.Time); age < 10*time.Minute || age > 11*time.Minute+4*time.Second {
		t.Errorf("10m-ago is %v ago", age)
	}
}

func TestViewsAreShared(t *testing.T) {
	w := newWorld(t)
	var lsns []uint64
	for i := range 3 * maxIdleViews {
		w.file(w.root, fmt.Sprint(i), "")
		lsns = append(lsns, w.snapshot(fmt.Sprintf("s%d", i)))
	}
	for range 3 {
		for i, lsn := range lsns {
			if n := len(w.list(at(w.root, lsn), 1000)); n != i+1 {
				t.Fatalf("%d names in s%d", n, i)
			}
		}
	}
	w.f.past.mu.Lock()
	n := len(w.f.past.views)
	for _, v := range w.f.past.views {
		if v.users != 0 {
			t.Error("a view is in use")
		}
		v.idle = v.idle.Add(-idleView)
	}
	w.f.past.mu.Unlock()
	if n > maxIdleViews || n == 0 {
		t.Errorf("%d moments are open", n)
	}
	w.f.past.sweep()
	if n := len(w.f.past.views); n != 0 {
		t.Errorf("%d moments stay open that nobody uses", n)
	}
	// A handle of a moment that never was.
	_, err := w.f.Getattr(root, at(w.root, 1<<50))
	w.fails(err, CodeStale)
	if !fail.Is(err, fail.Stale) {
		t.Errorf("%v", err)
	}
}

// The past of a clone begins where it was made: its origin's is not for all who
// may use the clone.
func TestPastOfClone(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	f := w.file(d, "f", "secret")
	old := w.snapshot("monday")
	w.write(f, "public", 0)
	w.pass(time.Hour)
	_, err := w.e.Clone(engine.Caller{}, "home", when.Spec{Kind: when.Now}, "copy")
	w.ok(err)
	s, err := w.f.Share("copy")
	w.ok(err)
	made, err := w.e.Dataset("copy")
	w.ok(err)
	own := func(h Handle) Handle { h.Dataset = s.ID; return h }
	w.pass(time.Hour)
	done, err := w.e.Snapshot(engine.Caller{}, "copy", "tuesday")
	w.ok(err)
	w.write(own(f), "latest", 0)

	for _, path := range []string{"/copy@lsn:%d/d/f", "/copy/.snapshot/lsn:%d/d/f", "/copy/d/.snapshot/lsn:%d/f"} {
		for lsn, want := range map[uint64]Code{old: CodeNoEnt, made.CreatedLSN - 1: CodeNoEnt, made.CreatedLSN: CodeNone, done.LSN: CodeNone} {
			h, _, err := w.f.Walk(root, fmt.Sprintf(path, lsn))
			if CodeOf(err) != want {
				t.Errorf(path+": %v, want %v", lsn, err, want)
			}
			if err == nil && w.content(h) != "public" {
				t.Errorf(path+": %q", lsn, w.content(h))
			}
		}
	}
	for _, path := range []string{"/copy@90m-ago", "/copy/.snapshot/90m-ago", "/copy/.snapshot/monday", "/copy@monday"} {
		if _, _, err := w.f.Walk(root, path); CodeOf(err) != CodeNoEnt {
			t.Errorf("%s: %v", path, err)
		}
	}
	_, err = w.f.Getattr(root, at(own(f), old)) // such a handle can be made up
	w.fails(err, CodeStale)
	_, _, _, err = w.f.Read(root, at(own(f), old), make([]byte, 9), 0)
	w.fails(err, CodeStale)
	snap := w.lookup(own(d), SnapshotDir)
	if got := w.list(snap, 10); !slices.Equal(got, []string{"tuesday"}) {
		t.Errorf("the clone lists %q", got)
	}
	for _, name := range w.list(snap, 10) {
		w.lookup(snap, name)
	}
	if h, _, err := w.f.Walk(root, "/home@monday/d/f"); err != nil || w.content(h) != "secret" {
		t.Errorf("the origin's past: %v", err)
	}
}

// A moment is not taken from another share that has the name by now.
func TestMomentOfAnother(t *testing.T) {
	w := newWorld(t)
	w.file(w.root, "f", "")
	w.snapshot("s")
	name := "home" // as somebody read it
	_, err := w.f.moment(w.share, name, mustParse(t, "s"))
	w.ok(err)
	_, err = w.e.Rename(engine.Caller{}, "home", "away")
	w.ok(err)
	_, err = w.f.moment(w.share, name, mustParse(t, "s"))
	w.fails(err, CodeNoEnt)
	_, err = w.e.CreateShare(engine.Caller{}, "home", 0o755, 0, 0)
	w.ok(err)
	w.snapshot("s")
	_, err = w.f.moment(w.share, name, mustParse(t, "s"))
	w.fails(err, CodeStale)
	w.lookup(w.lookup(w.root, SnapshotDir), "s") // by the name that it has
}
