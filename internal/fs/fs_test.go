package fs

import (
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
)

func TestFiles(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	a := w.file(d, "a", "hello")
	if got := w.content(a); got != "hello" {
		t.Errorf("content %q", got)
	}
	w.write(a, "world", 10000)
	if got, want := w.content(a), "hello"+strings.Repeat("\x00", 9995)+"world"; got != want {
		t.Errorf("content of %d bytes, want %d", len(got), len(want))
	}
	st := w.attr(a)
	if st.Mode != inode.ModeFile|0o644 || st.Nlink != 1 || st.Size != 10005 || st.Used != 2*4096 || st.FileID != a.Ino {
		t.Errorf("attributes %+v", st)
	}
	size := uint64(3)
	_, _, err := w.f.Setattr(root, a, SetAttr{Size: &size})
	w.ok(err)
	size = 8
	_, _, err = w.f.Setattr(root, a, SetAttr{Size: &size})
	w.ok(err)
	if got := w.content(a); got != "hel\x00\x00\x00\x00\x00" {
		t.Errorf("truncated and grown: %q", got)
	}
	if names := w.list(w.root, 10); !slices.Equal(names, []string{"d"}) {
		t.Errorf("root lists %q", names)
	}
	h, _, err := w.f.Walk(root, "//home/d//a")
	w.ok(err)
	if h != a {
		t.Errorf("walked to %+v, not %+v", h, a)
	}
}

// The attributes before and after an operation are those of the moments right
// before and after it, and are there where it was refused.
func TestWcc(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "12345")
	before := w.attr(w.root)
	check := func(what string, got Wcc, before Attr, after Attr) {
		t.Helper()
		want := Wcc{Before: Pre{before.Size, before.Mtime, before.Ctime, true}, After: after, AfterOK: true}
		if got != want {
			t.Errorf("%s: %+v\nwant %+v", what, got, want)
		}
	}
	made, err := w.f.Create(root, w.root, "g", mode(0o600), true, nil)
	w.ok(err)
	after := w.attr(w.root)
	check("create", made.Dir, before, after)
	if after.Ctime <= before.Ctime || after.Mtime <= before.Mtime {
		t.Error("a new name does not change its directory's times")
	}
	if made.Attr != w.attr(made.Handle) || made.Handle != w.lookup(w.root, "g") {
		t.Errorf("made %+v", made)
	}
	made, err = w.f.Create(root, w.root, "g", mode(0o600), true, nil)
	w.fails(err, CodeExist)
	check("refused create", made.Dir, after, after)

	before = w.attr(f)
	wcc, _, err := w.f.Write(root, f, []byte("abc"), 100)
	w.ok(err)
	check("write", wcc, before, w.attr(f))
	before = w.attr(f)
	wcc, _, err = w.f.Write(as(5), f, []byte("abc"), 100)
	w.fails(err, CodeAccess)
	check("refused write", wcc, before, before)
	wcc, _, err = w.f.Write(root, f, make([]byte, engine.MaxWrite), 100) // two operations
	w.ok(err)
	if wcc.Before.OK || !wcc.AfterOK || wcc.After != w.attr(f) {
		t.Errorf("write in two: %+v", wcc)
	}
	before = w.attr(f)
	size := uint64(1)
	wcc, _, err = w.f.Setattr(root, f, SetAttr{Size: &size})
	w.ok(err)
	check("setattr", wcc, before, w.attr(f))

	d := w.mkdir(w.root, "d", 0o755)
	fromBefore, toBefore := w.attr(w.root), w.attr(d)
	from, to, _, err := w.f.Rename(root, w.root, "f", d, "f")
	w.ok(err)
	check("rename, from", from, fromBefore, w.attr(w.root))
	check("rename, to", to, toBefore, w.attr(d))
	from, to, _, err = w.f.Rename(root, w.root, "none", d, "f")
	w.fails(err, CodeNoEnt)
	check("refused rename, from", from, w.attr(w.root), w.attr(w.root))
	check("refused rename, to", to, w.attr(d), w.attr(d))
	before = w.attr(d)
	rm, _, err := w.f.Remove(root, d, "f")
	w.ok(err)
	check("remove", rm, before, w.attr(d))
}

