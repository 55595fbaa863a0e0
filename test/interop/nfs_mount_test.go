package interop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	nfs "varve/test/nfsclient"
)

// TestNFSMount: what MOUNT gives out and to whom, and the lists it keeps.
func TestNFSMount(t *testing.T) {
	s := newShore(t)
	s.varve("share", "create", "other")
	c, root := s.home(t)
	sub := made(t, c.Mkdir(root, "sub", nfs.Mode(0o755)))
	deep := made(t, c.Mkdir(sub, "a b", nfs.Mode(0o755)))
	f := file(t, c, sub, "f", "before")
	s.varve("snapshot", "home@dawn")
	lsn := s.lastLSN()
	write(t, c, f, 0, []byte("after!"), nfs.FileSync)

	must(t, c.MountNull())
	for path, want := range map[string]nfs.FH{
		"/home": root, "/home/": root, "/home//": root, "/home/.": root,
		"/home/sub": sub, "/home/sub/": sub, "/home//sub//": sub, "/home/sub/a b": deep, "/home/sub/a b/": deep,
	} {
		if r := expect(t, path, c.Mnt(path)); r.FH != want {
			t.Errorf("%s has handle %x, want %x", path, r.FH, want)
		} else if !slices.Contains(r.Flavors, nfs.FlavorSys) {
			t.Errorf("%s: flavors %v lack AUTH_SYS", path, r.Flavors)
		}
	}
	for _, path := range []string{"/home@dawn", "/home@dawn/", fmt.Sprintf("/home@lsn:%d", lsn), "/home/.snapshot/dawn", "/home/.snapshot/dawn/", fmt.Sprintf("/home/.snapshot/lsn:%d", lsn)} {
		r := expect(t, path, c.Mnt(path))
		holds(t, c, found(t, c, found(t, c, r.FH, "sub"), "f"), []byte("before"))
	}
	for _, path := range []string{"/home@dawn/sub", "/home/sub/.snapshot/dawn", "/home/.snapshot/dawn/sub/"} {
		r := expect(t, path, c.Mnt(path))
		if r.FH == sub {
			t.Errorf("%s is the present", path)
		}
		holds(t, c, found(t, c, r.FH, "f"), []byte("before"))
	}
	for _, path := range []string{"/nothing", "/home/nothing", "/hom", "/homes", "/home/sub/nothing/x", "/home@nothing", "/home@lsn:99999999",
		"/home@2001-01-01", "/home/.snapshot/nothing", "/nothing@dawn", "/other@dawn", "/", "", "//", "/..", "/home/../../etc", "/@dawn",
		"/home@", "/home@dawn@dawn", "/home\x00", "/home/\x00", "/" + strings.Repeat("x", 300), "/home/" + strings.Repeat("y/", 400)} {
		expect(t, fmt.Sprintf("%.40q", path), c.Mnt(path), nfs.ErrNoent, nfs.ErrAcces, nfs.ErrInval, nfs.ErrNametoolong)
	}
	expect(t, "a file", c.Mnt("/home/sub/f"), nfs.ErrNotdir)
	expect(t, "below a file", c.Mnt("/home/sub/f/x"), nfs.ErrNotdir)
	var refused *nfs.Refusal
	if err := c.Mnt("/"+strings.Repeat("x", 1100)).Want(nfs.ErrNametoolong, nfs.ErrNoent); err != nil && !errors.As(err, &refused) {
		t.Errorf("a path over MNTPATHLEN: %v", err)
	}

	var paths []string
	for _, x := range must(t, c.Export()).Exports {
		paths = append(paths, x.Path)
	}
	slices.Sort(paths)
	if fmt.Sprint(paths) != "[/home /other]" {
		t.Errorf("exports %v", paths)
	}
	mounted := func(path string) bool {
		return slices.ContainsFunc(must(t, c.Dump()).Mounts, func(m nfs.Mounted) bool { return m.Path == path && strings.Contains(m.Host, "127.0.0.1") })
	}
	if !mounted("/home/sub") {
		t.Error("DUMP does not know a mount")
	}
	must(t, c.Umnt("/home/sub"))
	must(t, c.Umnt("/never mounted"))
	if mounted("/home/sub") || !mounted("/home@dawn") {
		t.Error("DUMP is wrong after UMNT")
	}
	must(t, c.Umntall())
	if n := len(must(t, c.Dump()).Mounts); n != 0 {
		t.Errorf("%d mounts after UMNTALL", n)
	}
	must(t, c.Getattr(root)) // a handle is no mount: it stays good
	for i := range 3000 {    // a client that mounts for ever fills nothing
		must(t, c.Mnt("/home"+strings.Repeat("/", i%200)))
	}
	if n := len(must(t, c.Dump()).Mounts); n > 2000 {
		t.Errorf("DUMP lists %d mounts of one client", n)
	}
	s.finish()
}

