package interop

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// TestNFSObjects makes, names, changes and removes objects of all types, over
// the wire: what each procedure does, and each way in which it refuses.
func TestNFSObjects(t *testing.T) {
	s := newShore(t)
	s.varve("share", "create", "other")
	c, root := s.home(t)
	for _, part := range []struct {
		name string
		test func(t *testing.T, c nfs.Client, dir nfs.FH)
	}{
		{"GETATTR", testGetattr}, {"SETATTR", testSetattr}, {"SETATTR owner", testChown}, {"SETATTR size", testTruncate},
		{"LOOKUP", testLookup}, {"READLINK", testReadlink}, {"CREATE", testCreate}, {"MKDIR", testMkdir}, {"MKNOD", testMknod},
		{"REMOVE", testRemove}, {"RMDIR", testRmdir}, {"RENAME", testRename}, {"RENAME of directories", testRenameDirs},
		{"LINK", testLink}, {"names", testNames}, {"FSINFO and PATHCONF", testLimits},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.test(t, c, made(t, c.Mkdir(root, strings.ReplaceAll(part.name, " ", "-"), nfs.Mode(0o777))))
		})
	}
	t.Run("across shares", func(t *testing.T) {
		other := must(t, c.Mnt("/other")).FH
		f := file(t, c, root, "f", "1")
		expect(t, "RENAME into another share", c.Rename(root, "f", other, "f"), nfs.ErrXdev)
		expect(t, "LINK into another share", c.Link(f, other, "f"), nfs.ErrXdev)
		if attr(t, c, root).FSID == attr(t, c, other).FSID {
			t.Error("two shares have one fsid")
		}
	})
	s.finish()
}

func testGetattr(t *testing.T, c nfs.Client, dir nfs.FH) {
	began := time.Now().Add(-time.Second)
	h := file(t, c.As(12, 34), dir, "f", "hello")
	a := attr(t, c, h)
	if a.Type != nfs.Reg || a.Mode != 0o644 || a.Nlink != 1 || a.UID != 12 || a.GID != 34 || a.Size != 5 {
		t.Errorf("%+v", a)
	}
	for _, at := range []nfs.Time{a.Atime, a.Mtime, a.Ctime} {
		if at.Std().Before(began) || at.Std().After(time.Now().Add(time.Second)) {
			t.Errorf("a time of %v", at.Std())
		}
	}
	d := attr(t, c, dir)
	if d.Type != nfs.Dir || d.Nlink != 2 || d.FSID != a.FSID || d.FileID == a.FileID {
		t.Errorf("directory %+v, file %+v", d, a)
	}
	must(t, c.Remove(dir, "f"))
	expect(t, "of a removed file", c.Getattr(h), nfs.ErrStale)
}

func testSetattr(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := file(t, c.As(1000, 1000), dir, "f", "x")
	owner, other := c.As(1000, 1000), c.As(2000, 2000)
	was := attr(t, c, h)
	r := must(t, owner.Setattr(h, nfs.Mode(0o4751), nil))
	wccRight(t, "chmod", c, h, was, r.Wcc)
	if a := attr(t, c, h); a.Mode != 0o4751 || !was.Ctime.Before(a.Ctime) || a.Mtime != was.Mtime {
		t.Errorf("after chmod: %+v, was %+v", a, was)
	}
	expect(t, "chmod by another", other.Setattr(h, nfs.Mode(0o777), nil), nfs.ErrPerm, nfs.ErrAcces)

	at := nfs.Time{Sec: 1_000_000_007, Nsec: 123_456_789}
	must(t, owner.Setattr(h, nfs.Sattr{AtimeHow: nfs.ClientTime, AtimeWant: at, MtimeHow: nfs.ClientTime, MtimeWant: nfs.Time{Sec: 1, Nsec: 1}}, nil))
	if a := attr(t, c, h); a.Atime != at || a.Mtime != (nfs.Time{Sec: 1, Nsec: 1}) {
		t.Errorf("times %v and %v", a.Atime, a.Mtime)
	}
	must(t, owner.Setattr(h, nfs.Sattr{MtimeHow: nfs.ServerTime}, nil))
	if a := attr(t, c, h); a.Atime != at || time.Since(a.Mtime.Std()).Abs() > 10*time.Second {
		t.Errorf("server's time: %+v", a)
	}
	expect(t, "times by another", other.Setattr(h, nfs.Mtime(at), nil), nfs.ErrPerm, nfs.ErrAcces)
	expect(t, "server's time by one who may not write", other.Setattr(h, nfs.Sattr{MtimeHow: nfs.ServerTime}, nil), nfs.ErrAcces, nfs.ErrPerm)
	must(t, owner.Setattr(h, nfs.Mode(0o666), nil))
	expect(t, "server's time by one who may write", other.Setattr(h, nfs.Sattr{AtimeHow: nfs.ServerTime, MtimeHow: nfs.ServerTime}, nil))

	was = attr(t, c, h)
	guard := nfs.Time{Sec: was.Ctime.Sec - 1, Nsec: was.Ctime.Nsec}
	r = expect(t, "a guard that does not hold", owner.Setattr(h, nfs.Mode(0), &guard), nfs.ErrNotSync)
	wccRight(t, "NOT_SYNC", c, h, was, r.Wcc)
	if attr(t, c, h) != was {
		t.Error("changed in spite of the guard")
	}
	must(t, owner.Setattr(h, nfs.Mode(0o600), &was.Ctime))
	must(t, c.Remove(dir, "f"))
	expect(t, "of a removed file", owner.Setattr(h, nfs.Mode(0o600), nil), nfs.ErrStale)
}

