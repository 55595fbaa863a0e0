package interop

import (
	"fmt"
	"testing"

	nfs "varve/test/nfsclient"
)

// who asks, of the file of user 1000 and group 100.
type who struct {
	name     string
	uid, gid uint32
	groups   []uint32
	class    uint // which bits of a mode count: 6 the owner's, 3 the group's, 0 all others'
	root     bool
}

var people = []who{
	{"owner", 1000, 1, nil, 6, false},
	{"owner in the group", 1000, 100, []uint32{100}, 6, false},
	{"group", 2000, 100, nil, 3, false},
	{"16th group", 2000, 1, []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 100}, 3, false},
	{"other", 2000, 1, []uint32{2, 3}, 0, false},
	{"superuser", 0, 0, nil, 0, true},
}

// TestNFSPermissions: for each mode and each person, what ACCESS says and what
// can be done.
func TestNFSPermissions(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	top := made(t, c.Mkdir(root, "top", nfs.Mode(0o777)))
	f := file(t, c, top, "f", "content")
	d := made(t, c.Mkdir(top, "d", nfs.Mode(0o755)))
	file(t, c, d, "inside", "")
	for _, h := range []nfs.FH{f, d} {
		must(t, c.Setattr(h, nfs.Owner(1000, 100), nil))
	}
	for bits := range uint32(8) {
		for shift, rest := range map[uint]uint32{6: 0o077, 3: 0o707, 0: 0o770} {
			// The class under test has the bits, the others have all, or none.
			for _, mode := range []uint32{bits << shift, bits<<shift | rest} {
				must(t, c.Setattr(f, nfs.Mode(mode), nil))
				must(t, c.Setattr(d, nfs.Mode(mode), nil))
				for _, p := range people {
					cp := c.As(p.uid, p.gid, p.groups...)
					p.checkFile(t, cp, f, mode)
					p.checkDir(t, cp, d, mode)
				}
			}
		}
	}
	s.finish()
}

func yes(may bool, is uint32) uint32 {
	if may {
		return is
	}
	return 0
}

// allowed is what a call may answer.
func allowed(may bool) nfs.Status {
	if may {
		return nfs.OK
	}
	return nfs.ErrAcces
}

const wholeAccess = nfs.AccessRead | nfs.AccessLookup | nfs.AccessModify | nfs.AccessExtend | nfs.AccessDelete | nfs.AccessExecute

func (p who) rights(mode uint32) (r, w, x bool) {
	m := mode >> p.class
	return p.root || m&4 != 0, p.root || m&2 != 0, m&1 != 0
}

// checkFile: the bits decide, but a file's owner may read and write in any
// case, and who may execute may read: the client asked ACCESS when the file was
// opened, and reads and writes what is open (RFC 1813, 4.4).
func (p who) checkFile(t *testing.T, c nfs.Client, f nfs.FH, mode uint32) {
	t.Helper()
	what := fmt.Sprintf("%s, file of mode %o: ", p.name, mode)
	r, w, x := p.rights(mode)
	if p.root {
		x = mode&0o111 != 0 // nobody executes what nobody may
	}
	want := yes(r, nfs.AccessRead) | yes(w, nfs.AccessModify|nfs.AccessExtend) | yes(x, nfs.AccessExecute)
	got := must(t, c.Access(f, wholeAccess)).Access
	if got&^uint32(nfs.AccessDelete|nfs.AccessLookup) != want {
		t.Errorf("%sACCESS grants %#x, want %#x", what, got, want)
	}
	if one := must(t, c.Access(f, nfs.AccessRead)).Access; one != want&nfs.AccessRead {
		t.Errorf("%sACCESS of READ alone grants %#x", what, one)
	}
	owner := p.class == 6
	expect(t, what+"READ", c.Read(f, 0, 4), allowed(r || x || owner))
	expect(t, what+"WRITE", c.Write(f, 0, []byte("c"), nfs.Unstable), allowed(w || owner))
	expect(t, what+"SETATTR size", c.Setattr(f, nfs.Size(7), nil), allowed(w || owner))
	must(t, c.Getattr(f))
}

func (p who) checkDir(t *testing.T, c nfs.Client, d nfs.FH, mode uint32) {
	t.Helper()
	what := fmt.Sprintf("%s, directory of mode %o: ", p.name, mode)
	r, w, x := p.rights(mode)
	x = x || p.root
	// Who may write but not search may change nothing in it.
	want := yes(r, nfs.AccessRead) | yes(x, nfs.AccessLookup)
	const change = nfs.AccessModify | nfs.AccessExtend | nfs.AccessDelete
	got := must(t, c.Access(d, wholeAccess)).Access &^ nfs.AccessExecute
	if got&^uint32(change) != want || w && x && got&change != change || !w && got&change != 0 {
		t.Errorf("%sACCESS grants %#x, want %#x and change %v", what, got, want, w && x)
	}
	expect(t, what+"LOOKUP", c.Lookup(d, "inside"), allowed(x))
	expect(t, what+"READDIR", c.Readdir(d, 0, nfs.Verifier{}, 4096), allowed(r))
	expect(t, what+"CREATE", c.CreateGuarded(d, "new", nfs.Mode(0o600)), allowed(w && x))
	expect(t, what+"RENAME", c.Rename(d, "new", d, "newer"), renamed(w && x, x)...)
	expect(t, what+"REMOVE", c.Remove(d, "newer"), renamed(w && x, x)...)
}

