package interop

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// TestNFSPast: moments of a share by ".snapshot" in any directory: read-only,
// as they were, told apart from the present, and good over kills.
func TestNFSPast(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	sub := made(t, c.Mkdir(root, "sub", nfs.Mode(0o755)))
	f := file(t, c, sub, "f", "first")
	must(t, c.Symlink(sub, "l", "f", nfs.Sattr{}))
	big := bytes.Repeat([]byte("sediment"), 100_000)
	file(t, c, sub, "big", "")
	write(t, c, found(t, c, sub, "big"), 0, big, nfs.FileSync)
	s.varve("snapshot", "home@dawn")
	wasF, wasSub := attr(t, c, f), attr(t, c, sub)
	lsn := s.lastLSN()

	write(t, c, f, 0, []byte("second, and longer"), nfs.FileSync)
	must(t, c.Setattr(f, nfs.Mode(0o600), nil))
	must(t, c.Remove(sub, "big"))
	must(t, c.Rename(sub, "l", root, "moved"))
	file(t, c, sub, "new", "x")
	s.varve("snapshot", "home@noon")

	check := func(t *testing.T, c nfs.Client, when string) {
		t.Helper()
		for _, moment := range []string{"dawn", fmt.Sprintf("lsn:%d", lsn), "@dawn"} {
			if moment[0] == '@' {
				expect(t, when+": a moment with @", c.Lookup(found(t, c, sub, ".snapshot"), moment), nfs.OK, nfs.ErrNoent)
				continue
			}
			snaps := found(t, c, sub, ".snapshot")
			past := found(t, c, snaps, moment)
			old := found(t, c, past, "f")
			holds(t, c, old, []byte("first"))
			holds(t, c, found(t, c, past, "big"), big)
			if got := must(t, c.Readlink(found(t, c, past, "l"))).Target; got != "f" {
				t.Errorf("%s: link to %q", when, got)
			}
			a := attr(t, c, old)
			if a.Mode != wasF.Mode || a.Size != 5 || a.Mtime != wasF.Mtime || a.Ctime != wasF.Ctime || a.UID != wasF.UID {
				t.Errorf("%s: past attributes %+v, were %+v", when, a, wasF)
			}
			if a.FSID == wasF.FSID && a.FileID == wasF.FileID || old == f {
				t.Errorf("%s: the past of a file cannot be told from its present", when)
			}
			if d := attr(t, c, past); d.Mtime != wasSub.Mtime || d.Mode != wasSub.Mode {
				t.Errorf("%s: past directory %+v, was %+v", when, d, wasSub)
			}
			got := names(t, c, past)
			slices.Sort(got)
			if fmt.Sprint(got) != "[big f l]" {
				t.Errorf("%s: the past has %q", when, got)
			}
			expect(t, when+": what is new", c.Lookup(past, "new"), nfs.ErrNoent)
			readOnly(t, when, c, past, old)
			if up := found(t, c, past, ".."); up == sub {
				t.Errorf("%s: .. leads out of the past into the present", when)
			}
			expect(t, when+": out of the past", c.Rename(past, "f", sub, "stolen"), nfs.ErrRofs, nfs.ErrXdev)
			expect(t, when+": into the past", c.Rename(sub, "new", past, "new"), nfs.ErrRofs, nfs.ErrXdev)
			expect(t, when+": a link out of the past", c.Link(old, sub, "stolen"), nfs.ErrRofs, nfs.ErrXdev)
		}
	}
	check(t, c, "at once")
	testSnapshotDir(t, c, root, sub)
	hold := found(t, c, found(t, c, found(t, c, sub, ".snapshot"), "dawn"), "f")
	s.crash()
	c = s.client(t)
	holds(t, c, hold, []byte("first"))
	check(t, c, "after a kill")
	s.restart()
	c = s.client(t)
	holds(t, c, hold, []byte("first"))
	check(t, c, "after a restart")

	s.varve("destroy", "home@noon", "--yes")
	snaps := found(t, c, root, ".snapshot")
	if got := names(t, c, snaps); fmt.Sprint(got) != "[dawn]" {
		t.Errorf("after destroying a snapshot there are %q", got)
	}
	s.varve("clone", "home@dawn", "fork")
	fork := must(t, c.Mnt("/fork")).FH
	mine := found(t, c, found(t, c, fork, "sub"), "f")
	holds(t, c, mine, []byte("first"))
	write(t, c, mine, 0, []byte("FORK"), nfs.FileSync)
	holds(t, c, f, []byte("second, and longer"))
	if attr(t, c, mine).FSID == attr(t, c, f).FSID {
		t.Error("a clone has its origin's fsid")
	}
	s.finish()
}

