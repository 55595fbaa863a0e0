package nfs3

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
)

// hooked starts a server with hooks and returns a client and a file.
func hooked(t *testing.T, o Options) (w *world, h *hooks, s *Server, c *client, file []byte) {
	t.Helper()
	w = newWorld(t)
	h = newHooks(w.f)
	s, addr := serve(t, newServer(h, o))
	c = dial(t, addr)
	return w, h, s, c, c.make(w.root, "f", pattern(1<<20, 1))
}

// allFree checks that nothing of what is counted got lost.
func allFree(t *testing.T, s *Server) {
	t.Helper()
	eventually(t, "everything in flight to land", func() bool {
		if !s.flying.TryAcquire(int64(s.opt.MaxRequests)) {
			return false
		}
		s.flying.Release(int64(s.opt.MaxRequests))
		return true
	})
	eventually(t, "all memory to be free again", func() bool {
		if !s.memory.TryAcquire(s.opt.Memory) {
			return false
		}
		s.memory.Release(s.opt.Memory)
		return true
	})
}

// Calls that wait hold up no other of their connection, and replies that were
// ready before them go out.
func TestWaitingCalls(t *testing.T) {
	w, h, s, c, f := hooked(t, Options{})
	h.read.close()
	h.write.close()
	h.mkdir.close()
	xids := map[uint32]string{}
	batch := func(calls ...[]byte) { c.write(bytes.Join(calls, nil)) }
	call := func(proc uint32, args []byte) []byte {
		c.xid++
		return callBytes(c.xid, progNFS, versNFS, proc, c.cred, args)
	}
	for _, name := range []string{"read", "long read", "write", "long write", "mkdir"} {
		ready := call(procGetattr, fh(f))
		first := c.xid
		var waits []byte
		switch name {
		case "read":
			waits = call(procRead, readArgs(f, 0, 4096))
		case "long read":
			waits = call(procRead, readArgs(f, 0, 1<<20))
		case "write":
			waits = call(procWrite, writeArgs(f, 0, unstable, pattern(4096, 2)))
		case "long write":
			waits = call(procWrite, writeArgs(f, 0, fileSync, pattern(1<<20, 3)))
		case "mkdir":
			waits = call(procMkdir, noAttrs(dirop(w.root, "d")))
		}
		xids[c.xid] = name
		batch(ready, waits, call(procGetattr, fh(f)))
		for range 2 {
			if r := c.reply(); r.xid != first && r.xid != first+2 {
				t.Fatalf("%s: reply to %d, want %d and %d", name, r.xid, first, first+2)
			}
		}
	}
	for range 100 {
		c.nfs(procGetattr, fh(f), nfsOK)
	}
	h.read.open()
	h.write.open()
	h.mkdir.open()
	for range 5 {
		r := c.reply()
		r.want(nfsOK)
		if xids[r.xid] == "" {
			t.Errorf("a reply to %d", r.xid)
		}
		delete(xids, r.xid)
	}
	c.nc.Close()
	allFree(t, s)
}

// Many waiting calls of one connection are bounded, and do not hold up another.
func TestInFlight(t *testing.T) {
	_, h, s, c, f := hooked(t, Options{})
	h.read.close()
	const asked = 3 * maxInFlight
	go func() {
		for i := range uint32(asked) {
			c.nc.Write(callBytes(i, progNFS, versNFS, procRead, c.cred, readArgs(f, 0, 10)))
		}
	}()
	eventually(t, "as many as may to be in flight", func() bool {
		if s.flying.TryAcquire(int64(s.opt.MaxRequests) - maxInFlight + 1) {
			s.flying.Release(int64(s.opt.MaxRequests) - maxInFlight + 1)
			return false
		}
		return true
	})
	other := dial(t, c.nc.RemoteAddr().String())
	for range 100 {
		other.nfs(procGetattr, fh(f), nfsOK)
	}
	if n := len(h.read.entered); n > maxInFlight+1 {
		t.Errorf("%d calls at a time", n)
	}
	h.read.open()
	seen := map[uint32]bool{}
	for range asked {
		r := c.reply()
		r.want(nfsOK)
		if seen[r.xid] {
			t.Fatalf("two replies to %d", r.xid)
		}
		seen[r.xid] = true
	}
	c.nc.Close()
	allFree(t, s)
}

