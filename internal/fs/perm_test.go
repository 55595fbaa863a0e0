package fs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/inode"
)

// The permission matrix: for every mode of the nine bits and every relation of
// a caller to the object, what he may is what the one triplet that is his says.
func TestPermissionMatrix(t *testing.T) {
	const uid, gid = 10, 20
	callers := []struct {
		name  string
		cred  Cred
		shift int
	}{
		{"owner", Cred{UID: uid, GID: 99}, 6},
		{"owner in the group", Cred{UID: uid, GID: gid}, 6},
		{"group", Cred{UID: 11, GID: gid}, 3},
		{"further group", Cred{UID: 11, GID: 99, Groups: []uint32{1, gid}}, 3},
		{"other", Cred{UID: 11, GID: 99, Groups: []uint32{1, 2}}, 0},
	}
	for m := uint32(0); m <= 0o777; m++ {
		for _, typ := range []uint32{inode.ModeFile, inode.ModeDir} {
			i := inode.Inode{Mode: typ | m, UID: uid, GID: gid}
			for want := uint32(0); want < 8; want++ {
				for _, c := range callers {
					bits := m >> c.shift & 7
					if got := c.cred.may(&i, want); got != (bits&want == want) {
						t.Fatalf("%s, mode %o: may(%o) = %v", c.name, i.Mode, want, got)
					}
				}
				nobodyRuns := typ == inode.ModeFile && m&0o111 == 0 && want&1 != 0
				if root := (&Cred{}); root.may(&i, want) == nobodyRuns {
					t.Fatalf("root, mode %o: may(%o) = %v", i.Mode, want, !nobodyRuns)
				}
			}
		}
	}
}

func TestAccess(t *testing.T) {
	w := newWorld(t)
	d, f := w.mkdir(w.root, "d", 0), w.file(w.root, "f", "")
	w.chown(d, 10, 20)
	w.chown(f, 10, 20)
	const dirAll, fileAll = AccessRead | AccessLookup | AccessModify | AccessExtend | AccessDelete, AccessRead | AccessModify | AccessExtend | AccessExecute
	for _, tt := range []struct {
		mode      uint32
		call      *Call
		dir, file uint32
	}{
		{0o777, as(99), dirAll, fileAll},
		{0o700, as(10), dirAll, fileAll},
		{0o700, as(11, 20), 0, 0},
		{0o700, as(0), dirAll, fileAll},
		{0o600, as(0), dirAll, fileAll &^ AccessExecute},
		{0o070, as(11, 20), dirAll, fileAll},
		{0o077, as(10, 20), 0, 0},
		{0o444, as(99), AccessRead, AccessRead},
		{0o555, as(99), AccessRead | AccessLookup, AccessRead | AccessExecute},
		{0o222, as(99), 0, AccessModify | AccessExtend},
		{0o111, as(99), AccessLookup, AccessExecute},
	} {
		w.chmod(d, tt.mode)
		w.chmod(f, tt.mode)
		for h, want := range map[Handle]uint32{d: tt.dir, f: tt.file} {
			got, _, err := w.f.Access(tt.call, h, 0x3f)
			w.ok(err)
			if got != want {
				t.Errorf("mode %o, uid %d: access %#x, want %#x", w.attr(h).Mode, tt.call.Cred.UID, got, want)
			}
			if got, _, err = w.f.Access(tt.call, h, AccessRead); err != nil || got != want&AccessRead {
				t.Errorf("asked for reading alone: %#x, %v", got, err)
			}
		}
	}
}