// TestNFSClients: the properties of a share say who may use it, and how; a
// change counts at once, for handles that were given out too.
func TestNFSClients(t *testing.T) {
	s := newShore(t)
	a, root := s.home(t)
	b := nfs.Client{Conn: s.connect(t, "127.0.0.2")}.As(0, 0)
	f := file(t, a, root, "f", "x")

	expect(t, "another loopback address, by default", b.Mnt("/home"), nfs.ErrAcces)
	expect(t, "its use of a handle, by default", b.Getattr(root), nfs.ErrAcces, nfs.ErrStale)
	for _, x := range []struct {
		clients string
		a, b    bool
	}{
		{"127.0.0.2", false, true}, {"127.0.0.0/8", true, true}, {"127.0.0.2/32", false, true}, {"127.0.0.0/31", true, false},
		{"10.0.0.0/8,127.0.0.2", false, true}, {"127.0.0.1,127.0.0.2", true, true}, {"192.168.0.0/16", false, false}, {"127.0.0.1", true, false},
	} {
		s.set("home", "clients="+x.clients, "squash=none")
		for who, may := range map[*nfs.Client]bool{&a: x.a, &b: x.b} {
			name := fmt.Sprintf("clients=%s, for the one that may: %v", x.clients, may)
			if may {
				expect(t, name, who.Mnt("/home"))
				expect(t, name, who.Read(f, 0, 1))
				continue
			}
			expect(t, name, who.Mnt("/home"), nfs.ErrAcces)
			for what, r := range map[string]result{
				"GETATTR": who.Getattr(f), "READ": who.Read(f, 0, 1), "WRITE": who.Write(f, 0, []byte("y"), nfs.FileSync), "LOOKUP": who.Lookup(root, "f"),
				"REMOVE": who.Remove(root, "f"), "READDIRPLUS": who.Readdirplus(root, 0, nfs.Verifier{}, 8192, 8192), "FSSTAT": who.Fsstat(root),
				"COMMIT": who.Commit(f, 0, 0), "CREATE": who.Create(root, "g", nfs.Sattr{}),
			} {
				expect(t, name+": "+what, r, nfs.ErrAcces, nfs.ErrStale)
			}
		}
	}
	holds(t, a, f, []byte("x"))
	if _, err := s.Run("set", "home", "clients=not an address"); err == nil {
		t.Error("clients=not an address is taken")
	}

	s.set("home", "access=ro")
	must(t, a.Mnt("/home"))
	holds(t, a, f, []byte("x"))
	readOnly(t, "access=ro", a, root, f)
	s.set("home", "access=rw")
	write(t, a, f, 0, []byte("z"), nfs.FileSync)
	s.finish()
}

// readOnly: nothing can be changed in dir, where f is a file called "f".
func readOnly(t *testing.T, what string, c nfs.Client, dir, f nfs.FH) {
	t.Helper()
	was, wasDir := attr(t, c, f), attr(t, c, dir)
	for name, r := range map[string]result{
		"SETATTR": c.Setattr(f, nfs.Mode(0), nil), "WRITE": c.Write(f, 0, []byte("y"), nfs.Unstable), "CREATE": c.Create(dir, "g", nfs.Sattr{}),
		"CREATE EXCLUSIVE": c.CreateExclusive(dir, "g", nfs.Verifier{1}), "MKDIR": c.Mkdir(dir, "g", nfs.Sattr{}),
		"SYMLINK": c.Symlink(dir, "g", "t", nfs.Sattr{}), "MKNOD": c.Mknod(dir, "g", nfs.Fifo, nfs.Sattr{}, 0, 0),
		"REMOVE": c.Remove(dir, "f"), "RENAME": c.Rename(dir, "f", dir, "g"), "LINK": c.Link(f, dir, "g"),
		"SETATTR size": c.Setattr(f, nfs.Size(0), nil),
	} {
		expect(t, what+": "+name, r, nfs.ErrRofs)
	}
	expect(t, what+": RMDIR", c.Rmdir(dir, "nothing"), nfs.ErrRofs, nfs.ErrNoent)
	const all = nfs.AccessRead | nfs.AccessLookup | nfs.AccessModify | nfs.AccessExtend | nfs.AccessDelete | nfs.AccessExecute
	if got := must(t, c.Access(dir, all)).Access; got != nfs.AccessRead|nfs.AccessLookup {
		t.Errorf("%s: ACCESS of the directory grants %#x", what, got)
	}
	if got := must(t, c.Access(f, all)).Access; got&(nfs.AccessModify|nfs.AccessExtend|nfs.AccessDelete) != 0 || got&nfs.AccessRead == 0 {
		t.Errorf("%s: ACCESS of the file grants %#x", what, got)
	}
	if attr(t, c, f) != was || attr(t, c, dir) != wasDir {
		t.Errorf("%s: attributes changed", what)
	}
}

