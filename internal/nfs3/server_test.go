package nfs3

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"varve/internal/engine"
)

func TestReadWrite(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	data := pattern(3<<20+77, 1)
	h := c.make(w.root, "f", data)
	for _, x := range []struct {
		off  uint64
		n    uint32
		want []byte
		eof  bool
	}{
		{1 << 20, 1 << 20, data[1<<20 : 2<<20], false},
		{0, 1, data[:1], false},
		{1 << 20, 1 << 30, data[1<<20 : 2<<20], false}, // more than rtmax
		{3 << 20, 4096, data[3<<20:], true},
		{3<<20 + 77, 4096, nil, true},
		{1<<64 - 2, 4096, nil, true},
		{5, 0, nil, false},
	} {
		r := c.nfs(procRead, readArgs(h, x.off, x.n), nfsOK)
		if a := r.post(); a.size != uint64(len(data)) {
			t.Errorf("size %d", a.size)
		}
		if n, eof := r.u32(), r.flag(); int(n) != len(x.want) || eof != x.eof {
			t.Errorf("read of %d at %d: %d bytes, eof %v", x.n, x.off, n, eof)
		}
		if got := r.opaque(maxIO); !bytes.Equal(got, x.want) {
			t.Errorf("read of %d at %d: other bytes", x.n, x.off)
		}
		r.end()
	}
}

func TestWriteStability(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	h := c.make(w.root, "f", nil)
	var verifier uint64
	for how := uint32(unstable); how <= fileSync; how++ {
		r := c.nfs(procWrite, writeArgs(h, uint64(how)*3, how, []byte("abc")), nfsOK)
		if a := r.wcc(); a.size != uint64(how+1)*3 {
			t.Errorf("size %d", a.size)
		}
		n, stable := r.u32(), r.u32()
		if n != 3 || stable < how {
			t.Errorf("%d bytes, stable %d of %d", n, stable, how)
		}
		if v := r.u64(); verifier != 0 && v != verifier {
			t.Error("the verifier changed")
		} else {
			verifier = v
		}
		r.end()
	}
	r := c.nfs(procCommit, readArgs(h, 0, 0), nfsOK)
	r.wcc()
	if r.u64() != verifier {
		t.Error("COMMIT has another verifier")
	}
	r.end()
	if got := w.e.Status(); got.DurableLSN != got.LastLSN {
		t.Errorf("durable up to %d of %d", got.DurableLSN, got.LastLSN)
	}
	c.nfs(procCommit, readArgs([]byte("no handle"), 0, 0), errBadHandle)
	short := put32(put32(put64(fh(h), 0), 1), fileSync+1)
	if r := c.call(progNFS, versNFS, procWrite, putOpaque(short, "x")); r.stat != rpcGarbageArgs {
		t.Errorf("stability 3: accept status %d", r.stat)
	}
}

func TestWriteBounds(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	h := c.make(w.root, "f", nil)
	c.nfs(procWrite, writeArgs(h, 1<<64-2, unstable, []byte("abc")), errFBig).wcc()
	c.nfs(procWrite, writeArgs(h, 1<<63-2, unstable, []byte("abc")), errFBig).wcc()
	r := c.nfs(procWrite, writeArgs(h, 7, unstable, nil), nfsOK)
	if r.wcc(); r.u32() != 0 {
		t.Error("an empty write wrote")
	}
	// A call longer than wtmax is written as far as that goes.
	data := pattern(maxIO+5000, 3)
	r = c.nfs(procWrite, writeArgs(h, 0, unstable, data), nfsOK)
	if a := r.wcc(); a.size != maxIO {
		t.Errorf("size %d", a.size)
	}
	if n := r.u32(); n != maxIO {
		t.Errorf("%d bytes written", n)
	}
	c.nfs(procWrite, writeArgs(w.root, 0, unstable, []byte("abc")), errIsDir).wcc()
	c.nfs(procWrite, writeArgs(h, 0, unstable, []byte("abc")), nfsOK)
}