func testChown(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := made(t, c.As(1000, 1000).Create(dir, "f", nfs.Mode(0o6755)))
	owner := c.As(1000, 1000, 1001)
	expect(t, "giving away", owner.Setattr(h, nfs.Owner(2000, 1000), nil), nfs.ErrPerm)
	gid := uint32(1001)
	expect(t, "a group of one's own", owner.Setattr(h, nfs.Sattr{GID: &gid}, nil))
	if a := attr(t, c, h); a.GID != 1001 || a.Mode&0o6000 != 0 {
		t.Errorf("after chgrp: group %d, mode %o; the set-id bits go", a.GID, a.Mode)
	}
	gid = 1002
	expect(t, "a group of others", owner.Setattr(h, nfs.Sattr{GID: &gid}, nil), nfs.ErrPerm)
	expect(t, "the superuser", c.Setattr(h, nfs.Owner(2000, 4_000_000_000), nil))
	if a := attr(t, c, h); a.UID != 2000 || a.GID != 4_000_000_000 {
		t.Errorf("owner %d:%d", a.UID, a.GID)
	}
}

func testTruncate(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := file(t, c, dir, "f", "")
	data := []byte(strings.Repeat("0123456789", 2000))
	write(t, c, h, 0, data, nfs.FileSync)
	must(t, c.Setattr(h, nfs.Size(5001), nil))
	holds(t, c, h, data[:5001])
	must(t, c.Setattr(h, nfs.Size(20_000), nil))
	holds(t, c, h, append(data[:5001:5001], make([]byte, 20_000-5001)...))
	must(t, c.Setattr(h, nfs.Size(0), nil))
	must(t, c.Setattr(h, nfs.Size(1<<40), nil))
	if a := attr(t, c, h); a.Size != 1<<40 || a.Used > 64<<10 {
		t.Errorf("size %d, used %d of a hole", a.Size, a.Used)
	}
	if r := must(t, c.Read(h, 1<<40-10, 100)); string(r.Data) != string(make([]byte, 10)) || !r.EOF {
		t.Errorf("%d bytes at the end, eof %v", len(r.Data), r.EOF)
	}
	for _, size := range []uint64{1 << 63, 1<<64 - 1} {
		expect(t, fmt.Sprintf("a size of %d", size), c.Setattr(h, nfs.Size(size), nil), nfs.ErrFbig, nfs.ErrInval)
	}
	expect(t, "the size of a directory", c.Setattr(dir, nfs.Size(0), nil), nfs.ErrIsdir, nfs.ErrInval)
	must(t, c.Setattr(h, nfs.Mode(0o644), nil))
	expect(t, "by one who may not write", c.As(1, 1).Setattr(h, nfs.Size(0), nil), nfs.ErrAcces)
}