// What may be done to names goes by the directory's bits, whatever the object's.
func TestDirectoryPermissions(t *testing.T) {
	w := newWorld(t)
	bob := as(7)
	d := w.mkdir(w.root, "d", 0o777)
	w.mkdir(d, "sub", 0o777)
	file := w.file(d, "f", "x")
	changes := map[string]func() error{
		"create":  func() error { _, err := w.f.Create(bob, d, "new", SetAttr{}, true, nil); return err },
		"mkdir":   func() error { _, err := w.f.Mkdir(bob, d, "newdir", SetAttr{}); return err },
		"symlink": func() error { _, err := w.f.Symlink(bob, d, "newlink", "t", SetAttr{}); return err },
		"mknod":   func() error { _, err := w.f.Mknod(bob, d, "newpipe", inode.ModeFIFO, 0, SetAttr{}); return err },
		"link":    func() error { _, _, _, err := w.f.Link(bob, file, d, "newname"); return err },
		"move":    func() error { _, _, _, err := w.f.Rename(bob, d, "f", d, "g"); return err },
		"out":     func() error { _, _, _, err := w.f.Rename(bob, d, "sub", w.root, "sub"); return err },
		"in":      func() error { _, _, _, err := w.f.Rename(bob, w.root, "sub", d, "sub"); return err },
		"rmdir":   func() error { _, _, err := w.f.Rmdir(bob, d, "sub"); return err },
		"remove":  func() error { _, _, err := w.f.Remove(bob, d, "g"); return err },
	}
	order := []string{"create", "mkdir", "symlink", "mknod", "link", "move", "out", "in", "rmdir", "remove"}
	for _, m := range []uint32{0o775, 0o776, 0o774} {
		w.chmod(d, m)
		for _, name := range order {
			if name == "in" {
				continue // the source is not there
			}
			if err := changes[name](); CodeOf(err) != CodeAccess && (name != "remove" || m&1 == 0 || CodeOf(err) != CodeNoEnt) {
				t.Errorf("mode %o: %s: %v", m, name, err)
			}
		}
		_, _, _, err := w.f.Lookup(bob, d, "f")
		if m&1 == 0 {
			w.fails(err, CodeAccess)
		} else {
			w.ok(err)
		}
		_, _, _, err = w.f.Readdir(bob, d, 0, 10, false, nil)
		w.ok(err)
	}
	w.chmod(d, 0o773)
	_, _, _, err := w.f.Readdir(bob, d, 0, 10, false, nil)
	w.fails(err, CodeAccess)
	for _, name := range order {
		w.ok(changes[name]())
	}
	// A directory that changes its parent must be writable itself.
	w.chmod(d, 0o777)
	w.mkdir(d, "sub", 0o755)
	w.fails(changes["out"](), CodeAccess)
	_, _, _, err = w.f.Rename(bob, d, "sub", d, "sub2")
	w.ok(err)
}

// In a sticky directory names go only by owners: of the object, or of the
// directory; on both sides of a rename.
func TestSticky(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := as(1), as(2), as(3)
	tmp := w.mkdir(w.root, "tmp", 0o1777)
	w.chown(tmp, 3, 3)
	w.chmod(tmp, 0o1777)
	open := w.mkdir(w.root, "open", 0o777)
	make := func(c *Call, dir Handle, name string) {
		t.Helper()
		_, err := w.f.Create(c, dir, name, mode(0o666), true, nil)
		w.ok(err)
	}
	make(alice, tmp, "a")
	make(bob, open, "b")
	_, _, err := w.f.Remove(bob, tmp, "a")
	w.fails(err, CodePerm)
	_, _, _, err = w.f.Rename(bob, tmp, "a", open, "a")
	w.fails(err, CodePerm)
	_, _, _, err = w.f.Rename(bob, tmp, "a", tmp, "a2")
	w.fails(err, CodePerm)
	_, _, _, err = w.f.Rename(bob, open, "b", tmp, "a")
	w.fails(err, CodePerm)
	_, _, _, err = w.f.Rename(bob, open, "b", tmp, "b")
	w.ok(err)
	_, err = w.f.Mkdir(alice, tmp, "ad", SetAttr{})
	w.ok(err)
	_, _, err = w.f.Rmdir(bob, tmp, "ad")
	w.fails(err, CodePerm)
	_, _, err = w.f.Rmdir(carol, tmp, "ad")
	w.ok(err)
	_, _, _, err = w.f.Rename(alice, tmp, "a", tmp, "b")
	w.fails(err, CodePerm)
	_, _, _, err = w.f.Rename(carol, tmp, "a", tmp, "b")
	w.ok(err)
	make(alice, tmp, "c")
	_, _, err = w.f.Remove(root, tmp, "c")
	w.ok(err)
	_, _, err = w.f.Remove(alice, tmp, "b")
	w.ok(err)
}