// testSnapshotDir: the directory of moments itself.
func testSnapshotDir(t *testing.T, c nfs.Client, root, sub nfs.FH) {
	t.Helper()
	snaps := found(t, c, sub, ".snapshot")
	a := attr(t, c, snaps)
	if a.Type != nfs.Dir || a.Mode != 0o555 || a.FileID == attr(t, c, sub).FileID {
		t.Errorf(".snapshot is %+v", a)
	}
	if found(t, c, snaps, "..") != sub || found(t, c, snaps, ".") != snaps {
		t.Error(".. of .snapshot is not the directory")
	}
	if snaps == found(t, c, root, ".snapshot") {
		t.Error("two directories have one .snapshot")
	}
	for _, plus := range []bool{false, true} {
		var got []string
		for _, e := range (&lister{c: c, dir: snaps, plus: plus, count: 512}).all(t) {
			got = append(got, e.Name)
		}
		slices.Sort(got)
		if fmt.Sprint(got) != "[. .. dawn noon]" {
			t.Errorf(".snapshot holds %q", got)
		}
	}
	for _, bad := range []string{"nothing", "2001-01-01", "lsn:99999999", "100w-ago", "", "dawn/sub"} {
		expect(t, "a moment called "+bad, c.Lookup(snaps, bad), nfs.ErrNoent, nfs.ErrInval, nfs.ErrAcces)
	}
	expect(t, "now", c.Lookup(snaps, "now"), nfs.OK, nfs.ErrNoent)
	expect(t, "making a moment by MKDIR", c.Mkdir(snaps, "x", nfs.Sattr{}), nfs.ErrRofs, nfs.ErrAcces)
	expect(t, "removing a moment by RMDIR", c.Rmdir(snaps, "dawn"), nfs.ErrRofs, nfs.ErrAcces)
	expect(t, "making a file there", c.Create(snaps, "x", nfs.Sattr{}), nfs.ErrRofs, nfs.ErrAcces)
	expect(t, "removing .snapshot", c.Rmdir(sub, ".snapshot"), nfs.ErrRofs, nfs.ErrAcces, nfs.ErrPerm, nfs.ErrInval, nfs.ErrNotempty)
	expect(t, "renaming .snapshot", c.Rename(sub, ".snapshot", sub, "x"), nfs.ErrRofs, nfs.ErrAcces, nfs.ErrPerm, nfs.ErrInval, nfs.ErrXdev)
}

// TestNFSRollback: after a rollback the handles of what is gone are stale, for
// ever; those of what is there again are good; clients can see that all has
// changed.
func TestNFSRollback(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	kept := file(t, c, root, "kept", "before")
	removed := file(t, c, root, "removed", "alive")
	s.varve("snapshot", "home@dawn")
	was := attr(t, c, kept)
	write(t, c, kept, 0, []byte("AFTER!"), nfs.FileSync)
	must(t, c.Remove(root, "removed"))
	gone := map[string]nfs.FH{}
	for i := range 20 {
		name := fmt.Sprintf("gone-%d", i)
		gone[name] = file(t, c, root, name, name)
	}
	dir := made(t, c.Mkdir(root, "gone-dir", nfs.Mode(0o755)))
	inside := file(t, c, dir, "f", "x")
	rolled := time.Now()
	s.varve("rollback", "home@dawn", "--yes", "--force")

	var fresh []nfs.FH
	check := func(when string) {
		t.Helper()
		for name, h := range gone {
			expect(t, when+": "+name, c.Getattr(h), nfs.ErrStale)
			expect(t, when+": reading "+name, c.Read(h, 0, 10), nfs.ErrStale)
			expect(t, when+": writing "+name, c.Write(h, 0, []byte("x"), nfs.FileSync), nfs.ErrStale)
		}
		expect(t, when+": a directory", c.Lookup(dir, "f"), nfs.ErrStale)
		expect(t, when+": making a file in a directory that is gone", c.Create(dir, "g", nfs.Sattr{}), nfs.ErrStale)
		expect(t, when+": a file in it", c.Getattr(inside), nfs.ErrStale)
		holds(t, c, kept, []byte("before"))
		holds(t, c, removed, []byte("alive"))
		for i, h := range fresh {
			holds(t, c, h, []byte(fmt.Sprint("fresh ", i)))
		}
	}
	check("after the rollback")
	for _, h := range []nfs.FH{kept, removed, root} {
		if a := attr(t, c, h); a.Ctime.Std().Before(rolled) {
			t.Errorf("a change time of %v after a rollback at %v or later: clients trust what they cached", a.Ctime.Std(), rolled)
		}
	}
	if a := attr(t, c, kept); a.FileID != was.FileID || a.Mtime != was.Mtime || a.Size != was.Size {
		t.Errorf("after the rollback %+v, was %+v", a, was)
	}
	seen := map[uint64]bool{}
	for i := range 60 { // new objects, more than are gone
		h := file(t, c, root, fmt.Sprint("fresh-", i), fmt.Sprint("fresh ", i))
		for name, old := range gone {
			if old == h {
				t.Fatalf("the handle of %s names a new file", name)
			}
		}
		id := attr(t, c, h).FileID
		if seen[id] {
			t.Errorf("file id %d twice", id)
		}
		seen[id] = true
		fresh = append(fresh, h)
	}
	check("with new files")
	s.crash()
	c = s.client(t)
	check("after a kill")
	s.restart()
	c = s.client(t)
	check("after a restart")
	s.finish()
}