// An exclusive create may be sent again, an unchecked one finds what is there.
func TestCreateModes(t *testing.T) {
	w := newWorld(t)
	v, other, zero := uint64(77), uint64(78), uint64(0)
	made, err := w.f.Create(root, w.root, "x", SetAttr{}, true, &v)
	w.ok(err)
	if made.Attr.Mode != inode.ModeFile|0o600 {
		t.Errorf("an exclusive create gives mode %o", made.Attr.Mode)
	}
	again, err := w.f.Create(root, w.root, "x", SetAttr{}, false, &v)
	w.ok(err)
	if again.Handle != made.Handle || again.LSN != made.LSN || !again.Dir.AfterOK {
		t.Errorf("sent again: %+v", again)
	}
	for _, exclusive := range []bool{true, false} {
		_, err = w.f.Create(root, w.root, "x", SetAttr{}, exclusive, &other)
		w.fails(err, CodeExist)
		_, err = w.f.Create(root, w.root, "x", SetAttr{}, exclusive, &v)
		w.ok(err)
	}
	w.file(w.root, "plain", "")
	_, err = w.f.Create(root, w.root, "plain", SetAttr{}, false, &zero)
	w.fails(err, CodeExist)

	f := w.file(w.root, "f", "12345")
	_, last, err := w.f.Setattr(root, f, mode(0o640))
	w.ok(err)
	got, err := w.f.Create(root, w.root, "f", mode(0o777), false, nil)
	w.ok(err)
	if got.Handle != f || got.Attr.Mode&permMask != 0o640 || got.Attr.Size != 5 || got.LSN != last {
		t.Errorf("unchecked: %+v", got)
	}
	size := uint64(2)
	set := mode(0o777)
	set.Size = &size
	got, err = w.f.Create(root, w.root, "f", set, false, nil)
	w.ok(err)
	if got.Handle != f || got.Attr.Size != 2 || got.Attr.Mode&permMask != 0o640 || got.LSN == 0 || w.content(f) != "12" {
		t.Errorf("unchecked with a size: %+v", got)
	}
	_, err = w.f.Create(as(9), w.root, "f", set, false, nil)
	w.fails(err, CodeAccess)
	w.mkdir(w.root, "d", 0o755)
	_, err = w.f.Create(root, w.root, "d", set, false, nil)
	w.fails(err, CodeExist)
	size = 1 << 20
	got, err = w.f.Create(root, w.root, "sized", set, false, nil)
	w.ok(err)
	if got.Attr.Size != 1<<20 || got.Attr.Used != 0 {
		t.Errorf("made with a size: %+v", got.Attr)
	}
}

// Handles name the same objects after the server was ended, and after a crash;
// of objects that are gone they are stale.
func TestHandlesLast(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	f := w.file(d, "f", "one")
	past := w.snapshot("s")
	w.write(f, "two", 0)
	old := w.lookup(w.lookup(w.lookup(d, SnapshotDir), "s"), "f")
	if old != at(f, past) {
		t.Fatalf("the past's handle is %+v", old)
	}
	bytes := [][HandleSize]byte{w.f.Encode(d), w.f.Encode(f), w.f.Encode(old)}
	_, _, _, err := w.f.Rename(root, d, "f", w.root, "g")
	w.ok(err)
	for _, again := range []func(){w.reopen, func() { w.ok(w.f.Flush(w.root)); w.crash() }} {
		again()
		var got []Handle
		for _, b := range bytes {
			h, err := w.f.Decode(b[:])
			w.ok(err)
			got = append(got, h)
		}
		if !slices.Equal(got, []Handle{d, f, old}) {
			t.Errorf("decoded %+v", got)
		}
		if w.content(f) != "two" || w.content(old) != "one" || w.lookup(w.root, "g") != f {
			t.Error("a handle leads elsewhere")
		}
	}
	_, _, err = w.f.Remove(root, w.root, "g")
	w.ok(err)
	_, err = w.f.Getattr(root, f)
	w.fails(err, CodeStale)
	_, _, err = w.f.Write(root, f, []byte("x"), 0)
	w.fails(err, CodeStale)
	if w.content(old) != "one" {
		t.Error("the past went with the present")
	}
}

// A rollback brings handles of the moment back, makes those of later objects
// stale for good, and shows ctimes not older than itself.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "one")
	kept := w.file(w.root, "kept", "same")
	keptBefore := w.attr(kept)
	w.snapshot("s")
	w.write(f, "two", 0)
	later := w.file(w.root, "later", "x")
	_, _, err := w.f.Remove(root, w.root, "kept")
	w.ok(err)
	done, err := w.e.Rollback(engine.Caller{}, "home", mustParse(t, "s"), false)
	w.ok(err)
	if w.content(f) != "one" || w.content(kept) != "same" {
		t.Error("the rollback did not bring back what was")
	}
	_, err = w.f.Getattr(root, later)
	w.fails(err, CodeStale)
	a := w.attr(kept)
	if a.Ctime < done.Time.UnixNano() || a.Mtime != keptBefore.Mtime {
		t.Errorf("after the rollback ctime %d, mtime %d; it was at %d", a.Ctime, a.Mtime, done.Time.UnixNano())
	}
	guard := keptBefore.Ctime
	_, _, err = w.f.Setattr(root, kept, SetAttr{Mode: new(uint32), Guard: &guard})
	w.fails(err, CodeNotSync)
	_, _, err = w.f.Setattr(root, kept, SetAttr{Mode: new(uint32), Guard: &a.Ctime})
	w.ok(err)
	for range 20 { // numbers are not given twice
		if h := w.file(w.root, "n", ""); h.Ino == later.Ino {
			t.Fatal("a number of an object that a rollback removed is used again")
		}
		_, _, err := w.f.Remove(root, w.root, "n")
		w.ok(err)
	}
	_, err = w.f.Getattr(root, later)
	w.fails(err, CodeStale)
}