// What is made belongs to its maker, and to the group of a set-group-id
// directory, which directories pass on.
func TestOwnersOfNew(t *testing.T) {
	w := newWorld(t)
	bob := as(7, 30)
	plain, team := w.mkdir(w.root, "plain", 0o777), w.mkdir(w.root, "team", 0o777)
	w.chown(team, 0, 50)
	w.chmod(team, 0o2777)
	u, g, in := uint32(1), uint32(2), uint32(30)
	for _, tt := range []struct {
		call     *Call
		dir      Handle
		set      SetAttr
		uid, gid uint32
		file     uint32 // modes
		sub      uint32
	}{
		{bob, plain, mode(0o755), 7, 7, 0o755, 0o755},
		{bob, team, mode(0o755), 7, 50, 0o755, 0o2755},
		{bob, team, mode(0o2750), 7, 50, 0o750, 0o2750},
		{root, team, mode(0o2750), 0, 50, 0o2750, 0o2750},
		{bob, plain, mode(0o6755), 7, 7, 0o6755, 0o6755},
		{bob, plain, SetAttr{UID: &u, GID: &g}, 7, 7, 0o644, 0o755},
		{bob, plain, SetAttr{GID: &in}, 7, 30, 0o644, 0o755},
		{root, plain, SetAttr{UID: &u, GID: &g}, 1, 2, 0o644, 0o755},
	} {
		made, err := w.f.Create(tt.call, tt.dir, "f", tt.set, true, nil)
		w.ok(err)
		sub, err := w.f.Mkdir(tt.call, tt.dir, "d", tt.set)
		w.ok(err)
		what := fmt.Sprintf("uid %d in %+v with %+v", tt.call.Cred.UID, w.attr(tt.dir).GID, tt.set)
		for a, m := range map[Attr]uint32{made.Attr: inode.ModeFile | tt.file, sub.Attr: inode.ModeDir | tt.sub} {
			if a.Mode != m || a.UID != tt.uid || a.GID != tt.gid {
				t.Errorf("%s: %o %d:%d, want %o %d:%d", what, a.Mode, a.UID, a.GID, m, tt.uid, tt.gid)
			}
		}
		_, _, err = w.f.Remove(root, tt.dir, "f")
		w.ok(err)
		_, _, err = w.f.Rmdir(root, tt.dir, "d")
		w.ok(err)
	}
}

