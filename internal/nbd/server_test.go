package nbd

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"varve/internal/fail"
)

func tcpBuffers(t *testing.T, c *client, n int) {
	t.Helper()
	if err := c.nc.(*net.TCPConn).SetReadBuffer(n); err != nil {
		t.Fatal(err)
	}
}

// A client that sends half a request and no more holds up nobody, and the
// backend does not see what it sent.
func TestStalledRequest(t *testing.T) {
	d := newMemDisk("d", 4<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	for _, n := range []int{4096, 1 << 20} {
		stalled := connect(t, addr, "d", false)
		whole := requestBytes(request{cmd: cmdWrite, cookie: 9, n: uint32(n)}, pattern(n, 3))
		stalled.send(whole[:len(whole)/2])
		other := connect(t, addr, "d", false)
		for range 100 {
			if a := other.do(request{cmd: cmdWrite, off: 2 << 20, n: 4096}, make([]byte, 4096)); a.code != 0 {
				t.Fatalf("the other client's write: %+v", a)
			}
		}
		if a := other.do(request{cmd: cmdRead, n: uint32(n)}, nil); !bytes.Equal(a.data, make([]byte, n)) {
			t.Error("half a write can be read")
		}
		stalled.send(whole[len(whole)/2:])
		if a := stalled.reply(0, 0); a.code != 0 || a.cookie != 9 {
			t.Errorf("the write, when it was complete: %+v", a)
		}
		if a := other.do(request{cmd: cmdRead, n: uint32(n)}, nil); !bytes.Equal(a.data, pattern(n, 3)) {
			t.Error("the whole write cannot be read")
		}
		other.do(request{cmd: cmdTrim, n: 2 << 20}, nil)
	}
}

// Who holds memory of the server and does nothing with it is cut off.
func TestStallTimeout(t *testing.T) {
	d := newMemDisk("d", 32<<20)
	s, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{StallTimeout: 50 * time.Millisecond})

	const n = inPlace + 1
	whole := requestBytes(request{cmd: cmdWrite, n: n}, make([]byte, n))
	idle := connect(t, addr, "d", false)
	idle.send(whole[:n/2])
	eventually(t, "the first half to arrive", func() bool { return s.Clients()[0].Requests == 1 })
	idle.send(whole[n/2:])
	idle.reply(0, 0)

	sender := connect(t, addr, "d", false)
	sender.send(requestBytes(request{cmd: cmdWrite, n: n}, make([]byte, 1000)))
	sender.expectEnd()

	reader := connect(t, addr, "d", false)
	tcpBuffers(t, reader, 4096)
	for range 4 {
		reader.request(request{cmd: cmdRead, n: 16 << 20}, nil)
	}
	eventually(t, "the server to cut the connection", func() bool { return len(s.Clients()) == 1 })

	// With nothing in flight one may take one's time.
	if a := idle.do(request{cmd: cmdFlush}, nil); a.code != 0 {
		t.Errorf("flush after a pause: %+v", a)
	}
	if !s.memory.TryAcquire(s.opt.Memory) {
		t.Error("memory of the connections that were cut is lost")
	}
}

