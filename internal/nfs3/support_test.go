package nfs3

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

const waitLimit = 20 * time.Second // for what should take no time at all

// world is a pool with one share, "home", that everyone may write to.
type world struct {
	t     testing.TB
	store segstore.Store
	e     *engine.Engine
	f     *fs.FS
	root  []byte // handle
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: mem.New(16<<20, 1<<30)}
	w.ok(engine.Format(w.store, time.Now(), rand.NewChaCha8([32]byte{1})))
	w.open()
	_, err := w.e.CreateShare(engine.Caller{}, "home", 0o777, 0, 0)
	w.ok(err)
	w.root = w.rootOf("home")
	t.Cleanup(w.close)
	return w
}

func (w *world) rootOf(share string) []byte {
	w.t.Helper()
	s, err := w.f.Share(share)
	w.ok(err)
	h := w.f.Encode(fs.Handle{Dataset: s.ID, Ino: 2})
	return h[:]
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.e, err = engine.Open(engine.Options{Store: w.store})
	w.ok(err)
	w.f = fs.New(w.e, fs.Options{Location: time.UTC})
}

func (w *world) close() {
	w.f.Close()
	w.ok(w.e.Close(context.Background()))
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) set(key, value string) {
	w.t.Helper()
	_, err := w.e.Set(engine.Caller{}, "home", key, value)
	w.ok(err)
}

// serve starts a server of the world until the test ends.
func (w *world) serve(o Options) (*Server, string) {
	w.t.Helper()
	return serve(w.t, New(w.f, w.e, o))
}

// connect starts a server of the world and returns a client of it.
func (w *world) connect() *client {
	w.t.Helper()
	_, addr := w.serve(Options{})
	return dial(w.t, addr)
}

func serve(t testing.TB, s *Server) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() { stop(t, s, served) })
	return s, l.Addr().String()
}

func stop(t testing.TB, s *Server, served chan error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// eventually waits for a condition that comes true by itself.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// client is a small client that takes nothing on trust.
type client struct {
	t    testing.TB
	nc   net.Conn
	r    *bufio.Reader
	xid  uint32
	cred []byte // flavor and body
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(3 * waitLimit))
	return &client{t: t, nc: nc, r: bufio.NewReaderSize(nc, 2<<20), xid: rand.Uint32(), cred: sysCred(0, 0)}
}

// sysCred is an AUTH_SYS credential with its flavor.
func sysCred(uid, gid uint32, groups ...uint32) []byte {
	b := put32(nil, 77)
	b = putOpaque(b, "tester")
	b = put32(put32(b, uid), gid)
	b = put32(b, uint32(len(groups)))
	for _, g := range groups {
		b = put32(b, g)
	}
	return putOpaque(put32(nil, authSys), b)
}

// callBytes is a call as one fragment.
func callBytes(xid, prog, vers, proc uint32, cred, args []byte) []byte {
	b := put32(nil, 0)
	b = put32(put32(put32(b, xid), msgCall), rpcVersion)
	b = put32(put32(put32(b, prog), vers), proc)
	b = append(b, cred...)
	b = put64(b, authNone)
	return seal(append(b, args...))
}