// After a call that took its time, others are given to the workers.
func TestSlowCallsRunSideBySide(t *testing.T) {
	_, h, s, c, f := hooked(t, Options{Workers: 8})
	h.read.close()
	c.send(procRead, readArgs(f, 0, 10))
	<-h.read.entered
	var calls []byte
	for i := range uint32(9) {
		calls = append(calls, callBytes(1000+i, progNFS, versNFS, procRead, c.cred, readArgs(f, uint64(i), 10))...)
	}
	c.write(calls)
	for range 9 {
		<-h.read.entered
	}
	h.read.open()
	for range 10 {
		c.reply().want(nfsOK)
	}
	c.nc.Close()
	allFree(t, s)
}

// What waits for a commit waits together, and a commit that fails is told.
func TestCommits(t *testing.T) {
	w, h, s, c, f := hooked(t, Options{})
	before := h.committed()
	h.commit.close()
	c.send(procMkdir, noAttrs(dirop(w.root, "first")))
	<-h.commit.entered
	const n = 50
	for i := range uint32(n) {
		c.write(callBytes(i, progNFS, versNFS, procWrite, c.cred, writeArgs(f, uint64(i), fileSync, []byte("x"))))
	}
	eventually(t, "all writes to wait", waitingCommits(s, n+1))
	h.commit.open()
	for range n + 1 {
		c.reply().want(nfsOK)
	}
	if got := h.committed() - before; got > 3 {
		t.Errorf("%d commits", got)
	}

	// The past is durable: a COMMIT of it must not stand for those of others.
	_, err := w.e.Snapshot(engine.Caller{}, "home", "s1")
	w.ok(err)
	past := c.mount("/home@s1", nfsOK)
	before = h.committed()
	c.nfs(procCommit, readArgs(past, 0, 0), nfsOK)
	if h.committed() != before {
		t.Error("a COMMIT of the past is one of the present")
	}

	h.failCommits(fail.New(fail.FailStopped, "the disk is gone"))
	mkdir := callBytes(7000, progNFS, versNFS, procMkdir, c.cred, noAttrs(dirop(w.root, "lost")))
	c.write(mkdir)
	r := c.reply()
	r.want(errIO)
	r.wcc()
	r.end()
	c.nfs(procCommit, readArgs(f, 0, 0), errIO).wcc()
	c.nfs(procWrite, writeArgs(f, 0, dataSync, []byte("x")), errIO).wcc()
	c.nfs(procWrite, writeArgs(f, 0, unstable, []byte("x")), nfsOK).wcc()
	c.nfs(procRead, readArgs(f, 0, 10), nfsOK)
	h.commit.close()
	c.send(procMkdir, noAttrs(dirop(w.root, "lost 2")))
	<-h.commit.entered
	c.send(procMkdir, noAttrs(dirop(w.root, "lost 3")))
	c.send(procCommit, readArgs(f, 0, 0))
	eventually(t, "all three to wait", waitingCommits(s, 3))
	h.commit.open()
	for range 3 {
		c.reply().want(errIO)
	}
	// What failed is not taken for done when it comes again.
	h.failCommits(nil)
	c.write(mkdir)
	c.reply().want(errExist)
	c.nc.Close()
	allFree(t, s)
}

// A client that asks and does not read the replies is not read from beyond its
// share of memory, and gets everything when it reads at last.
func TestSlowReader(t *testing.T) {
	_, _, s, c, f := hooked(t, Options{})
	const asked = 64 // MiB: more than it may have and the sockets hold
	for i := range uint32(asked) {
		c.write(callBytes(i, progNFS, versNFS, procRead, c.cred, readArgs(f, 0, 1<<20)))
	}
	slow := anyConn(s)
	eventually(t, "its share to be used up", func() bool { return !slow.own.TryAcquire(1<<20) || release(slow) })
	other := dial(t, c.nc.RemoteAddr().String())
	for range 100 {
		other.nfs(procGetattr, fh(f), nfsOK)
	}
	if n := slow.requests.Load(); n >= asked {
		t.Errorf("all of %d calls were taken", n)
	}
	want := pattern(1<<20, 1)
	seen := map[uint32]bool{}
	for range asked {
		r := c.reply()
		r.want(nfsOK)
		r.post()
		r.u64()
		if !bytes.Equal(r.opaque(maxIO), want) || seen[r.xid] {
			t.Fatal("a late reply is wrong, or came twice")
		}
		seen[r.xid] = true
	}
	c.nc.Close()
	other.nc.Close()
	allFree(t, s)
}

