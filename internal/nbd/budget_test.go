package nbd

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/outbox"
)

// smallBudget serves a cold disk of 32 MiB with the least shared memory there
// can be: two requests of 32 MiB use it up.
func smallBudget(t *testing.T, stall time.Duration) (*Server, string) {
	d := newMemDisk("d", maxPayload)
	d.cold.Store(true)
	return startServer(t, &memBackend{disks: []*memDisk{d}}, Options{Memory: connMemory, StallTimeout: stall})
}

// stallSending connects n clients that send a WRITE of 32 MiB up to some byte.
func stallSending(t *testing.T, addr string, n, sent int) (list []*client) {
	t.Helper()
	p := requestBytes(request{cmd: cmdWrite, n: maxPayload}, make([]byte, sent))
	for range n {
		c := connect(t, addr, "d", false)
		list = append(list, c)
		c.send(p)
	}
	return list
}

// stallReading connects n clients that ask for 32 MiB twice and take nothing.
func stallReading(t *testing.T, addr string, n int) (list []*client) {
	t.Helper()
	for range n {
		c := connect(t, addr, "d", false)
		tcpBuffers(t, c, 4096)
		list = append(list, c)
		for i := range uint64(2) {
			c.request(request{cmd: cmdRead, cookie: i, n: maxPayload}, nil)
		}
	}
	return list
}

func (s *Server) usedUp() bool {
	free := s.memory.TryAcquire(1)
	if free {
		s.memory.Release(1)
	}
	return !free
}

// Clients that stall and have used up the shared memory make nobody wait whose
// requests are of ordinary size.
func TestStalledClientsHoldUpNobody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fills bool
		stall func(t *testing.T, addr string)
	}{
		{"writers that sent next to nothing", false, func(t *testing.T, addr string) { stallSending(t, addr, 20, 1000) }},
		{"writers that sent 1 MiB", true, func(t *testing.T, addr string) { stallSending(t, addr, 20, 1<<20) }},
		{"readers", true, func(t *testing.T, addr string) { stallReading(t, addr, 8) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, addr := smallBudget(t, 0)
			tt.stall(t, addr)
			if tt.fills {
				eventually(t, "the shared memory to be used up", s.usedUp)
			}
			c := connect(t, addr, "d", false)
			timed := func(what string, r request, payload []byte) {
				t.Helper()
				start := time.Now()
				if a := c.do(r, payload); a.code != 0 {
					t.Errorf("%s: %+v", what, a)
				}
				if d := time.Since(start); d > time.Second+time.Duration(len(payload)>>20)*100*time.Millisecond {
					t.Errorf("%s took %v", what, d)
				}
			}
			for range 3 {
				timed("128 KiB write", request{cmd: cmdWrite, n: 128 << 10}, make([]byte, 128<<10))
				timed("1 MiB write", request{cmd: cmdWrite, n: 1 << 20}, make([]byte, 1<<20))
				timed("cold 4 KiB read", request{cmd: cmdRead, n: 4096}, nil)
				timed("cold 1 MiB read", request{cmd: cmdRead, n: 1 << 20}, nil)
				timed("flush", request{cmd: cmdFlush}, nil)
				timed("write with FUA", request{cmd: cmdWrite, flags: flagFUA, n: 4096}, make([]byte, 4096))
			}
			if s.usedUp() != tt.fills {
				t.Errorf("shared memory used up: %v", !tt.fills)
			}
			if !tt.fills {
				timed("32 MiB write", request{cmd: cmdWrite, n: maxPayload}, make([]byte, maxPayload))
			}
		})
	}
}

// A request that waits for its connection's own share waits for its own
// replies to be taken, and then goes on.
func TestOwnShareIsEnough(t *testing.T) {
	s, addr := smallBudget(t, 0)
	if !s.memory.TryAcquire(s.opt.Memory) {
		t.Fatal("shared memory in use")
	}
	defer s.memory.Release(s.opt.Memory)
	c := connect(t, addr, "d", false)
	const asked = 32
	go func() {
		for i := range uint64(asked) {
			c.nc.Write(requestBytes(request{cmd: cmdRead, cookie: i, n: 1 << 20}, nil))
			c.nc.Write(requestBytes(request{cmd: cmdFlush, cookie: asked + i}, nil))
		}
	}()
	pending := map[uint64]request{}
	for i := range uint64(asked) {
		pending[i] = request{cmd: cmdRead, cookie: i, n: 1 << 20}
		pending[asked+i] = request{cmd: cmdFlush, cookie: asked + i}
	}
	for len(pending) > 0 {
		a := c.anyReply(pending)
		if a.code != 0 {
			t.Fatalf("%+v", a)
		}
		delete(pending, a.cookie)
	}
}