func TestAttributes(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	h := c.make(w.root, "f", []byte("hello"))
	r := c.nfs(procGetattr, fh(h), nfsOK)
	a := r.attrs()
	r.end()
	if a.typ != 1 || a.mode != 0o644 || a.size != 5 || a.nlink != 1 || a.mtime == 0 {
		t.Errorf("%+v", a)
	}
	const when = 1234567890_123456789
	set := put32(put32(nil, 1), 0o600)          // mode
	set = put64(set, 0)                         // neither owner nor group
	set = put64(put32(set, 1), 3)               // size
	set = put32(set, timeServer)                // atime
	set = putTime(put32(set, timeClient), when) // mtime
	args := append(fh(h), set...)
	r = c.nfs(procSetattr, putFlag(args, false), nfsOK)
	if a = r.wcc(); a.mode != 0o600 || a.size != 3 || a.mtime != when || a.atime == when {
		t.Errorf("%+v", a)
	}
	r.end()
	guard := func(ctime int64) []byte { return putTime(putFlag(noAttrs(fh(h)), true), ctime) }
	c.nfs(procSetattr, guard(a.ctime-1), errNotSync).wcc()
	c.nfs(procSetattr, guard(a.ctime), nfsOK).wcc()
	bad := put32(put32(append(fh(h), make([]byte, 20)...), timeClient), 1)
	c.nfs(procSetattr, putFlag(put32(bad, 1e9), false), errInval)
	if r := c.nfs(procAccess, put32(fh(h), 0x3f), nfsOK); r.post().mode != 0o600 || r.u32() != 0x0d {
		t.Error("ACCESS of root")
	}
	c.cred = sysCred(1000, 1000)
	if r := c.nfs(procAccess, put32(fh(h), 0x3f), nfsOK); r.post().mode != 0o600 || r.u32() != 0 {
		t.Error("ACCESS of another")
	}
	c.nfs(procRead, readArgs(h, 0, 9), errAcces).post()
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	d, a := c.nfs(procMkdir, modeAttr(dirop(w.root, "d"), 0o755), nfsOK).made()
	if a.typ != 2 || a.mode != 0o755 {
		t.Errorf("directory: %+v", a)
	}
	link, a := c.nfs(procSymlink, putOpaque(noAttrs(dirop(d, "l")), "../f"), nfsOK).made()
	if a.typ != 5 || a.size != 4 {
		t.Errorf("symlink: %+v", a)
	}
	r := c.nfs(procReadlink, fh(link), nfsOK)
	if r.post(); string(r.opaque(maxPath)) != "../f" {
		t.Error("target")
	}
	r.end()
	for typ, want := range map[uint32]uint32{3: 3, 4: 4, 6: 6, 7: 7} {
		args := noAttrs(put32(dirop(d, fmt.Sprint("n", typ)), typ))
		if typ < 6 {
			args = put32(put32(args, 8), 1)
		}
		if _, a = c.nfs(procMknod, args, nfsOK).made(); a.typ != want {
			t.Errorf("node: %+v", a)
		}
	}
	c.nfs(procMknod, put32(dirop(d, "x"), 1), errBadType).wcc()
	f := c.make(d, "f", nil)
	r = c.nfs(procLink, putOpaque(append(fh(f), fh(w.root)...), "g"), nfsOK)
	if a = r.post(); a.nlink != 2 {
		t.Errorf("link: %+v", a)
	}
	r.wcc()
	r.end()
	r = c.nfs(procRename, append(dirop(d, "f"), dirop(w.root, "h")...), nfsOK)
	r.wcc()
	r.wcc()
	r.end()
	r = c.nfs(procLookup, dirop(w.root, "h"), nfsOK)
	if got := r.opaque(maxHandle); !bytes.Equal(got, f) {
		t.Error("another handle after the rename")
	}
	r.post()
	r.post()
	r.end()
	r = c.nfs(procLookup, dirop(d, "f"), errNoEnt)
	r.post()
	r.end()
	c.nfs(procRmdir, dirop(w.root, "d"), errNotEmpty).wcc()
	c.nfs(procRmdir, dirop(w.root, "h"), errNotDir).wcc()
	c.nfs(procRemove, dirop(w.root, "d"), errIsDir).wcc()
	for _, name := range []string{"h", "g"} {
		c.nfs(procRemove, dirop(w.root, name), nfsOK).wcc()
	}
	c.nfs(procGetattr, fh(f), errStale)
	c.nfs(procLink, putOpaque(append(fh(f), fh(d)...), "g"), errStale)
	c.nfs(procReadlink, fh(d), errInval).post()
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	create := func(name string, how uint32, rest []byte) []byte {
		return append(createArgs(w.root, name, how), rest...)
	}
	exclusive := func(v uint64) []byte { return create("x", createExclusive, put64(nil, v)) }
	h, a := c.nfs(procCreate, exclusive(0x0123456789abcdef), nfsOK).made()
	if a.mode != 0o600 {
		t.Errorf("exclusive: mode %o", a.mode)
	}
	again, _ := c.nfs(procCreate, exclusive(0x0123456789abcdef), nfsOK).made()
	if !bytes.Equal(h, again) {
		t.Error("an exclusive create is not idempotent")
	}
	c.nfs(procCreate, exclusive(0x1123456789abcdef), errExist).wcc()
	c.nfs(procCreate, exclusive(0x0123456789abcdee), errExist).wcc()
	c.nfs(procCreate, create("x", createGuarded, modeAttr(nil, 0o644)), errExist).wcc()
	c.nfs(procWrite, writeArgs(h, 0, unstable, []byte("abc")), nfsOK)
	if again, a = c.nfs(procCreate, create("x", createUnchecked, noAttrs(nil)), nfsOK).made(); !bytes.Equal(h, again) || a.size != 3 {
		t.Error("an unchecked create of what is there")
	}
	empty := put64(put32(make([]byte, 12), 1), 0)
	if _, a = c.nfs(procCreate, create("x", createUnchecked, put64(empty, 0)), nfsOK).made(); a.size != 0 {
		t.Error("an unchecked create with size 0 leaves what is there")
	}
	if r := c.call(progNFS, versNFS, procCreate, create("y", 3, nil)); r.stat != rpcGarbageArgs {
		t.Errorf("mode 3: accept status %d", r.stat)
	}
}