func testLookup(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := file(t, c, dir, "f", "x")
	r := must(t, c.Lookup(dir, "f"))
	if r.FH != h || r.Attr == nil || *r.Attr != attr(t, c, h) || r.Dir == nil || *r.Dir != attr(t, c, dir) {
		t.Errorf("%+v", r)
	}
	if found(t, c, dir, ".") != dir {
		t.Error(". is not the directory")
	}
	sub := made(t, c.Mkdir(dir, "sub", nfs.Mode(0o755)))
	if found(t, c, sub, "..") != dir {
		t.Error(".. is not the parent")
	}
	root := must(t, c.Mnt("/home")).FH
	if found(t, c, root, "..") != root {
		t.Error(".. of the root leads out of the share")
	}
	if r := expect(t, "no such name", c.Lookup(dir, "nothing"), nfs.ErrNoent); r.Dir == nil {
		t.Error("NOENT without the directory's attributes")
	}
	expect(t, "in a file", c.Lookup(h, "f"), nfs.ErrNotdir)
	must(t, c.Setattr(sub, nfs.Mode(0o600), nil))
	expect(t, "in a closed directory", c.As(1, 1).Lookup(sub, "f"), nfs.ErrAcces)
	must(t, c.Rmdir(dir, "sub"))
	expect(t, "in a removed directory", c.Lookup(sub, "f"), nfs.ErrStale)
}

func testReadlink(t *testing.T, c nfs.Client, dir nfs.FH) {
	for i, target := range []string{"x", "../../../../etc/passwd", "/an absolute/path", "caf\xe9 \xff\x01", strings.Repeat("a/", 2047) + "b"} {
		h := made(t, c.Symlink(dir, fmt.Sprint(i), target, nfs.Sattr{}))
		r := must(t, c.Readlink(h))
		if r.Target != target || r.Attr == nil || r.Attr.Type != nfs.Lnk || r.Attr.Size != uint64(len(target)) {
			t.Errorf("link %d: %q, %+v", i, r.Target, r.Attr)
		}
	}
	expect(t, "an endless target", c.Symlink(dir, "long", strings.Repeat("x", 5000), nfs.Sattr{}), nfs.ErrNametoolong, nfs.ErrInval)
	expect(t, "an empty target", c.Symlink(dir, "empty", "", nfs.Sattr{}), nfs.ErrNoent, nfs.ErrInval)
	expect(t, "over a name", c.Symlink(dir, "0", "y", nfs.Sattr{}), nfs.ErrExist)
	expect(t, "of a file", c.Readlink(file(t, c, dir, "f", "")), nfs.ErrInval)
	expect(t, "of a directory", c.Readlink(dir), nfs.ErrInval)
	expect(t, "reading a link", c.Read(found(t, c, dir, "0"), 0, 10), nfs.ErrInval)
}

func testCreate(t *testing.T, c nfs.Client, dir nfs.FH) {
	user := c.As(7, 8)
	was := attr(t, c, dir)
	r := must(t, user.CreateGuarded(dir, "f", nfs.Mode(0o640)))
	wccRight(t, "CREATE", c, dir, was, r.Dir)
	if a := attr(t, c, r.FH); r.Attr == nil || *r.Attr != a || a.UID != 7 || a.GID != 8 || a.Mode != 0o640 || a.Size != 0 {
		t.Errorf("%+v, reply %+v", a, r.Attr)
	}
	if now := attr(t, c, dir); !was.Mtime.Before(now.Mtime) || !was.Ctime.Before(now.Ctime) || now.Nlink != was.Nlink {
		t.Errorf("the directory was %+v and is %+v", was, now)
	}
	write(t, user, r.FH, 0, []byte("content"), nfs.FileSync)
	expect(t, "GUARDED again", user.CreateGuarded(dir, "f", nfs.Mode(0o644)), nfs.ErrExist)
	again := must(t, user.Create(dir, "f", nfs.Sattr{}))
	if again.FH != r.FH {
		t.Error("UNCHECKED made another file")
	}
	holds(t, c, r.FH, []byte("content"))
	must(t, user.Create(dir, "f", nfs.Size(0)))
	holds(t, c, r.FH, nil)

	must(t, c.Mkdir(dir, "sub", nfs.Mode(0o755)))
	expect(t, "GUARDED over a directory", c.CreateGuarded(dir, "sub", nfs.Sattr{}), nfs.ErrExist)
	expect(t, "UNCHECKED over a directory", c.Create(dir, "sub", nfs.Sattr{}), nfs.ErrExist, nfs.ErrIsdir)
	expect(t, "in a file", c.Create(r.FH, "x", nfs.Sattr{}), nfs.ErrNotdir)
	expect(t, "where one may not write", user.Create(found(t, c, dir, "sub"), "x", nfs.Sattr{}), nfs.ErrAcces)
	if r := expect(t, "in somebody's name", user.CreateGuarded(dir, "g", nfs.Owner(9, 9)), nfs.OK, nfs.ErrPerm, nfs.ErrAcces); r.Status == nfs.OK {
		if a := attr(t, c, r.FH); a.UID != 7 || a.GID != 8 {
			t.Errorf("a user made a file of %d:%d", a.UID, a.GID)
		}
	}
	all := made(t, c.CreateGuarded(dir, "all", nfs.Sattr{AtimeHow: nfs.ClientTime, AtimeWant: nfs.Time{Sec: 3, Nsec: 4},
		MtimeHow: nfs.ClientTime, MtimeWant: nfs.Time{Sec: 5, Nsec: 6}}.WithMode(0o1234).WithOwner(9, 10)))
	if a := attr(t, c, all); a.UID != 9 || a.GID != 10 || a.Mode != 0o1234 || a.Atime != (nfs.Time{Sec: 3, Nsec: 4}) || a.Mtime != (nfs.Time{Sec: 5, Nsec: 6}) {
		t.Errorf("with all attributes: %+v", a)
	}
	if r.FH == all || attr(t, c, r.FH).FileID == attr(t, c, all).FileID {
		t.Error("two files are one")
	}
}

