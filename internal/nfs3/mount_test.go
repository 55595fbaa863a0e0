package nfs3

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fs"
)

func (c *client) mount(path string, want status) []byte {
	c.t.Helper()
	r := c.call(progMount, 3, mountMnt, putOpaque(nil, path))
	r.want(want)
	if want != nfsOK {
		r.end()
		return nil
	}
	h := r.opaque(maxHandle)
	if n := r.u32(); n != 2 || r.u32() != authSys || r.u32() != authNone {
		c.t.Errorf("%d flavors", n)
	}
	r.end()
	return h
}

func TestMount(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	d, _ := c.nfs(procMkdir, modeAttr(dirop(w.root, "d"), 0o700), nfsOK).made()
	e, _ := c.nfs(procMkdir, noAttrs(dirop(d, "e")), nfsOK).made()
	c.make(d, "f", nil)
	_, err := w.e.Snapshot(engine.Caller{}, "home", "s1")
	w.ok(err)
	_, err = w.e.CreateVolume(engine.Caller{}, "disk", 1<<20)
	w.ok(err)
	c.cred = sysCred(1000, 1000)
	for path, want := range map[string][]byte{"/home": w.root, "home": w.root, "/home///": w.root, "/home/d": d, "/home/d//e/": e, "/home/d/../d/e": e} {
		if got := c.mount(path, nfsOK); string(got) != string(want) {
			t.Errorf("%s: another handle", path)
		}
	}
	for _, path := range []string{"/home@s1", "/home@s1/d/e", "/home/.snapshot/s1/d", "/home/d/.snapshot/s1"} {
		h := c.mount(path, nfsOK)
		c.cred = sysCred(0, 0)
		c.nfs(procMkdir, noAttrs(dirop(h, "new")), errROFS)
		c.cred = sysCred(1000, 1000)
	}
	for path, want := range map[string]status{
		"": errNoEnt, "/": errNoEnt, "/other": errNoEnt, "/home/x": errNoEnt, "/home/d/f": errNotDir, "/home/d/f/": errNotDir,
		"/home@nope": errNoEnt, "/home/../home": errNoEnt, "/disk": errInval, "/home/\x00": errInval, "/" + strings.Repeat("x", 900): errNoEnt,
		"/home/" + strings.Repeat("x", 300): errNameTooLong,
	} {
		c.mount(path, want)
	}
	if r := c.call(progMount, 3, mountMnt, putOpaque(nil, strings.Repeat("x", 1025))); r.stat != rpcGarbageArgs {
		t.Errorf("a path of 1025 bytes: accept status %d", r.stat)
	}
	c.call(progMount, 3, mountUmnt, putOpaque(nil, "/home/d/")).end()
	if got := c.dump(); slices.Contains(got, "127.0.0.1:/home/d") || !slices.Contains(got, "127.0.0.1:/home@s1") {
		t.Errorf("DUMP: %q", got)
	}
	c.call(progMount, 1, mountUmntall, nil).end()
	if got := c.dump(); len(got) != 0 {
		t.Errorf("DUMP after UMNTALL: %q", got)
	}
}

// Whoever runs the server finds in its log why a client cannot mount.
func TestNotMountedIsLogged(t *testing.T) {
	w := newWorld(t)
	var said bytes.Buffer
	s, addr := w.serve(Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	c := dial(t, addr)
	_, err := w.e.CreateShare(engine.Caller{}, "others", 0o777, 0, 0)
	w.ok(err)
	_, err = w.e.Set(engine.Caller{}, "others", propClients, "10.1.2.3")
	w.ok(err)
	c.mount("/nothere", errNoEnt)
	c.mount("/others", errAcces)
	c.mount("/home", nfsOK)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`path=/nothere reason="no dataset nothere;`, `path=/others reason="127.0.0.1 is not among the clients of share others; varve set others clients=`} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &said)
		}
	}
	if n := strings.Count(said.String(), "nfs: not mounted"); n != 2 {
		t.Errorf("%d refusals in the log, want 2", n)
	}
}

func (c *client) dump() (out []string) {
	r := c.call(progMount, 3, mountDump, nil)
	for r.flag() {
		out = append(out, string(r.opaque(255))+":"+string(r.opaque(1024)))
	}
	r.end()
	return out
}

func (c *client) exports() (out []string) {
	r := c.call(progMount, 3, mountExport, nil)
	for r.flag() {
		line := string(r.opaque(1024))
		for r.flag() {
			line += " " + string(r.opaque(255))
		}
		out = append(out, line)
	}
	r.end()
	return out
}

func TestExports(t *testing.T) {
	w := newWorld(t)
	_, err := w.e.CreateShare(engine.Caller{}, "other", 0o777, 0, 0)
	w.ok(err)
	c := w.connect()
	if got := c.exports(); !slices.Equal(got, []string{"/home 127.0.0.1 ::1", "/other 127.0.0.1 ::1"}) {
		t.Errorf("%q", got)
	}
	w.set("clients", "10.0.0.0/8,fd00::1")
	if got := c.exports(); !slices.Equal(got, []string{"/other 127.0.0.1 ::1"}) {
		t.Errorf("%q", got)
	}
	// Who is not allowed has no use of a handle either.
	c.mount("/home", errAcces)
	for proc := uint32(procGetattr); proc < nfsProcs; proc++ {
		if r := c.call(progNFS, versNFS, proc, anyArgs(proc, w.root)); r.stat != rpcSuccess || status(r.u32()) != errAcces {
			t.Errorf("procedure %d is allowed", proc)
		}
	}
	w.set("clients", "127.0.0.0/8")
	c.nfs(procGetattr, fh(w.root), nfsOK)
	w.set("access", "ro")
	c.nfs(procMkdir, noAttrs(dirop(w.root, "d")), errROFS).wcc()
	w.set("access", "")
	c.nfs(procMkdir, noAttrs(dirop(w.root, "d")), nfsOK)
}