// Who holds shared memory may be slow as long as nobody waits for it, and is
// soon cut off when somebody does, although it makes some progress.
func TestSlowWriterIsCutOff(t *testing.T) {
	const stall = 200 * time.Millisecond
	s, addr := smallBudget(t, stall)
	slow := stallSending(t, addr, 2, 1<<20)
	eventually(t, "the shared memory to be used up", s.usedUp)
	trickle := func(c *client, d time.Duration) error {
		for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if _, err := c.nc.Write(make([]byte, 1)); err != nil {
				return err
			}
		}
		return nil
	}
	first, second := make(chan error, 2), make(chan error, 2)
	for _, c := range slow {
		go func() {
			first <- trickle(c, 5*stall)
			second <- trickle(c, patience)
		}()
	}
	for range slow {
		if err := <-first; err != nil {
			t.Fatalf("cut off although nobody waits: %v", err)
		}
	}
	if !s.usedUp() {
		t.Fatal("the shared memory is free again")
	}
	c := connect(t, addr, "d", false)
	if a := c.do(request{cmd: cmdWrite, n: maxPayload}, make([]byte, maxPayload)); a.code != 0 {
		t.Errorf("%+v", a)
	}
	if err := <-second; err == nil {
		t.Error("no slow writer was cut off")
	}
	for _, c := range slow { // the other one may have been cut off, too
		c.nc.Close()
	}
	<-second
}

// The same for one that takes its replies slowly, here while they stand behind
// one that is not shared memory.
func TestSlowReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&memBackend{}, Options{Memory: connMemory})
		near, far := net.Pipe()
		slow, other := newConn(s, near), newConn(s, &script{in: bytes.NewReader(nil)})
		go slow.out.Run()
		defer slow.out.Close()
		for _, n := range []int{connShare, maxPayload, maxPayload} {
			b, err := slow.take(n)
			if err != nil {
				t.Fatal(err)
			}
			b.To += n
			slow.out.Add(b)
		}
		cut := make(chan time.Time, 1)
		go func() {
			for p := make([]byte, 1024); ; time.Sleep(10 * time.Millisecond) {
				if _, err := far.Read(p); err != nil {
					cut <- time.Now()
					return
				}
			}
		}()
		time.Sleep(5 * time.Second)
		if len(cut) > 0 {
			t.Fatal("cut off although nobody waits")
		}
		start := time.Now()
		b, err := other.take(maxPayload)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > outbox.HurryTime || (<-cut).Sub(start) > outbox.HurryTime {
			t.Errorf("waited %v", waited)
		}
		other.Free(b)
		synctest.Wait()
		if !s.memory.TryAcquire(s.opt.Memory) || !slow.own.TryAcquire(connShare) || slow.held.Load() != 0 {
			t.Error("memory of the slow reader is lost")
		}
	})
}

// Progress does not put off the end of a batch of replies for ever.
func TestTrickledRepliesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&memBackend{}, Options{})
		near, far := net.Pipe()
		c := newConn(s, near)
		go c.out.Run()
		defer c.out.Close()
		b, err := c.take(connShare)
		if err != nil {
			t.Fatal(err)
		}
		b.To += connShare
		start := time.Now()
		c.out.Add(b)
		for {
			if _, err := far.Read(make([]byte, 1)); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		took, most := time.Since(start), s.opt.StallTimeout+connShare/outbox.StallRate*time.Second
		if took < most || took > most+time.Second {
			t.Errorf("a batch of 1 MiB was given up after %v, not %v", took, most)
		}
		if !c.own.TryAcquire(connShare) {
			t.Error("its memory is lost")
		}
	})
}