func testMkdir(t *testing.T, c nfs.Client, dir nfs.FH) {
	was := attr(t, c, dir)
	r := must(t, c.As(7, 8).Mkdir(dir, "d", nfs.Mode(0o750)))
	wccRight(t, "MKDIR", c, dir, was, r.Dir)
	if a := attr(t, c, r.FH); r.Attr == nil || *r.Attr != a || a.Type != nfs.Dir || a.Nlink != 2 || a.Mode != 0o750 || a.UID != 7 || a.GID != 8 {
		t.Errorf("%+v", a)
	}
	if n := attr(t, c, dir).Nlink; n != was.Nlink+1 {
		t.Errorf("the parent has %d links, had %d", n, was.Nlink)
	}
	expect(t, "again", c.Mkdir(dir, "d", nfs.Sattr{}), nfs.ErrExist)
	expect(t, "in a file", c.Mkdir(file(t, c, dir, "f", ""), "d", nfs.Sattr{}), nfs.ErrNotdir)
	expect(t, "over a file", c.Mkdir(dir, "f", nfs.Sattr{}), nfs.ErrExist)
	expect(t, "where one may not write", c.As(1, 1).Mkdir(r.FH, "d", nfs.Sattr{}), nfs.ErrAcces)

	// In a directory with the set-group-id bit everything gets its group.
	g := made(t, c.Mkdir(dir, "g", nfs.Mode(0o777)))
	must(t, c.Setattr(g, nfs.Owner(0, 55), nil))
	must(t, c.Setattr(g, nfs.Mode(0o2777), nil))
	if a := attr(t, c, made(t, c.As(7, 8).Create(g, "f", nfs.Mode(0o644)))); a.GID != 55 {
		t.Errorf("file with group %d, want 55", a.GID)
	}
	if a := attr(t, c, made(t, c.As(7, 8).Mkdir(g, "d", nfs.Mode(0o755)))); a.GID != 55 || a.Mode != 0o2755 {
		t.Errorf("directory with group %d and mode %o, want 55 and 2755", a.GID, a.Mode)
	}
}