func TestSetattrPermissions(t *testing.T) {
	w := newWorld(t)
	alice, bob, group := as(1, 20), as(2), as(3, 10)
	ptr := func(v uint32) *uint32 { return &v }
	now, five, past := SetAttr{AtimeNow: true, MtimeNow: true}, uint64(5), int64(5e9)
	for _, tt := range []struct {
		what string
		mode uint32
		call *Call
		set  SetAttr
		want Code
		then uint32 // mode after
	}{
		{"owner's chmod", 0o644, alice, mode(0o600), CodeNone, 0o600},
		{"another's chmod", 0o666, bob, mode(0o600), CodePerm, 0o666},
		{"owner's chmod +s outside the group", 0o644, alice, mode(0o2711), CodeNone, 0o711},
		{"root's chmod +s", 0o644, root, mode(0o6711), CodeNone, 0o6711},
		{"owner's chown", 0o644, alice, SetAttr{UID: ptr(2)}, CodePerm, 0o644},
		{"owner's chown to himself", 0o4755, alice, SetAttr{UID: ptr(1)}, CodeNone, 0o755},
		{"another's chown to the owner", 0o644, bob, SetAttr{UID: ptr(1)}, CodePerm, 0o644},
		{"owner's chgrp into his", 0o644, alice, SetAttr{GID: ptr(20)}, CodeNone, 0o644},
		{"owner's chgrp into another", 0o644, alice, SetAttr{GID: ptr(30)}, CodePerm, 0o644},
		{"member's chgrp", 0o664, group, SetAttr{GID: ptr(10)}, CodePerm, 0o664},
		{"root's chown", 0o6755, root, SetAttr{UID: ptr(9), GID: ptr(9)}, CodeNone, 0o755},
		{"root's chown of what is not for groups to run", 0o6705, root, SetAttr{UID: ptr(9)}, CodeNone, 0o2705},
		{"root's chown with a mode", 0o644, root, SetAttr{UID: ptr(9), Mode: ptr(0o4711)}, CodeNone, 0o711},
		{"owner's touch of what he may not write", 0o444, alice, now, CodeNone, 0o444},
		{"another's touch of what he may write", 0o646, bob, now, CodeNone, 0o646},
		{"another's touch of what he may not write", 0o644, bob, now, CodeAccess, 0o644},
		{"another's time", 0o646, bob, SetAttr{Mtime: &past}, CodePerm, 0o646},
		{"owner's time", 0o444, alice, SetAttr{Mtime: &past}, CodeNone, 0o444},
		{"owner's size", 0o444, alice, SetAttr{Size: &five}, CodeNone, 0o444},
		{"another's size", 0o644, bob, SetAttr{Size: &five}, CodeAccess, 0o644},
		{"writer's size", 0o6777, bob, SetAttr{Size: &five}, CodeNone, 0o777},
		{"root's size", 0o6777, root, SetAttr{Size: &five}, CodeNone, 0o6777},
		{"another's flags", 0o666, bob, SetAttr{Flags: ptr(1)}, CodePerm, 0o666},
		{"owner's flags", 0o444, alice, SetAttr{Flags: ptr(1)}, CodeNone, 0o444},
		{"nothing", 0o400, bob, SetAttr{}, CodeNone, 0o400},
	} {
		f := w.file(w.root, "f", "0123456789")
		w.chown(f, 1, 10)
		w.chmod(f, tt.mode)
		before := w.attr(f)
		wcc, lsn, err := w.f.Setattr(tt.call, f, tt.set)
		if CodeOf(err) != tt.want {
			t.Errorf("%s: %v", tt.what, err)
		}
		a := w.attr(f)
		if a.Mode&permMask != tt.then {
			t.Errorf("%s: mode %o, want %o", tt.what, a.Mode, tt.then)
		}
		if changed := err == nil && tt.what != "nothing"; changed != (a.Ctime > before.Ctime) || changed != (lsn != 0) || wcc.After != a {
			t.Errorf("%s: from %+v to %+v, lsn %d, wcc %+v", tt.what, before, a, lsn, wcc)
		}
		_, _, err = w.f.Remove(root, w.root, "f")
		w.ok(err)
	}
	d := w.mkdir(w.root, "d", 0o6755)
	w.chown(d, 4, 4)
	if a := w.attr(d); a.Mode&permMask != 0o6755 {
		t.Errorf("chown takes the bits of a directory: %o", a.Mode)
	}
}