// TestNFSRefusals: what RPC itself refuses, before anything is done.
func TestNFSRefusals(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	sys := nfs.Sys("tester", 0, 0)
	for _, x := range []struct {
		name string
		call nfs.Call
		want []nfs.Refusal
	}{
		{"a program that is not there", nfs.Call{RPC: 2, Program: nfs.ProgramACL, Version: 3, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProgUnavail}}},
		{"a program that is none", nfs.Call{RPC: 2, Program: 12345, Version: 3, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProgUnavail}}},
		{"NFS version 2", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 2, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProgMismatch, Low: 3, High: 3}}},
		{"NFS version 4", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 4, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProgMismatch, Low: 3, High: 3}}},
		{"procedure 22", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: 22, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProcUnavail}}},
		{"procedure 6 of MOUNT", nfs.Call{RPC: 2, Program: nfs.ProgramMount, Version: 3, Procedure: 6, Cred: sys}, []nfs.Refusal{{Stat: nfs.ProcUnavail}}},
		{"no arguments", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: sys}, []nfs.Refusal{{Stat: nfs.GarbageArgs}}},
		{"half a handle", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: sys, Args: []byte{0, 0, 0, 32, 1, 2, 3, 4}},
			[]nfs.Refusal{{Stat: nfs.GarbageArgs}}},
		{"a handle of 4 GiB", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: sys, Args: []byte{255, 255, 255, 255, 1, 2, 3, 4}},
			[]nfs.Refusal{{Stat: nfs.GarbageArgs}}},
		{"RPC version 3", nfs.Call{RPC: 3, Program: nfs.ProgramNFS, Version: 3, Cred: sys}, []nfs.Refusal{{Denied: true, Stat: nfs.RPCMismatch, Low: 2, High: 2}}},
		{"a flavor that is none", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: nfs.Auth{Flavor: 99}, Args: getattr(root)},
			[]nfs.Refusal{{Denied: true, Stat: nfs.AuthError, Auth: 1}, {Denied: true, Stat: nfs.AuthError, Auth: 2}, {Denied: true, Stat: nfs.AuthError, Auth: 5}}},
		{"17 groups", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: nfs.Sys("x", 0, 0, make([]uint32, 17)...), Args: getattr(root)},
			[]nfs.Refusal{{Denied: true, Stat: nfs.AuthError, Auth: 1}}},
		{"a machine with a long name", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: nfs.Sys(strings.Repeat("x", 300), 0, 0), Args: getattr(root)},
			[]nfs.Refusal{{Denied: true, Stat: nfs.AuthError, Auth: 1}}},
		{"half a credential", nfs.Call{RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: nfs.Auth{Flavor: nfs.FlavorSys, Body: []byte{0, 0, 0, 0}}, Args: getattr(root)},
			[]nfs.Refusal{{Denied: true, Stat: nfs.AuthError, Auth: 1}}},
	} {
		x.call.XID = c.Conn.XID()
		_, _, err := c.Conn.Do(x.call)
		var got *nfs.Refusal
		if !errors.As(err, &got) || !slices.Contains(x.want, *got) {
			t.Errorf("%s: %v, want one of %+v", x.name, err, x.want)
		}
	}
	// Nobody needs a name to ask whether the server is there.
	c.Cred = nfs.Auth{}
	must(t, c.Null())
	must(t, c.MountNull())
	// Without a name one is nobody, or is turned away.
	closed := made(t, c.As(0, 0).Mkdir(root, "closed", nfs.Mode(0o700)))
	r := c.Readdir(closed, 0, nfs.Verifier{}, 8192)
	var refused *nfs.Refusal
	if r.Want(nfs.ErrAcces) != nil && !(errors.As(r.Err, &refused) && refused.Denied) {
		t.Errorf("a closed directory for a client without a name: %v, %v", r.Status, r.Err)
	}
}

// getattr is the arguments of GETATTR: a handle.
func getattr(h nfs.FH) []byte {
	b := append([]byte{0, 0, 0, byte(len(h))}, h...)
	return append(b, make([]byte, -len(b)&3)...)
}