func testMknod(t *testing.T, c nfs.Client, dir nfs.FH) {
	for _, x := range []struct {
		name         string
		kind         nfs.Type
		major, minor uint32
	}{{"fifo", nfs.Fifo, 0, 0}, {"sock", nfs.Sock, 0, 0}, {"chr", nfs.Chr, 5, 1}, {"blk", nfs.Blk, 259, 70_000}} {
		was := attr(t, c, dir)
		r := must(t, c.Mknod(dir, x.name, x.kind, nfs.Mode(0o600), x.major, x.minor))
		wccRight(t, "MKNOD "+x.name, c, dir, was, r.Dir)
		if a := attr(t, c, r.FH); a.Type != x.kind || a.Major != x.major || a.Minor != x.minor || a.Mode != 0o600 {
			t.Errorf("%s: %+v", x.name, a)
		}
		expect(t, "again", c.Mknod(dir, x.name, x.kind, nfs.Sattr{}, 1, 1), nfs.ErrExist)
		expect(t, "reading", c.Read(r.FH, 0, 1), nfs.ErrInval, nfs.ErrNxio)
		expect(t, "writing", c.Write(r.FH, 0, []byte("x"), nfs.FileSync), nfs.ErrInval, nfs.ErrNxio)
	}
	user := c.As(1000, 1000)
	expect(t, "a user's FIFO", user.Mknod(dir, "mine", nfs.Fifo, nfs.Mode(0o600), 0, 0))
	expect(t, "a user's device", user.Mknod(dir, "dev", nfs.Chr, nfs.Mode(0o600), 1, 3), nfs.ErrPerm, nfs.ErrAcces)
	for _, bad := range []nfs.Type{nfs.Reg, nfs.Dir, nfs.Lnk} {
		expect(t, fmt.Sprintf("type %d", bad), c.Mknod(dir, "bad", bad, nfs.Sattr{}, 0, 0), nfs.ErrBadtype)
	}
}

func testRemove(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := file(t, c, dir, "f", "x")
	must(t, c.Link(h, dir, "g"))
	was, before := attr(t, c, dir), attr(t, c, h)
	r := must(t, c.Remove(dir, "f"))
	wccRight(t, "REMOVE", c, dir, was, r.Wcc)
	if a := attr(t, c, h); a.Nlink != 1 || !before.Ctime.Before(a.Ctime) {
		t.Errorf("with one name left: %+v, was %+v", a, before)
	}
	must(t, c.Remove(dir, "g"))
	expect(t, "reading a removed file", c.Read(h, 0, 1), nfs.ErrStale)
	expect(t, "writing a removed file", c.Write(h, 0, []byte("x"), nfs.FileSync), nfs.ErrStale)
	expect(t, "again", c.Remove(dir, "g"), nfs.ErrNoent)
	d := made(t, c.Mkdir(dir, "d", nfs.Mode(0o755)))
	expect(t, "of a directory", c.Remove(dir, "d"), nfs.ErrIsdir, nfs.ErrPerm)
	expect(t, "in a file", c.Remove(file(t, c, dir, "h", ""), "x"), nfs.ErrNotdir)
	file(t, c, d, "x", "")
	expect(t, "where one may not write", c.As(1, 1).Remove(d, "x"), nfs.ErrAcces)

	// In a sticky directory only the owners of a file or of it may remove.
	sticky := made(t, c.Mkdir(dir, "sticky", nfs.Mode(0o777)))
	must(t, c.Setattr(sticky, nfs.Mode(0o1777), nil))
	must(t, c.As(1, 1).Create(sticky, "f", nfs.Mode(0o666)))
	expect(t, "another's in a sticky directory", c.As(2, 2).Remove(sticky, "f"), nfs.ErrAcces, nfs.ErrPerm)
	expect(t, "renaming another's in a sticky directory", c.As(2, 2).Rename(sticky, "f", dir, "stolen"), nfs.ErrAcces, nfs.ErrPerm)
	must(t, c.As(2, 2).Create(sticky, "mine", nfs.Mode(0o666)))
	expect(t, "renaming over another's in a sticky directory", c.As(2, 2).Rename(sticky, "mine", sticky, "f"), nfs.ErrAcces, nfs.ErrPerm)
	expect(t, "one's own in a sticky directory", c.As(1, 1).Remove(sticky, "f"))
}