// A share that was destroyed has stale handles; one that comes back has not.
func TestDestroyedShare(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "one")
	_, err := w.e.Destroy(engine.Caller{}, "home", false)
	w.ok(err)
	_, err = w.f.Getattr(root, f)
	w.fails(err, CodeStale)
	_, err = w.f.Mkdir(root, w.root, "d", SetAttr{})
	w.fails(err, CodeStale)
	_, err = w.f.ShareOf(f)
	w.fails(err, CodeStale)
	if got := w.f.Shares(); len(got) != 0 {
		t.Errorf("shares: %+v", got)
	}
	_, err = w.e.Undestroy(engine.Caller{}, "home", "house")
	w.ok(err)
	if w.content(f) != "one" {
		t.Error("the share came back with something else")
	}
	s, err := w.f.ShareOf(f)
	w.ok(err)
	if s.Name != "house" || s.ID != w.share {
		t.Errorf("share %+v", s)
	}
}

func TestShareOf(t *testing.T) {
	w := newWorld(t)
	s, err := w.f.ShareOf(w.root)
	w.ok(err)
	if s.Name != "home" || len(s.Properties) != 0 {
		t.Errorf("share %+v", s)
	}
	_, err = w.e.Set(engine.Caller{}, "home", "access", "ro")
	w.ok(err)
	_, err = w.e.Rename(engine.Caller{}, "home", "away")
	w.ok(err)
	s, err = w.f.ShareOf(w.root)
	w.ok(err)
	if s.Name != "away" || s.Properties["access"] != "ro" {
		t.Errorf("share %+v", s)
	}
	_, err = w.e.CreateVolume(engine.Caller{}, "disk", 1<<20)
	w.ok(err)
	v, err := w.e.Dataset("disk")
	w.ok(err)
	_, err = w.f.Getattr(root, Handle{Dataset: v.ID, Ino: 2})
	w.fails(err, CodeStale)
	_, err = w.f.Share("disk")
	w.fails(err, CodeInval)
	_, err = w.f.Share("none")
	w.fails(err, CodeNoEnt)
	if got := w.f.Shares(); len(got) != 1 || got[0].Name != "away" {
		t.Errorf("shares: %+v", got)
	}
}

// What a call says about itself is in the log, and what it may not change
// because its export is read-only, it does not change.
func TestCall(t *testing.T) {
	w := newWorld(t)
	c := as(1000)
	c.Req = &oplog.Request{XID: 7, Sum: 9}
	made, err := w.f.Create(c, w.root, "f", mode(0o644), true, nil)
	w.ok(err)
	w.ok(w.f.Commit(made.LSN, w.root))
	found := 0
	w.ok(w.e.Recent(1<<40, func(op *oplog.Op) {
		if found++; op.LSN != made.LSN || op.Request.XID != 7 || op.Request.Sum != 9 || op.UID != 1000 || op.Client == nil || op.Client.Name != "test uid 1000" {
			t.Errorf("logged %+v", op)
		}
	}))
	if found != 1 {
		t.Errorf("%d operations that may be repeated", found)
	}
	ro := as(0)
	ro.ReadOnly = true
	w.fails(allChanges(w, ro, w.root, made.Handle), CodeReadOnly)
	have, _, err := w.f.Access(ro, made.Handle, 0x3f)
	w.ok(err)
	if have != AccessRead {
		t.Errorf("access %#x", have)
	}
	if !fail.Is(ErrReadOnly, fail.ReadOnly) {
		t.Error("kind")
	}
}

// Who is told that nothing had to change can rely on what others made: the LSN
// to commit is that of the share's last operation.
func TestNothingToDo(t *testing.T) {
	w := newWorld(t)
	made, err := w.f.Create(root, w.root, "f", mode(0o600), false, nil)
	w.ok(err)
	if again, err := w.f.Create(root, w.root, "f", mode(0o600), false, nil); err != nil || again.LSN != made.LSN || again.Handle != made.Handle {
		t.Errorf("create: %+v, %v, want LSN %d", again, err, made.LSN)
	}
	verifier := uint64(7)
	made, err = w.f.Create(root, w.root, "g", SetAttr{}, true, &verifier)
	w.ok(err)
	if again, err := w.f.Create(root, w.root, "g", SetAttr{}, true, &verifier); err != nil || again.LSN != made.LSN || again.Handle != made.Handle {
		t.Errorf("exclusive create: %+v, %v, want LSN %d", again, err, made.LSN)
	}
	_, _, linked, err := w.f.Link(root, made.Handle, w.root, "h")
	w.ok(err)
	_, _, lsn, err := w.f.Rename(root, w.root, "g", w.root, "h")
	w.ok(err)
	if lsn != linked {
		t.Errorf("rename: LSN %d, want %d", lsn, linked)
	}
	w.ok(w.f.Commit(lsn, w.root))
	w.crash()
	w.lookup(w.root, "f")
	if w.lookup(w.root, "h") != w.lookup(w.root, "g") {
		t.Error("a name is lost")
	}
}