func TestHostileNames(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	long := strings.Repeat("n", 256)
	c.make(w.root, long[:255], nil)
	for name, want := range map[string]status{
		"":                          errInval,
		"a/b":                       errInval,
		"/":                         errInval,
		"a\x00b":                    errInval,
		long:                        errNameTooLong,
		long + long:                 errNameTooLong,
		".":                         errExist,
		"..":                        errExist,
		strings.Repeat("/", 60_000): errNameTooLong,
	} {
		r := c.call(progNFS, versNFS, procMkdir, noAttrs(dirop(w.root, name)))
		got := status(r.u32())
		if r.stat != rpcSuccess || got == nfsOK || got != want && want != errExist && name != "" {
			t.Errorf("mkdir %.20q: accept status %d, status %d, want %d", name, r.stat, got, want)
		}
		r.wcc()
		r.end()
		for _, proc := range []uint32{procRemove, procRmdir} {
			if r := c.call(progNFS, versNFS, proc, dirop(w.root, name)); r.stat != rpcSuccess || status(r.u32()) == nfsOK {
				t.Errorf("procedure %d of %.20q", proc, name)
			}
		}
	}
	c.nfs(procLookup, dirop(w.root, long), errNameTooLong).post()
	c.nfs(procSymlink, putOpaque(noAttrs(dirop(w.root, "l")), strings.Repeat("t", 4096)), errNameTooLong).wcc()
	c.nfs(procSymlink, putOpaque(noAttrs(dirop(w.root, "l")), strings.Repeat("t", 4095)), nfsOK).made()
	r := c.nfs(procLookup, dirop(w.root, ".."), nfsOK)
	if !bytes.Equal(r.opaque(maxHandle), w.root) {
		t.Error("a way out of the share")
	}
}