func testRmdir(t *testing.T, c nfs.Client, dir nfs.FH) {
	d := made(t, c.Mkdir(dir, "d", nfs.Mode(0o755)))
	file(t, c, d, "f", "")
	expect(t, "of one with a file", c.Rmdir(dir, "d"), nfs.ErrNotempty, nfs.ErrExist)
	expect(t, "of .", c.Rmdir(d, "."), nfs.ErrInval)
	expect(t, "of ..", c.Rmdir(d, ".."), nfs.ErrExist, nfs.ErrNotempty, nfs.ErrInval)
	expect(t, "of a file", c.Rmdir(d, "f"), nfs.ErrNotdir)
	must(t, c.Remove(d, "f"))
	must(t, c.Mkdir(d, "sub", nfs.Mode(0o777)))
	expect(t, "where one may not write", c.As(1, 1).Rmdir(d, "sub"), nfs.ErrAcces)
	must(t, c.Rmdir(d, "sub"))
	was := attr(t, c, dir)
	r := must(t, c.Rmdir(dir, "d"))
	wccRight(t, "RMDIR", c, dir, was, r.Wcc)
	if n := attr(t, c, dir).Nlink; n != was.Nlink-1 {
		t.Errorf("the parent has %d links, had %d", n, was.Nlink)
	}
	expect(t, "again", c.Rmdir(dir, "d"), nfs.ErrNoent)
	expect(t, "of the removed directory", c.Getattr(d), nfs.ErrStale)
	expect(t, "making a file in it", c.Create(d, "f", nfs.Sattr{}), nfs.ErrStale)
	expect(t, "listing it", c.Readdir(d, 0, nfs.Verifier{}, 1000), nfs.ErrStale)
}

func testRename(t *testing.T, c nfs.Client, dir nfs.FH) {
	a, b := made(t, c.Mkdir(dir, "a", nfs.Mode(0o755))), made(t, c.Mkdir(dir, "b", nfs.Mode(0o755)))
	f := file(t, c, a, "f", "one")
	was, wasB, wasF := attr(t, c, a), attr(t, c, b), attr(t, c, f)
	r := must(t, c.Rename(a, "f", b, "g"))
	wccRight(t, "RENAME from", c, a, was, r.From)
	wccRight(t, "RENAME to", c, b, wasB, r.To)
	if found(t, c, b, "g") != f || attr(t, c, f).FileID != wasF.FileID || attr(t, c, f).Mtime != wasF.Mtime {
		t.Error("another file after RENAME")
	}
	expect(t, "the old name", c.Lookup(a, "f"), nfs.ErrNoent)
	expect(t, "of nothing", c.Rename(a, "f", b, "h"), nfs.ErrNoent)

	victim := file(t, c, b, "victim", "two")
	must(t, c.Link(victim, b, "spare"))
	must(t, c.Rename(b, "g", b, "victim"))
	if found(t, c, b, "victim") != f || attr(t, c, victim).Nlink != 1 {
		t.Error("RENAME over a file went wrong")
	}
	must(t, c.Rename(b, "victim", b, "spare"))
	expect(t, "of the file that was replaced", c.Getattr(victim), nfs.ErrStale)
	must(t, c.Link(f, b, "twin"))
	must(t, c.Rename(b, "spare", b, "twin"))
	if found(t, c, b, "spare") != f || found(t, c, b, "twin") != f {
		t.Error("RENAME between two names of one file is to do nothing")
	}
	must(t, c.Rename(b, "twin", b, "twin"))
	expect(t, "over a directory", c.Rename(b, "twin", dir, "a"), nfs.ErrIsdir, nfs.ErrExist)
	expect(t, "of a directory over a file", c.Rename(dir, "a", b, "twin"), nfs.ErrNotdir, nfs.ErrExist)
	expect(t, "from a file", c.Rename(f, "x", b, "y"), nfs.ErrNotdir)
	expect(t, "into a file", c.Rename(b, "twin", f, "y"), nfs.ErrNotdir)
	expect(t, "where one may not write", c.As(1, 1).Rename(b, "twin", dir, "y"), nfs.ErrAcces)
	expect(t, "to where one may not write", c.As(1, 1).Rename(dir, "nothing", b, "y"), nfs.ErrAcces, nfs.ErrNoent)
}