// TestNFSHandles: handles are good for ever, for every type of object, and
// those that are none are refused.
func TestNFSHandles(t *testing.T) {
	s := newShore(t)
	s.varve("share", "create", "other")
	c, root := s.home(t)
	other := must(t, c.Mnt("/other")).FH
	handles := map[string]nfs.FH{"root": root, "file": file(t, c, root, "file", "x"), "dir": made(t, c.Mkdir(root, "dir", nfs.Mode(0o755))),
		"link": made(t, c.Symlink(root, "link", "t", nfs.Sattr{})), "fifo": made(t, c.Mknod(root, "fifo", nfs.Fifo, nfs.Sattr{}, 0, 0)),
		"other": other, "snapshots": found(t, c, root, ".snapshot")}
	attrs := map[string]nfs.Attr{}
	for name, h := range handles {
		attrs[name] = attr(t, c, h)
	}
	check := func(when string) {
		t.Helper()
		c = s.client(t)
		for name, h := range handles {
			r := expect(t, when+": "+name, c.Getattr(h))
			if r.Attr == nil {
				continue
			}
			want := attrs[name]
			// The directory of snapshots seems to change every ten seconds.
			if m := r.Attr.Mtime; name == "snapshots" && m.Sec > want.Mtime.Sec && m.Sec%10 == 0 && m.Nsec == 0 {
				want.Mtime, want.Ctime = m, m
			}
			if *r.Attr != want {
				t.Errorf("%s: %s is %+v, was %+v", when, name, *r.Attr, want)
			}
		}
		for name, h := range map[string]nfs.FH{"file": handles["file"], "dir": handles["dir"], "link": handles["link"]} {
			if found(t, c, root, name) != h {
				t.Errorf("%s: %s has another handle", when, name)
			}
		}
	}
	s.restart()
	check("after a restart")
	s.crash()
	check("after a kill")
	s.varve("rename", "home", "house")
	check("after a rename of the share")
	s.varve("destroy", "other", "--yes")
	expect(t, "of a destroyed share", c.Getattr(other), nfs.ErrStale)
	s.varve("undestroy", "other")
	check("after destroy and undestroy")

	h := []byte(handles["file"])
	refused := []nfs.Status{nfs.ErrBadhandle, nfs.ErrStale}
	for n := range 65 {
		expect(t, fmt.Sprintf("%d zeros", n), c.Getattr(nfs.FH(make([]byte, n))), refused...)
		if n < len(h) {
			expect(t, fmt.Sprintf("the first %d bytes", n), c.Getattr(nfs.FH(h[:n])), refused...)
		}
	}
	for i := range h {
		for _, bit := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(h)
			bad[i] ^= bit
			r := c.Getattr(nfs.FH(bad))
			if r.Err != nil {
				t.Fatalf("a handle with byte %d changed: %v", i, r.Err)
			}
			if r.Status == nfs.OK && r.Attr.FileID == attrs["file"].FileID && r.Attr.FSID == attrs["file"].FSID {
				t.Errorf("a handle with byte %d changed still names the file", i)
			}
		}
	}
	s.finish()
}