// renamed: where nothing could be made, there is nothing to rename.
func renamed(may, search bool) []nfs.Status {
	switch {
	case may:
		return []nfs.Status{nfs.OK}
	case search:
		return []nfs.Status{nfs.ErrAcces, nfs.ErrNoent}
	}
	return []nfs.Status{nfs.ErrAcces}
}

const nobody = 65534

// TestNFSSquash: who a user is on the server.
func TestNFSSquash(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	must(t, c.Setattr(root, nfs.Mode(0o1777), nil))
	secret := file(t, c, root, "secret", "x")
	must(t, c.Setattr(secret, nfs.Mode(0o600), nil))
	for i, x := range []struct {
		squash          string
		uid, gid        uint32 // who asks
		becomes, group_ uint32
	}{
		{"none", 0, 0, 0, 0}, {"none", 1000, 100, 1000, 100},
		{"root", 0, 0, nobody, nobody}, {"root", 1000, 100, 1000, 100}, {"root", 1000, 0, 1000, nobody},
		{"all", 0, 0, nobody, nobody}, {"all", 1000, 100, nobody, nobody},
	} {
		s.set("home", "squash="+x.squash)
		name := fmt.Sprintf("squash=%s, %d:%d", x.squash, x.uid, x.gid)
		asks := c.As(x.uid, x.gid)
		a := attr(t, asks, made(t, asks.CreateGuarded(root, fmt.Sprint(i), nfs.Mode(0o644))))
		if a.UID != x.becomes || a.GID != x.group_ {
			t.Errorf("%s: made a file of %d:%d, want %d:%d", name, a.UID, a.GID, x.becomes, x.group_)
		}
		expect(t, name+": a file of the superuser", asks.Read(secret, 0, 1), allowed(x.becomes == 0))
		expect(t, name+": giving away", asks.Setattr(found(t, asks, root, fmt.Sprint(i)), nfs.Owner(7, 7), nil),
			map[bool]nfs.Status{true: nfs.OK, false: nfs.ErrPerm}[x.becomes == 0])
		if x.squash != "none" {
			// A group of the superuser's is none, wherever it stands.
			expect(t, name+": by a supplementary group", c.As(1000, 100, 0).Setattr(secret, nfs.Mode(0o640), nil), nfs.ErrPerm, nfs.ErrAcces)
		}
	}
	if _, err := s.Run("set", "home", "squash=some"); err == nil {
		t.Error("squash=some is taken")
	}
	// Opening a share to others squashes their superusers, unless told not to.
	s.varve("share", "create", "wide")
	s.set("wide", "clients=0.0.0.0/0")
	wide := must(t, c.Mnt("/wide")).FH
	expect(t, "the superuser of anywhere", c.CreateGuarded(wide, "f", nfs.Mode(0o644)), nfs.ErrAcces)
	s.set("wide", "squash=none")
	expect(t, "the superuser of anywhere, as told", c.CreateGuarded(wide, "f", nfs.Mode(0o644)))
	s.finish()
}

// TestNFSQuota: a share has no more bytes and files than it is given.
func TestNFSQuota(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	s.set("home", "quota=4M")
	h := file(t, c, root, "f", "")
	piece := make([]byte, 256<<10)
	for i := range piece {
		piece[i] = byte(i)
	}
	var took uint64
	for {
		r := c.Write(h, took, piece, nfs.FileSync)
		if r.Err == nil && (r.Status == nfs.ErrDquot || r.Status == nfs.ErrNospc) {
			if r.Wcc.After == nil || r.Wcc.After.Size != took {
				t.Errorf("DQUOT: %+v, want a size of %d", r.Wcc.After, took)
			}
			break
		}
		if took += uint64(must(t, r).Count); took > 8<<20 {
			t.Fatal("8 MiB under a quota of 4 MiB")
		}
	}
	if took < 3<<20 {
		t.Errorf("only %d bytes under a quota of 4 MiB", took)
	}
	if st := must(t, c.Fsstat(root)); st.TotalBytes != 4<<20 || st.AvailBytes > 1<<20 {
		t.Errorf("FSSTAT under a quota: %+v", st)
	}
	must(t, c.Setattr(h, nfs.Size(1<<20), nil)) // making room always works
	write(t, c, h, 1<<20, piece, nfs.FileSync)
	must(t, c.Remove(root, "f"))

	used := int(must(t, c.Fsstat(root)).TotalInodes - must(t, c.Fsstat(root)).FreeInodes)
	s.set("home", fmt.Sprintf("quota-inodes=%d", used+10), "quota=0")
	n := 0
	for ; n < 50; n++ {
		if r := c.CreateGuarded(root, fmt.Sprint(n), nfs.Sattr{}); r.Status != nfs.OK || r.Err != nil {
			expect(t, "a file too many", r, nfs.ErrDquot, nfs.ErrNospc)
			break
		}
	}
	if n < 9 || n > 11 {
		t.Errorf("%d files under a quota of 10 more", n)
	}
	must(t, c.Remove(root, "0"))
	must(t, c.Mkdir(root, "again", nfs.Sattr{}))
	s.finish()
}