func testRenameDirs(t *testing.T, c nfs.Client, dir nfs.FH) {
	a, b := made(t, c.Mkdir(dir, "a", nfs.Mode(0o755))), made(t, c.Mkdir(dir, "b", nfs.Mode(0o755)))
	deep := made(t, c.Mkdir(a, "deep", nfs.Mode(0o755)))
	file(t, c, deep, "f", "x")
	must(t, c.Rename(a, "deep", b, "moved"))
	if found(t, c, deep, "..") != b || attr(t, c, a).Nlink != 2 || attr(t, c, b).Nlink != 3 {
		t.Error("a moved directory has the wrong parent, or its parents the wrong links")
	}
	expect(t, "into itself", c.Rename(dir, "b", deep, "x"), nfs.ErrInval)
	expect(t, "into itself, directly", c.Rename(dir, "b", b, "x"), nfs.ErrInval)
	expect(t, "over its own parent", c.Rename(b, "moved", dir, "b"), nfs.ErrNotempty, nfs.ErrExist, nfs.ErrInval)
	must(t, c.Mkdir(dir, "full", nfs.Mode(0o755)))
	file(t, c, found(t, c, dir, "full"), "f", "")
	expect(t, "over one with a file", c.Rename(dir, "a", dir, "full"), nfs.ErrNotempty, nfs.ErrExist)
	must(t, c.Rename(dir, "full", dir, "a")) // an empty one gives way
	expect(t, "of the directory that was replaced", c.Getattr(a), nfs.ErrStale)
	for _, bad := range []string{".", ".."} {
		expect(t, "of "+bad, c.Rename(b, bad, dir, "x"), nfs.ErrInval, nfs.ErrExist, nfs.ErrAcces, nfs.ErrIsdir, nfs.ErrNotempty)
		expect(t, "to "+bad, c.Rename(b, "moved", deep, bad), nfs.ErrInval, nfs.ErrExist, nfs.ErrAcces, nfs.ErrIsdir, nfs.ErrNotempty)
	}
}