// A client that asks and does not read the replies is not read from beyond
// its share of memory; it holds up neither the others nor the workers, and
// gets everything when it reads at last.
func TestSlowReader(t *testing.T) {
	for _, cold := range []bool{false, true} {
		d := newMemDisk("d", 4<<20)
		copy(d.data, pattern(4<<20, 5))
		d.cold.Store(cold)
		s, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{Workers: 2})
		slow := connect(t, addr, "d", false)
		const asked = 24 // of 4 MiB: more than connMemory and the socket's buffers
		for i := range uint64(asked) {
			slow.request(request{cmd: cmdRead, cookie: i, n: 4 << 20}, nil)
		}
		eventually(t, "the slow client's share to be used up", func() bool {
			free := s.memory.TryAcquire(s.opt.Memory - connMemory + 1)
			if free {
				s.memory.Release(s.opt.Memory - connMemory + 1)
			}
			return !free
		})
		if !s.memory.TryAcquire(s.opt.Memory - connMemory) {
			t.Fatal("the slow client has more than its share")
		}
		s.memory.Release(s.opt.Memory - connMemory)
		other := connect(t, addr, "d", false)
		for range 100 {
			if a := other.do(request{cmd: cmdRead, n: 4096}, nil); a.code != 0 {
				t.Fatalf("the other client's read: %+v", a)
			}
		}
		seen := map[uint64]bool{}
		for range asked {
			a := slow.reply(0, 4<<20)
			if a.code != 0 || seen[a.cookie] || !bytes.Equal(a.data, d.data) {
				t.Fatalf("a late reply is wrong, or came twice: cookie %d, code %d", a.cookie, a.code)
			}
			seen[a.cookie] = true
		}
		eventually(t, "all memory to be free again", func() bool { return s.memory.TryAcquire(s.opt.Memory) })
	}
}

// A second reply buffer that turned out not to be needed is given back before
// the reader goes to sleep.
func TestUnusedReplyBuffer(t *testing.T) {
	s := New(&memBackend{}, Options{})
	c := newConn(s, &script{in: bytes.NewReader(nil)})
	c.fixed = true // and in the writer's hands
	if _, err := c.room(100); err != nil {
		t.Fatal(err)
	}
	if c.own.TryAcquire(connShare) {
		t.Fatal("the buffer is not paid for")
	}
	c.flushReplies()
	if !c.own.TryAcquire(connShare) {
		t.Error("the buffer is kept")
	}
}

// The server-wide budget makes large requests wait, not small ones.
func TestMemoryBudget(t *testing.T) {
	d := newMemDisk("d", 32<<20)
	d.writeGate = make(chan struct{})
	d.entered = make(chan string, 4)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{Memory: connMemory})
	var big []*client
	for range 3 {
		c := connect(t, addr, "d", false)
		big = append(big, c)
		go c.nc.Write(requestBytes(request{cmd: cmdWrite, n: maxPayload}, make([]byte, maxPayload)))
	}
	<-d.entered
	<-d.entered
	small := connect(t, addr, "d", false)
	for range 100 {
		if a := small.do(request{cmd: cmdRead, n: 4096}, nil); a.code != 0 {
			t.Fatalf("small read: %+v", a)
		}
	}
	select {
	case <-d.entered:
		t.Fatal("three times 32 MiB fit into 64")
	default:
	}
	for range big {
		d.writeGate <- struct{}{}
	}
	for _, c := range big {
		if a := c.reply(0, 0); a.code != 0 {
			t.Errorf("large write: %+v", a)
		}
	}
}

// With one worker, a connection with few slow reads need not wait for all of
// one with many.
func TestWorkersTakeTurns(t *testing.T) {
	a, b := newMemDisk("a", 1<<20), newMemDisk("b", 1<<20)
	for _, d := range []*memDisk{a, b} {
		d.cold.Store(true)
		d.readGate = make(chan struct{})
		d.entered = make(chan string, 10)
	}
	s, addr := startServer(t, &memBackend{disks: []*memDisk{a, b}}, Options{Workers: 1})
	many, few := connect(t, addr, "a", false), connect(t, addr, "b", false)
	for i := range uint64(8) {
		many.request(request{cmd: cmdRead, cookie: i, n: 512}, nil)
	}
	<-a.entered
	eventually(t, "the many to be there", func() bool { return s.Clients()[0].Requests+s.Clients()[1].Requests == 8 })
	few.request(request{cmd: cmdRead, n: 512}, nil)
	eventually(t, "both to wait for the worker", func() bool {
		return s.workers.Lines() > 1
	})
	done := 0
	for waiting := true; waiting; {
		select {
		case <-b.entered:
			waiting = false
		case a.readGate <- struct{}{}:
			done++
		}
	}
	if done > 2 {
		t.Errorf("%d reads of one client came before the other's turn", done)
	}
	close(b.readGate)
	close(a.readGate)
	few.reply(0, 512)
	for range 8 {
		many.reply(0, 512)
	}
}