// An owner reads and writes whatever the bits say; who may run a file may read
// it; a write by another than root ends set-id.
func TestDataPermissions(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "data")
	w.chown(f, 1, 10)
	for _, tt := range []struct {
		mode        uint32
		call        *Call
		read, write Code
		then        uint32
	}{
		{0o000, as(1), CodeNone, CodeNone, 0},
		{0o000, as(0), CodeNone, CodeNone, 0},
		{0o077, as(1), CodeNone, CodeNone, 0o077},
		{0o704, as(3, 10), CodeAccess, CodeAccess, 0o704},
		{0o711, as(3), CodeNone, CodeAccess, 0o711},
		{0o744, as(3), CodeNone, CodeAccess, 0o744},
		{0o722, as(3), CodeAccess, CodeNone, 0o722},
		{0o760, as(3, 10), CodeNone, CodeNone, 0o760},
		{0o6777, as(3), CodeNone, CodeNone, 0o777},
		{0o6767, as(3), CodeNone, CodeNone, 0o2767},
		{0o6777, as(0), CodeNone, CodeNone, 0o6777},
	} {
		w.chmod(f, tt.mode)
		_, _, _, err := w.f.Read(tt.call, f, make([]byte, 4), 0)
		if CodeOf(err) != tt.read {
			t.Errorf("mode %o, uid %d: read %v", tt.mode, tt.call.Cred.UID, err)
		}
		_, _, err = w.f.Write(tt.call, f, []byte("d"), 0)
		if CodeOf(err) != tt.write {
			t.Errorf("mode %o, uid %d: write %v", tt.mode, tt.call.Cred.UID, err)
		}
		if m := w.attr(f).Mode & permMask; m != tt.then {
			t.Errorf("mode %o, uid %d: then %o, want %o", tt.mode, tt.call.Cred.UID, m, tt.then)
		}
	}
}