// anyArgs are arguments of a procedure that are in form.
func anyArgs(proc uint32, h []byte) []byte {
	switch proc {
	case procSetattr:
		return putFlag(noAttrs(fh(h)), false)
	case procLookup, procRemove, procRmdir:
		return dirop(h, "n")
	case procAccess:
		return put32(fh(h), 1)
	case procRead, procCommit:
		return readArgs(h, 0, 10)
	case procWrite:
		return writeArgs(h, 0, 0, []byte("abc"))
	case procCreate:
		return noAttrs(createArgs(h, "n", createUnchecked))
	case procMkdir:
		return noAttrs(dirop(h, "n"))
	case procSymlink:
		return putOpaque(noAttrs(dirop(h, "n")), "target")
	case procMknod:
		return noAttrs(put32(dirop(h, "n"), 7))
	case procRename:
		return append(dirop(h, "n"), dirop(h, "m")...)
	case procLink:
		return append(fh(h), dirop(h, "n")...)
	case procReaddir:
		return dirArgs(h, 0, 1000)
	case procReaddirplus:
		return dirPlusArgs(h, 0, 1000, 1000)
	}
	return fh(h)
}

func TestSquash(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	owner := func(name string) (uid, gid uint32) {
		_, a := c.nfs(procMkdir, noAttrs(dirop(w.root, name)), nfsOK).made()
		return a.uid, a.gid
	}
	for i, x := range []struct {
		squash, clients string
		cred            []byte
		uid, gid        uint32
	}{
		{"", "", sysCred(0, 0), 0, 0},
		{"", "", sysCred(1000, 100), 1000, 100},
		{"", "", put64(nil, 0), 65534, 65534}, // AUTH_NONE
		{"root", "", sysCred(0, 0), 65534, 65534},
		{"root", "", sysCred(1000, 0), 1000, 65534},
		{"all", "", sysCred(1000, 100), 65534, 65534},
		{"", "127.0.0.1,10.0.0.0/8", sysCred(0, 0), 65534, 65534},
		{"none", "127.0.0.1,10.0.0.0/8", sysCred(0, 0), 0, 0},
	} {
		w.set("squash", x.squash)
		w.set("clients", x.clients)
		c.cred = x.cred
		if uid, gid := owner(string(rune('a' + i))); uid != x.uid || gid != x.gid {
			t.Errorf("%+v: %d %d", x, uid, gid)
		}
	}
	w.set("squash", "all")
	w.set("anonuid", "77")
	w.set("anongid", "78")
	if uid, gid := owner("anon"); uid != 77 || gid != 78 {
		t.Errorf("%d %d", uid, gid)
	}
}

func TestRule(t *testing.T) {
	for _, bad := range []map[string]string{
		{"clients": "localhost"}, {"clients": "10.0.0.0/33"}, {"clients": "fe80::1%eth0"}, {"clients": ","},
		{"clients": strings.Repeat("10.0.0.1,", maxClients) + "10.0.0.2"},
		{"access": "rx"}, {"squash": "some"}, {"anonuid": "-1"}, {"anongid": "4294967296"},
	} {
		if r, err := parseRule(bad); err == nil {
			t.Errorf("%.40v is taken as %+v", bad, r)
		}
		r := ruleOf(bad)
		if r.allows(netip.MustParseAddr("127.0.0.1")) {
			t.Errorf("%.40v allows", bad)
		}
	}
	r, err := parseRule(map[string]string{"clients": "192.168.1.77/24, ::ffff:10.0.0.0/104,fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"192.168.1.1:1": true, "192.168.2.1:1": false, "[::ffff:192.168.1.9]:1": true, "10.9.9.9:1": true,
		"[fd12::1]:1": true, "[fd12::1%eth0]:1": true, "[fe80::1]:1": false, "127.0.0.1:1": false, "pipe": false,
	} {
		if r.allows(addrOf(addr)) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
	for clients, want := range map[string]squash{
		"": squashNone, "127.0.0.1": squashNone, "127.0.0.0/8,::1": squashNone, "::1/128": squashNone,
		"127.0.0.0/7": squashRoot, "::1/64": squashRoot, "0.0.0.0/0": squashRoot, "127.0.0.1,10.0.0.1": squashRoot,
	} {
		if r, err := parseRule(map[string]string{"clients": clients}); err != nil || r.squash != want {
			t.Errorf("%q: squash %d, %v", clients, r.squash, err)
		}
	}
	var cred fs.Cred
	h := header{sys: true, uid: 5, gid: 0, groups: [16]uint32{0, 7, 0}, ngroups: 3}
	(&rule{squash: squashRoot, uid: 1, gid: 2}).become(&cred, &h)
	if cred.UID != 5 || cred.GID != 2 || !slices.Equal(cred.Groups, []uint32{2, 7, 2}) {
		t.Errorf("%+v", cred)
	}
}