// anyConn returns the connection that a server has.
func anyConn(s *Server) (c *conn) {
	for _, c = range s.conns.All() {
	}
	return c
}

func release(c *conn) bool {
	c.own.Release(1 << 20)
	return false
}

// Who stops within a long call, or takes no replies, is cut off.
func TestStall(t *testing.T) {
	_, _, s, c, f := hooked(t, Options{StallTimeout: 50 * time.Millisecond})
	time.Sleep(100 * time.Millisecond) // with nothing in flight one may take one's time
	c.nfs(procGetattr, fh(f), nfsOK)
	addr := c.nc.RemoteAddr().String()
	half := dial(t, addr)
	half.write(callBytes(1, progNFS, versNFS, procWrite, c.cred, writeArgs(f, 0, unstable, make([]byte, 1<<20)))[:5000])
	half.expectEnd()
	deaf := dial(t, addr)
	deaf.nc.(*net.TCPConn).SetReadBuffer(4096)
	for i := range uint32(32) {
		deaf.nc.Write(callBytes(i, progNFS, versNFS, procRead, c.cred, readArgs(f, 0, 1<<20)))
	}
	eventually(t, "the server to cut it off", func() bool { return len(s.Clients()) == 1 })
	c.nfs(procGetattr, fh(f), nfsOK)
	c.nc.Close()
	allFree(t, s)
}