func TestErrors(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	f := w.file(w.root, "f", "x")
	link, err := w.f.Symlink(root, w.root, "l", "d", SetAttr{})
	w.ok(err)
	long := strings.Repeat("n", 256)
	huge, tooHuge := uint64(inode.MaxSize), uint64(inode.MaxSize)+1
	gone := w.file(w.root, "gone", "")
	_, _, err = w.f.Remove(root, w.root, "gone")
	w.ok(err)
	for what, tt := range map[string]struct {
		do   func() error
		want Code
	}{
		"lookup in a file":       {func() error { _, _, _, err := w.f.Lookup(root, f, "x"); return err }, CodeNotDir},
		"lookup of nothing":      {func() error { _, _, _, err := w.f.Lookup(root, d, ""); return err }, CodeInval},
		"lookup with a slash":    {func() error { _, _, _, err := w.f.Lookup(root, d, "a/b"); return err }, CodeInval},
		"lookup with a zero":     {func() error { _, _, _, err := w.f.Lookup(root, d, "a\x00"); return err }, CodeInval},
		"lookup of a long name":  {func() error { _, _, _, err := w.f.Lookup(root, d, long); return err }, CodeNameTooLong},
		"lookup in what is gone": {func() error { _, _, _, err := w.f.Lookup(root, gone, "a"); return err }, CodeStale},
		"mkdir over a file":      {func() error { _, err := w.f.Mkdir(root, w.root, "f", SetAttr{}); return err }, CodeExist},
		"mkdir of .":             {func() error { _, err := w.f.Mkdir(root, w.root, ".", SetAttr{}); return err }, CodeExist},
		"mkdir in a file":        {func() error { _, err := w.f.Mkdir(root, f, "a", SetAttr{}); return err }, CodeNotDir},
		"mkdir of a long name":   {func() error { _, err := w.f.Mkdir(root, w.root, long, SetAttr{}); return err }, CodeNameTooLong},
		"mkdir in what is gone":  {func() error { _, err := w.f.Mkdir(root, gone, "a", SetAttr{}); return err }, CodeStale},
		"symlink to nothing":     {func() error { _, err := w.f.Symlink(root, d, "s", "", SetAttr{}); return err }, CodeInval},
		"symlink too far":        {func() error { _, err := w.f.Symlink(root, d, "s", strings.Repeat("t", 4096), SetAttr{}); return err }, CodeNameTooLong},
		"readlink of a file":     {func() error { _, _, err := w.f.Readlink(root, f); return err }, CodeInval},
		"a device by a user":     {func() error { _, err := w.f.Mknod(as(1), d, "n", inode.ModeChar, 1, SetAttr{}); return err }, CodePerm},
		"a node of no type":      {func() error { _, err := w.f.Mknod(root, d, "n", inode.ModeDir, 1, SetAttr{}); return err }, CodeBadType},
		"remove of a directory":  {func() error { _, _, err := w.f.Remove(root, w.root, "d"); return err }, CodeIsDir},
		"remove of nothing":      {func() error { _, _, err := w.f.Remove(root, w.root, "no"); return err }, CodeNoEnt},
		"remove of .":            {func() error { _, _, err := w.f.Remove(root, w.root, "."); return err }, CodeInval},
		"rmdir of a file":        {func() error { _, _, err := w.f.Rmdir(root, w.root, "f"); return err }, CodeNotDir},
		"rmdir of ..":            {func() error { _, _, err := w.f.Rmdir(root, d, ".."); return err }, CodeNotEmpty},
		"link of a directory":    {func() error { _, _, _, err := w.f.Link(root, d, w.root, "e"); return err }, CodePerm},
		"link over a file":       {func() error { _, _, _, err := w.f.Link(root, f, w.root, "l"); return err }, CodeExist},
		"link of what is gone":   {func() error { _, _, _, err := w.f.Link(root, gone, w.root, "e"); return err }, CodeStale},
		"link in another share":  {func() error { _, _, _, err := w.f.Link(root, f, Handle{Dataset: 99, Ino: 2}, "e"); return err }, CodeXDev},
		"move to another share": {func() error {
			_, _, _, err := w.f.Rename(root, w.root, "f", Handle{Dataset: 99, Ino: 2}, "e")
			return err
		}, CodeXDev},
		"read of a directory":     {func() error { _, _, _, err := w.f.Read(root, d, make([]byte, 1), 0); return err }, CodeIsDir},
		"read of a link":          {func() error { _, _, _, err := w.f.Read(root, link.Handle, make([]byte, 1), 0); return err }, CodeInval},
		"write to a directory":    {func() error { _, _, err := w.f.Write(root, d, []byte("x"), 0); return err }, CodeIsDir},
		"write beyond the end":    {func() error { _, _, err := w.f.Write(root, f, []byte("xy"), huge-1); return err }, CodeFBig},
		"nothing to what is gone": {func() error { _, _, err := w.f.Write(root, gone, nil, 0); return err }, CodeStale},
		"size of a directory":     {func() error { _, _, err := w.f.Setattr(root, d, SetAttr{Size: new(uint64)}); return err }, CodeIsDir},
		"size of a link":          {func() error { _, _, err := w.f.Setattr(root, link.Handle, SetAttr{Size: new(uint64)}); return err }, CodeInval},
		"too large a size":        {func() error { _, _, err := w.f.Setattr(root, f, SetAttr{Size: &tooHuge}); return err }, CodeFBig},
		"a share that never was":  {func() error { _, err := w.f.Getattr(root, Handle{Dataset: 99, Ino: 2}); return err }, CodeStale},
		"list of a file":          {func() error { _, _, _, err := w.f.Readdir(root, f, 0, 1, false, nil); return err }, CodeNotDir},
	} {
		if err := tt.do(); CodeOf(err) != tt.want {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
	for c := CodeNone; c <= CodeBusy; c++ {
		if strings.HasPrefix(c.Error(), "code-") {
			t.Errorf("code %d has no words", c)
		}
	}
	if CodeOf(nil) != CodeNone || CodeOf(fmt.Errorf("what: %w", ErrNotEmpty)) != CodeNotEmpty || CodeOf(fmt.Errorf("what")) != CodeIO {
		t.Error("CodeOf")
	}
}

func TestLinkLimit(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "x")
	d := w.mkdir(w.root, "d", 0o777)
	for i := range inode.MaxLinks - 1 {
		if _, _, _, err := w.f.Link(root, f, d, fmt.Sprint(i)); err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
	}
	a, _, _, err := w.f.Link(root, f, d, "more")
	w.fails(err, CodeMLink)
	if a.Nlink != inode.MaxLinks {
		t.Errorf("%d links", a.Nlink)
	}
	_, _, err = w.f.Remove(root, d, "0")
	w.ok(err)
	_, _, _, err = w.f.Link(root, f, d, "more")
	w.ok(err)
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	set := func(key, value string) {
		t.Helper()
		_, err := w.e.Set(engine.Caller{}, "home", key, value)
		w.ok(err)
	}
	f := w.file(w.root, "f", strings.Repeat("x", 10*4096))
	set("quota", fmt.Sprint(12*4096))
	w.write(f, strings.Repeat("y", 10*4096), 0) // what is there may be written again
	w.write(f, strings.Repeat("z", 2*4096), 10*4096)
	_, _, err := w.f.Write(root, f, []byte("1"), 12*4096)
	w.fails(err, CodeQuota)
	st, err := w.f.Statfs(root, w.root)
	w.ok(err)
	if st.Total != 12*4096 || st.Free != 0 || st.Avail != 0 || st.UsedBytes != 12*4096 || st.Attr != w.attr(w.root) {
		t.Errorf("%+v", st)
	}
	w.write(f, "still", 4096*11)
	size := uint64(4096)
	_, _, err = w.f.Setattr(root, f, SetAttr{Size: &size})
	w.ok(err)
	w.write(f, "hole", 100*4096) // a hole is no payload
	set("quota", "0")
	w.write(f, strings.Repeat("z", 100*4096), 0)

	set("quota-inodes", "4")
	w.mkdir(w.root, "d", 0o755)
	w.file(w.root, "g", "")
	if st, err = w.f.Statfs(root, w.root); err != nil || st.Inodes != 4 || st.InodesFree != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	_, err = w.f.Create(root, w.root, "h", SetAttr{}, true, nil)
	w.fails(err, CodeQuota)
	_, err = w.f.Mkdir(root, w.root, "h", SetAttr{})
	w.fails(err, CodeQuota)
	_, _, _, err = w.f.Link(root, f, w.root, "another name")
	w.ok(err)
	_, _, err = w.f.Remove(root, w.root, "g")
	w.ok(err)
	w.file(w.root, "h", "")
}

// What is there may be written again in a file with holes too, up to the last
// block.
func TestQuotaOfHoles(t *testing.T) {
	w := newWorld(t)
	f := w.file(w.root, "f", "")
	rng := rand.New(rand.NewPCG(1, 2))
	there := map[uint64]bool{}
	write := func(from, n uint64) error {
		_, _, err := w.f.Write(root, f, make([]byte, n*4096), from*4096)
		return err
	}
	for range 40 {
		from, n := rng.Uint64N(400), 1+rng.Uint64N(20)
		w.ok(write(from, n))
		for b := range n {
			there[from+b] = true
		}
	}
	refused := 0
	for range 500 {
		_, err := w.e.Set(engine.Caller{}, "home", "quota", fmt.Sprint(len(there)*4096+2*4096))
		w.ok(err)
		from, n := rng.Uint64N(400), 1+rng.Uint64N(engine.MaxWrite/4096)
		if rng.IntN(2) == 0 {
			n = 1 + rng.Uint64N(30)
		}
		fresh := 0
		for b := range n {
			if !there[from+b] {
				fresh++
			}
		}
		err = write(from, n)
		if want := map[bool]Code{true: CodeNone, false: CodeQuota}[fresh <= 2]; CodeOf(err) != want {
			t.Fatalf("%d blocks from %d, of which %d are new: %v, want %v", n, from, fresh, err, want)
		}
		if err != nil {
			refused++
			continue
		}
		for b := range n {
			there[from+b] = true
		}
	}
	if refused == 0 || refused > 490 {
		t.Errorf("%d of 500 writes were refused", refused)
	}
}