func TestHandles(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	flip := func(i int) []byte {
		h := bytes.Clone(w.root)
		h[i] ^= 1
		return fh(h)
	}
	for i, want := range map[int]status{0: errBadHandle, 1: nfsOK, 4: errBadHandle, 14: errStale, 23: errStale, 24: errStale} {
		if i == 1 { // the .snapshot of the root
			c.nfs(procGetattr, flip(i), nfsOK)
			continue
		}
		c.nfs(procGetattr, flip(i), want)
	}
	for _, h := range []string{"", "x", strings.Repeat("h", 64)} {
		c.nfs(procGetattr, putOpaque(nil, h), errBadHandle)
	}
	if r := c.call(progNFS, versNFS, procGetattr, putOpaque(nil, strings.Repeat("h", 65))); r.stat != rpcGarbageArgs {
		t.Errorf("a handle of 65 bytes: accept status %d", r.stat)
	}
	_, err := w.e.CreateShare(engine.Caller{}, "other", 0o777, 0, 0)
	w.ok(err)
	other := w.rootOf("other")
	f := c.make(w.root, "f", nil)
	c.nfs(procLink, putOpaque(append(fh(f), fh(other)...), "g"), errXDev)
	c.nfs(procRename, append(dirop(w.root, "f"), dirop(other, "f")...), errXDev)
	_, err = w.e.Destroy(engine.Caller{}, "other", false)
	w.ok(err)
	c.nfs(procGetattr, fh(other), errStale)
}

func TestFilesystem(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	r := c.nfs(procFsinfo, fh(w.root), nfsOK)
	r.post()
	var got []uint32
	for range 7 {
		got = append(got, r.u32())
	}
	if got[0] != 1<<20 || got[3] != 1<<20 {
		t.Errorf("FSINFO: %v", got)
	}
	if r.u64() != 1<<63-1 || r.u64() != 1 || r.u32() != 0x1b {
		t.Error("FSINFO: file size, time or properties")
	}
	r.end()
	r = c.nfs(procPathconf, fh(w.root), nfsOK)
	if r.post(); r.u32() < 1000 || r.u32() != 255 || !r.flag() || !r.flag() || r.flag() || !r.flag() {
		t.Error("PATHCONF")
	}
	r.end()
	w.set("quota", "1048576")
	r = c.nfs(procFsstat, fh(w.root), nfsOK)
	if r.post(); r.u64() != 1<<20 || r.u64() > 1<<20 || r.u64() > 1<<20 || r.u64() == 0 || r.u64() == 0 || r.u64() == 0 || r.u32() != 0 {
		t.Error("FSSTAT")
	}
	r.end()
	h := c.make(w.root, "f", nil)
	c.nfs(procWrite, writeArgs(h, 0, unstable, make([]byte, 1<<20)), nfsOK)
	c.nfs(procWrite, writeArgs(h, 1<<20, unstable, make([]byte, 8192)), errDQuot).wcc()
}

func TestPast(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	h := c.make(w.root, "f", []byte("before"))
	_, err := w.e.Snapshot(engine.Caller{}, "home", "s1")
	w.ok(err)
	c.nfs(procWrite, writeArgs(h, 0, unstable, []byte("after!")), nfsOK)
	look := func(dir []byte, name string) []byte {
		return bytes.Clone(c.nfs(procLookup, dirop(dir, name), nfsOK).opaque(maxHandle))
	}
	f := look(look(look(w.root, ".snapshot"), "s1"), "f")
	r := c.nfs(procRead, readArgs(f, 0, 9), nfsOK)
	r.post()
	r.u64()
	if string(r.opaque(9)) != "before" {
		t.Error("the past has changed")
	}
	c.nfs(procWrite, writeArgs(f, 0, unstable, []byte("x")), errROFS)
	c.nfs(procCommit, readArgs(f, 0, 0), nfsOK)
}