// send sends a call and returns its XID.
func (c *client) send(proc uint32, args []byte) uint32 {
	c.t.Helper()
	c.xid++
	c.write(callBytes(c.xid, progNFS, versNFS, proc, c.cred, args))
	return c.xid
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

// record receives one reply.
func (c *client) record() []byte {
	c.t.Helper()
	var mark [4]byte
	if _, err := io.ReadFull(c.r, mark[:]); err != nil {
		c.t.Fatalf("waiting for a reply: %v", err)
	}
	n := be.Uint32(mark[:])
	if n&lastFragment == 0 || n&^lastFragment > 2<<20 {
		c.t.Fatalf("a fragment %08x", n)
	}
	p := make([]byte, n&^lastFragment)
	if _, err := io.ReadFull(c.r, p); err != nil {
		c.t.Fatalf("within a reply: %v", err)
	}
	return p
}

// reply is what follows the head of an accepted reply.
type reply struct {
	t    testing.TB
	xid  uint32
	stat uint32 // accept status
	decoder
}

func (c *client) reply() *reply {
	c.t.Helper()
	r := &reply{t: c.t, decoder: decoder{p: c.record()}}
	r.xid = r.u32()
	if r.u32() != msgReply || r.u32() != 0 || r.u64() != 0 {
		c.t.Fatal("not an accepted reply")
	}
	r.stat = r.u32()
	return r
}

// call makes a call of any program and returns its reply.
func (c *client) call(prog, vers, proc uint32, args []byte) *reply {
	c.t.Helper()
	c.xid++
	c.write(callBytes(c.xid, prog, vers, proc, c.cred, args))
	r := c.reply()
	if r.xid != c.xid {
		c.t.Fatalf("reply to %d, want %d", r.xid, c.xid)
	}
	return r
}

// nfs makes a call of NFS and checks its status.
func (c *client) nfs(proc uint32, args []byte, want status) *reply {
	c.t.Helper()
	r := c.call(progNFS, versNFS, proc, args)
	r.want(want)
	return r
}

func (r *reply) want(want status) {
	r.t.Helper()
	if got := status(r.u32()); r.stat != rpcSuccess || got != want {
		r.t.Fatalf("accept status %d, NFS status %d; want %d", r.stat, got, want)
	}
}

// end checks that nothing follows.
func (r *reply) end() {
	r.t.Helper()
	if r.bad || len(r.p) != 0 {
		r.t.Fatalf("a reply that is too short (%v), or %d bytes too long", r.bad, len(r.p))
	}
}

// attrs is an fattr3.
type attrs struct {
	typ, mode, nlink, uid, gid     uint32
	size, used, rdev, fsid, fileID uint64
	atime, mtime, ctime            int64
}

func (r *reply) attrs() (a attrs) {
	a = attrs{typ: r.u32(), mode: r.u32(), nlink: r.u32(), uid: r.u32(), gid: r.u32(),
		size: r.u64(), used: r.u64(), rdev: r.u64(), fsid: r.u64(), fileID: r.u64()}
	a.atime, a.mtime, a.ctime = r.time(), r.time(), r.time()
	return a
}

func (r *reply) time() int64 { return int64(r.u32())*1e9 + int64(r.u32()) }

// post takes attributes that must be there.
func (r *reply) post() attrs {
	r.t.Helper()
	if !r.flag() {
		r.t.Fatal("attributes are missing")
	}
	return r.attrs()
}

// wcc takes a wcc_data that must be whole.
func (r *reply) wcc() attrs {
	r.t.Helper()
	if !r.flag() {
		r.t.Fatal("attributes before the call are missing")
	}
	r.u64()
	r.time()
	r.time()
	return r.post()
}

// made takes the result of a CREATE and the like.
func (r *reply) made() ([]byte, attrs) {
	r.t.Helper()
	if !r.flag() {
		r.t.Fatal("the handle is missing")
	}
	h := r.opaque(maxHandle)
	a := r.post()
	r.wcc()
	r.end()
	return h, a
}

// Arguments.

func fh(h []byte) []byte                 { return putOpaque(nil, h) }
func dirop(h []byte, name string) []byte { return putOpaque(fh(h), name) }
func noAttrs(p []byte) []byte            { return append(p, make([]byte, 24)...) }
func modeAttr(p []byte, mode uint32) []byte {
	return append(put32(put32(p, 1), mode), make([]byte, 20)...)
}
func sizeAttr(p []byte, size uint64) []byte {
	return put64(put64(append(put32(p, 0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), size), 0)
}
func readArgs(h []byte, off uint64, n uint32) []byte {
	return put32(put64(fh(h), off), n)
}

func writeArgs(h []byte, off uint64, stable uint32, data []byte) []byte {
	p := put32(put32(put64(fh(h), off), uint32(len(data))), stable)
	return putOpaque(p, data)
}

func createArgs(dir []byte, name string, how uint32) []byte {
	return put32(dirop(dir, name), how)
}

// make creates a file with content and returns its handle.
func (c *client) make(dir []byte, name string, content []byte) []byte {
	c.t.Helper()
	h, _ := c.nfs(procCreate, modeAttr(createArgs(dir, name, createGuarded), 0o644), nfsOK).made()
	for off := 0; off < len(content); off += maxIO {
		c.nfs(procWrite, writeArgs(h, uint64(off), unstable, content[off:min(off+maxIO, len(content))]), nfsOK)
	}
	return h
}

// pattern is n bytes that are easy to tell apart.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>12) ^ byte(i)*31 ^ seed
	}
	return p
}