func testLink(t *testing.T, c nfs.Client, dir nfs.FH) {
	f := file(t, c, dir, "f", "x")
	was, before := attr(t, c, dir), attr(t, c, f)
	r := must(t, c.Link(f, dir, "g"))
	wccRight(t, "LINK", c, dir, was, r.Dir)
	if a := attr(t, c, f); r.Attr == nil || *r.Attr != a || a.Nlink != 2 || !before.Ctime.Before(a.Ctime) || a.Mtime != before.Mtime {
		t.Errorf("%+v, was %+v", a, before)
	}
	if found(t, c, dir, "g") != f {
		t.Error("the link leads elsewhere")
	}
	expect(t, "over a name", c.Link(f, dir, "g"), nfs.ErrExist)
	expect(t, "of a directory", c.Link(dir, dir, "d"), nfs.ErrIsdir, nfs.ErrPerm, nfs.ErrInval)
	expect(t, "in a file", c.Link(f, f, "x"), nfs.ErrNotdir)
	d := made(t, c.Mkdir(dir, "d", nfs.Mode(0o755)))
	expect(t, "where one may not write", c.As(1, 1).Link(f, d, "x"), nfs.ErrAcces)
	sym := made(t, c.Symlink(dir, "s", "target", nfs.Sattr{}))
	expect(t, "of a symbolic link", c.Link(sym, dir, "s2"))
	must(t, c.Remove(dir, "f"))
	must(t, c.Remove(dir, "g"))
	expect(t, "of a removed file", c.Link(f, dir, "h"), nfs.ErrStale)

	// As many as PATHCONF allows, and not one more.
	max := int(must(t, c.Pathconf(dir)).Linkmax)
	if max < 1000 || max > 100_000 {
		t.Fatalf("%d links", max)
	}
	many := file(t, c, d, "0", "")
	var all sync.WaitGroup
	for lane := range 64 {
		all.Go(func() {
			for i := 1 + lane; i < max; i += 64 {
				if err := c.Link(many, d, fmt.Sprint(i)).Want(nfs.OK); err != nil {
					t.Errorf("link %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	expect(t, "one more link than allowed", c.Link(many, d, "more"), nfs.ErrMlink)
	if n := attr(t, c, many).Nlink; int(n) != max {
		t.Errorf("%d links, want %d", n, max)
	}
}

// testNames: what no name may be, wherever a name is given.
func testNames(t *testing.T, c nfs.Client, dir nfs.FH) {
	f := file(t, c, dir, "f", "x")
	type try func(name string) nfs.Outcome
	makers := map[string]try{
		"CREATE":           func(n string) nfs.Outcome { return c.Create(dir, n, nfs.Mode(0o644)).Outcome },
		"CREATE EXCLUSIVE": func(n string) nfs.Outcome { return c.CreateExclusive(dir, n, nfs.Verifier{1}).Outcome },
		"MKDIR":            func(n string) nfs.Outcome { return c.Mkdir(dir, n, nfs.Mode(0o755)).Outcome },
		"SYMLINK":          func(n string) nfs.Outcome { return c.Symlink(dir, n, "t", nfs.Sattr{}).Outcome },
		"MKNOD":            func(n string) nfs.Outcome { return c.Mknod(dir, n, nfs.Fifo, nfs.Sattr{}, 0, 0).Outcome },
		"LINK":             func(n string) nfs.Outcome { return c.Link(f, dir, n).Outcome },
		"RENAME":           func(n string) nfs.Outcome { return c.Rename(dir, "f", dir, n).Outcome },
	}
	takers := map[string]try{
		"LOOKUP":      func(n string) nfs.Outcome { return c.Lookup(dir, n).Outcome },
		"REMOVE":      func(n string) nfs.Outcome { return c.Remove(dir, n).Outcome },
		"RMDIR":       func(n string) nfs.Outcome { return c.Rmdir(dir, n).Outcome },
		"RENAME from": func(n string) nfs.Outcome { return c.Rename(dir, n, dir, "y").Outcome },
	}
	refused := []nfs.Status{nfs.ErrInval, nfs.ErrAcces, nfs.ErrExist}
	for what, call := range makers {
		for _, bad := range []string{"", "a/b", "/", "a\x00b", "\x00"} {
			expect(t, fmt.Sprintf("%s of %q", what, bad), call(bad), refused...)
		}
		for _, bad := range []string{".", ".."} {
			expect(t, fmt.Sprintf("%s of %q", what, bad), call(bad), append(refused, nfs.ErrIsdir, nfs.ErrNotempty)...)
		}
		expect(t, what+" of a reserved name", call(".snapshot"), nfs.ErrAcces, nfs.ErrPerm, nfs.ErrExist, nfs.ErrInval, nfs.ErrRofs, nfs.ErrIsdir)
		for _, n := range []int{256, 257, 1000} {
			expect(t, fmt.Sprintf("%s of %d bytes", what, n), call(strings.Repeat("n", n)), nfs.ErrNametoolong)
		}
	}
	for what, call := range takers {
		for _, bad := range []string{"", "a/b", "../names/f", "f/", "f\x00", "\x00"} {
			expect(t, fmt.Sprintf("%s of %q", what, bad), call(bad), append(refused, nfs.ErrNoent)...)
		}
		expect(t, what+" of 256 bytes", call(strings.Repeat("n", 256)), nfs.ErrNametoolong)
	}
	if got := names(t, c, dir); len(got) != 1 || got[0] != "f" {
		t.Errorf("after all that there is %q", got)
	}
	for _, good := range []string{"...", " ", "\n", "-rf", "caf\xc3\xa9", "caf\xe9", "\xff\xfe", "a\\b", "CON", ".Snapshot", strings.Repeat("n", 255)} {
		h := file(t, c, dir, good, "x")
		if found(t, c, dir, good) != h {
			t.Errorf("%q is not what it was", good)
		}
		must(t, c.Remove(dir, good))
	}
	// Names are bytes: case and composition tell them apart.
	a, b := file(t, c, dir, "Name", ""), file(t, c, dir, "name", "")
	if a == b {
		t.Error("case is ignored")
	}
}

func testLimits(t *testing.T, c nfs.Client, dir nfs.FH) {
	i := must(t, c.Fsinfo(dir))
	if i.Attr == nil || i.Rtmax != 1<<20 || i.Wtmax != 1<<20 || i.MaxSize < 1<<40 || i.TimeDelta != (nfs.Time{Nsec: 1}) ||
		i.Properties != nfs.HasLink|nfs.HasSymlink|nfs.Homogeneous|nfs.CanSetTime {
		t.Errorf("FSINFO: %+v", i)
	}
	p := must(t, c.Pathconf(dir))
	if p.Attr == nil || p.Namemax != 255 || !p.NoTrunc || !p.ChownRestricted || p.CaseInsensitive || !p.CasePreserving {
		t.Errorf("PATHCONF: %+v", p)
	}
	s := must(t, c.Fsstat(dir))
	if s.Attr == nil || s.TotalBytes < 1<<20 || s.AvailBytes == 0 || s.TotalInodes == 0 || s.AvailInos == 0 {
		t.Errorf("FSSTAT: %+v", s)
	}
	must(t, c.Null())
}