func TestRPC(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for _, x := range []struct{ prog, vers, proc, want, low, high uint32 }{
		{progNFS, 3, 0, rpcSuccess, 0, 0},
		{progNFS, 3, 22, rpcNoProcedure, 0, 0},
		{progNFS, 2, 0, rpcMismatch, 3, 3},
		{progNFS, 4, 1, rpcMismatch, 3, 3},
		{progMount, 3, 0, rpcSuccess, 0, 0},
		{progMount, 2, 0, rpcSuccess, 0, 0},
		{progMount, 1, 1, rpcNoProcedure, 0, 0},
		{progMount, 3, 6, rpcNoProcedure, 0, 0},
		{progMount, 4, 0, rpcMismatch, 1, 3},
		{100227, 3, 0, rpcNoProgram, 0, 0}, // NFSACL
		{100021, 4, 0, rpcNoProgram, 0, 0}, // NLM
		{progPortmap, 2, 0, rpcNoProgram, 0, 0},
	} {
		r := c.call(x.prog, x.vers, x.proc, nil)
		if r.stat != x.want || x.want == rpcMismatch && (r.u32() != x.low || r.u32() != x.high) {
			t.Errorf("program %d version %d procedure %d: accept status %d", x.prog, x.vers, x.proc, r.stat)
		}
		r.end()
	}
	if r := c.call(progNFS, 3, procGetattr, []byte{0, 0, 0}); r.stat != rpcGarbageArgs {
		t.Errorf("garbage: accept status %d", r.stat)
	}
	for name, cred := range map[string][]byte{
		"GSS":             putOpaque(put32(nil, 6), "0123"),
		"TLS":             putOpaque(put32(nil, 7), ""),
		"17 groups":       sysCred(0, 0, make([]uint32, 17)...),
		"401 bytes":       putOpaque(put32(nil, authSys), make([]byte, 401)),
		"short AUTH_SYS":  putOpaque(put32(nil, authSys), make([]byte, 8)),
		"no machine name": putOpaque(put32(nil, authSys), put32(put32(nil, 0), 300)),
	} {
		c.write(callBytes(9, progNFS, versNFS, procNull, cred, nil))
		if d := (decoder{p: c.record()}); d.u32() != 9 || d.u32() != msgReply || d.u32() != 1 || d.u32() != 1 || d.u32() != authBadCred || len(d.p) != 0 {
			t.Errorf("%s: not an authentication error", name)
		}
	}
	p := callBytes(9, progNFS, versNFS, procNull, c.cred, nil)
	be.PutUint32(p[12:], 3)
	c.write(p)
	if d := (decoder{p: c.record()}); d.u32() != 9 || d.u32() != msgReply || d.u32() != 1 || d.u64() != 2 || d.u32() != 2 {
		t.Error("RPC version 3: not a mismatch")
	}
	c.write([]byte{0x80, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1}) // a reply
	c.expectEnd()
}

// expectEnd waits until the server closes the connection.
func (c *client) expectEnd() {
	c.t.Helper()
	if n, err := c.r.Read(make([]byte, 1)); err == nil {
		c.t.Fatalf("%d bytes instead of the end of the connection", n)
	}
}

func TestFragments(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	h := c.make(w.root, "f", nil)
	data := pattern(300_000, 9)
	for _, size := range []int{1_000, 70_000, 299_999, 1} {
		d := data
		if size == 1 {
			d = data[:100]
		}
		call := callBytes(uint32(size), progNFS, versNFS, procWrite, c.cred, writeArgs(h, 0, fileSync, d))[4:]
		var out []byte
		for len(call) > size {
			out = append(put32(out, uint32(size)), call[:size]...)
			call = call[size:]
		}
		out = append(put32(put32(out, 0), lastFragment|uint32(len(call))), call...)
		c.write(out)
		r := c.reply()
		if r.xid != uint32(size) {
			t.Fatalf("reply to %d", r.xid)
		}
		r.want(nfsOK)
		got := c.nfs(procRead, readArgs(h, 0, uint32(len(d))), nfsOK)
		got.post()
		got.u64()
		if !bytes.Equal(got.opaque(maxIO), d) {
			t.Errorf("fragments of %d: other bytes", size)
		}
	}
}

// Calls that are longer than anything sensible end the connection, and cost
// nothing until their bytes come.
func TestAbsurdFragments(t *testing.T) {
	w := newWorld(t)
	_, addr := w.serve(Options{})
	for name, p := range map[string][]byte{
		"2 GiB":         {0xff, 0xff, 0xff, 0xff},
		"17 MiB":        put32(nil, lastFragment|17<<20),
		"no last one":   put32(nil, 1<<30),
		"only empty":    make([]byte, 4*(maxFragments+2)),
		"many of 1 MiB": bytes.Repeat(append(put32(nil, 1<<20), make([]byte, 1<<20)...), 17),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr)
			go c.nc.Write(p)
			c.expectEnd()
		})
	}
}