// Shutdown lets what is in flight finish, and its replies go out.
func TestShutdownDrains(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	d.cold.Store(true)
	d.readGate = make(chan struct{})
	d.flushGate = make(chan struct{})
	d.entered = make(chan string, 10)
	s, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := connect(t, addr, "d", false)
	idle := connect(t, addr, "d", false)
	half := connect(t, addr, "d", false)
	half.send(requestBytes(request{cmd: cmdWrite, n: 1 << 19}, make([]byte, 1000)))
	negotiating := dial(t, addr)
	negotiating.greet(flagFixedNewstyle)
	p := requestBytes(request{cmd: cmdWrite, flags: flagFUA, cookie: 1, n: 3}, []byte("abc"))
	c.send(append(p, requestBytes(request{cmd: cmdRead, cookie: 2, n: 3}, nil)...))
	<-d.entered
	<-d.entered

	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }()
	for _, other := range []*client{idle, half, negotiating} {
		other.expectEnd()
	}
	if nc, err := net.Dial("tcp", addr); err == nil {
		newClient(t, nc).expectEnd()
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v before the requests in flight", err)
	default:
	}
	d.flushGate <- struct{}{}
	if a := c.reply(0, 0); a.cookie != 1 || a.code != 0 {
		t.Errorf("write: %+v", a)
	}
	d.readGate <- struct{}{}
	if a := c.reply(0, 3); a.cookie != 2 || string(a.data) != "abc" {
		t.Errorf("read: %+v", a)
	}
	c.expectEnd()
	c.nc.Close()
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if d.opens.Load() != d.closes.Load() {
		t.Errorf("%d disks opened, %d closed", d.opens.Load(), d.closes.Load())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !fail.Is(err, fail.Canceled) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestShutdownEndsHard(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	d.flushGate = make(chan struct{})
	d.entered = make(chan string, 1)
	s, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := connect(t, addr, "d", false)
	c.request(request{cmd: cmdFlush}, nil)
	<-d.entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !fail.Is(err, fail.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	c.expectEnd()
	if d.closes.Load() != 0 {
		t.Error("the disk was closed under a flush")
	}
	close(d.flushGate)
}

func TestKick(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	d.cold.Store(true)
	d.readGate = make(chan struct{})
	d.entered = make(chan string, 1)
	b := &memBackend{disks: []*memDisk{d}}
	_, addr := startServer(t, b, Options{})
	c, other := connect(t, addr, "d", false), connect(t, addr, "d", false)
	c.request(request{cmd: cmdRead, n: 512}, nil)
	<-d.entered
	b.kicks[0]()
	b.kicks[0]()
	c.expectEnd()
	if d.closes.Load() != 0 {
		t.Error("the disk was closed under a read")
	}
	close(d.readGate)
	eventually(t, "the disk to be closed", func() bool { return d.closes.Load() == 1 })
	if a := other.do(request{cmd: cmdFlush}, nil); a.code != 0 {
		t.Errorf("the other client: %+v", a)
	}
}

// kickingBackend kicks a client before its Open has returned.
type kickingBackend struct{ *memBackend }

func (b kickingBackend) Open(ctx context.Context, name string, c Client, kick func()) (Disk, error) {
	kick()
	<-ctx.Done()
	return b.memBackend.Open(ctx, name, c, kick)
}

func TestKickDuringOpen(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	_, addr := startServer(t, kickingBackend{&memBackend{disks: []*memDisk{d}}}, Options{})
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	c.send(optionBytes(optGo, infoRequest("d")))
	c.expectEnd()
	eventually(t, "the disk to be closed", func() bool { return d.opens.Load() == 1 && d.closes.Load() == 1 })
}