func TestShutdownDrains(t *testing.T) {
	w := newWorld(t)
	h := newHooks(w.f)
	s := newServer(h, Options{})
	_, addr := serve(t, s)
	c, idle := dial(t, addr), dial(t, addr)
	f := c.make(w.root, "f", []byte("hello"))
	idle.nfs(procGetattr, fh(f), nfsOK)
	h.read.close()
	c.send(procRead, readArgs(f, 0, 10))
	<-h.read.entered
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	idle.expectEnd()
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v before the call in flight", err)
	default:
	}
	h.read.open()
	c.reply().want(nfsOK)
	c.expectEnd()
	c.nc.Close()
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsHard(t *testing.T) {
	w := newWorld(t)
	h := newHooks(w.f)
	s := newServer(h, Options{})
	_, addr := serve(t, s)
	c := dial(t, addr)
	h.mkdir.close()
	c.send(procMkdir, noAttrs(dirop(w.root, "d")))
	<-h.mkdir.entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !fail.Is(err, fail.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	c.expectEnd()
	h.mkdir.open()
}

// When there are too many connections, one that has been idle gives way; one
// that is in use does not.
func TestMaxConns(t *testing.T) {
	w := newWorld(t)
	s, addr := w.serve(Options{MaxConns: 2})
	a, b := dial(t, addr), dial(t, addr)
	for _, c := range []*client{a, b} {
		c.call(progNFS, versNFS, procNull, nil)
	}
	dial(t, addr).expectEnd()
	s.idle(a)
	dial(t, addr).call(progNFS, versNFS, procNull, nil)
	a.expectEnd()
	b.call(progNFS, versNFS, procNull, nil)
}

func TestObserve(t *testing.T) {
	w := newWorld(t)
	type seen struct {
		op    string
		bytes int
		kind  fail.Kind
	}
	got := make(chan seen, 10)
	_, addr := w.serve(Options{Observe: func(op string, d time.Duration, bytes int, err error) {
		got <- seen{op, bytes, fail.KindOf(err)}
	}})
	c := dial(t, addr)
	f := c.make(w.root, "f", []byte("hello"))
	c.nfs(procRead, readArgs(f, 0, 100), nfsOK)
	c.nfs(procLookup, dirop(w.root, "g"), errNoEnt)
	c.mount("/home", nfsOK)
	for _, want := range []seen{{"create", 0, 0}, {"write", 5, 0}, {"read", 5, 0}, {"lookup", 0, fail.NotFound}, {"mount.mnt", 0, 0}} {
		if g := <-got; g != want {
			t.Errorf("%+v, want %+v", g, want)
		}
	}
}

// dawdling are files that take their time, now and then.
type dawdling struct{ files }

func dawdle() {
	if n := rand.IntN(40); n < 4 {
		time.Sleep(time.Duration(n) * time.Millisecond)
	}
}

func (d dawdling) Getattr(c *fs.Call, f fs.Handle) (fs.Attr, error) {
	dawdle()
	return d.files.Getattr(c, f)
}

func (d dawdling) Read(c *fs.Call, f fs.Handle, p []byte, off uint64) (int, bool, fs.Attr, error) {
	dawdle()
	n, eof, a, err := d.files.Read(c, f, p, off)
	dawdle()
	return n, eof, a, err
}

// TryRead finds that it would have to wait now and then, and too late at that.
func (d dawdling) TryRead(c *fs.Call, f fs.Handle, p []byte, off uint64) (bool, int, bool, fs.Attr, error) {
	dawdle()
	if rand.IntN(3) == 0 {
		return false, 0, false, fs.Attr{}, nil
	}
	return d.files.TryRead(c, f, p, off)
}

func (d dawdling) Write(c *fs.Call, f fs.Handle, p []byte, off uint64) (fs.Wcc, uint64, error) {
	dawdle()
	return d.files.Write(c, f, p, off)
}

func (d dawdling) Commit(lsn uint64, f fs.Handle) error {
	dawdle()
	return d.files.Commit(lsn, f)
}

// However long calls take, each is answered once, with its own bytes.
func TestAnyOrder(t *testing.T) {
	w := newWorld(t)
	s, addr := serve(t, newServer(dawdling{w.f}, Options{Workers: 4}))
	c := dial(t, addr)
	data := pattern(4<<20, 6)
	f, g := c.make(w.root, "f", data), c.make(w.root, "g", nil)
	const calls = 3000
	check := make([]func(*reply), calls)
	var out []byte
	ask := func(xid, proc uint32, args []byte, f func(*reply)) {
		check[xid] = f
		out = append(out, callBytes(xid, progNFS, versNFS, proc, c.cred, args)...)
	}
	written := make([]byte, calls*100)
	for xid := range uint32(calls) {
		off, n := rand.Uint64N(3<<20), []uint32{1, 4096, 70_000, 400_000}[rand.IntN(4)*int(xid%7)/6]
		switch rand.IntN(4) {
		case 0:
			ask(xid, procGetattr, fh(f), func(r *reply) {
				if a := r.attrs(); a.size != uint64(len(data)) {
					t.Errorf("size %d", a.size)
				}
			})
		case 1, 2:
			ask(xid, procRead, readArgs(f, off, n), func(r *reply) {
				r.post()
				r.u64()
				if !bytes.Equal(r.opaque(maxIO), data[off:off+uint64(n)]) {
					t.Errorf("read of %d at %d: other bytes", n, off)
				}
			})
		case 3:
			p := written[xid*100:][:100]
			copy(p, pattern(100, byte(xid)))
			ask(xid, procWrite, writeArgs(g, uint64(xid)*100, xid%3, p), func(r *reply) { r.wcc() })
		}
	}
	go c.nc.Write(out)
	for range calls {
		r := c.reply()
		if r.xid >= calls || check[r.xid] == nil {
			t.Fatalf("a reply to %d, or two", r.xid)
		}
		r.want(nfsOK)
		check[r.xid](r)
		check[r.xid] = nil
	}
	end := c.nfs(procGetattr, fh(g), nfsOK).attrs().size
	r := c.nfs(procRead, readArgs(g, 0, maxIO), nfsOK)
	r.post()
	r.u64()
	if !bytes.Equal(r.opaque(maxIO), written[:end]) {
		t.Error("what was written is not what is read")
	}
	c.nc.Close()
	allFree(t, s)
}
