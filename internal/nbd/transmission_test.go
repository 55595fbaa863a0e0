package nbd

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/internal/fail"
)

func pattern(n int, seed uint64) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(p)
	return p
}

// bothWays runs a test with simple and with structured replies.
func bothWays(t *testing.T, f func(t *testing.T, structured bool)) {
	t.Run("simple", func(t *testing.T) { f(t, false) })
	t.Run("structured", func(t *testing.T) { f(t, true) })
}

func TestReadWrite(t *testing.T) {
	bothWays(t, func(t *testing.T, structured bool) {
		const size = 40 << 20
		d := newMemDisk("d", size)
		_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
		c := connect(t, addr, "d", structured)
		model := make([]byte, size)
		off := uint64(17)
		for i, n := range []int{1, 512, 4096, 4097, inPlace, inPlace + 1, bufferSize - dataHead,
			bufferSize - simpleSize, bufferSize, 1<<20 + 5, maxPayload} {
			for _, cold := range []bool{false, true} {
				if cold && n == maxPayload {
					continue // long enough once
				}
				d.cold.Store(cold)
				p := pattern(n, uint64(i))
				copy(model[off:], p)
				if a := c.do(request{cmd: cmdWrite, cookie: 1, off: off, n: uint32(n)}, p); a.code != 0 {
					t.Fatalf("write of %d: %+v", n, a)
				}
				a := c.do(request{cmd: cmdRead, cookie: 2, off: off, n: uint32(n)}, nil)
				if a.code != 0 || !bytes.Equal(a.data, p) {
					t.Fatalf("read of %d at %d, cold %v: wrong bytes, code %d", n, off, cold, a.code)
				}
				if n > 1<<20 {
					continue
				}
				// Around it, so that holes and edges are seen, too.
				from := off &^ 0xffff
				m := uint32(n) + 100_000
				a = c.do(request{cmd: cmdRead, cookie: 3, off: from, n: m}, nil)
				if !bytes.Equal(a.data, model[from:from+uint64(m)]) {
					t.Fatalf("read of %d at %d, cold %v: wrong bytes", m, from, cold)
				}
				if structured && a.holes == 0 {
					t.Errorf("read of %d at %d: no hole reported", m, from)
				}
			}
			off += uint64(n) + 3*blockSize
		}
		if !d.holds(model) {
			t.Error("the disk holds something else")
		}
	})
}

func TestDontFragment(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := connect(t, addr, "d", true)
	c.do(request{cmd: cmdWrite, off: 8192, n: 5}, []byte("hello"))
	for _, cold := range []bool{false, true} {
		d.cold.Store(cold)
		a := c.do(request{cmd: cmdRead, n: 20480}, nil)
		if a.holes != 2 || a.data1 != 1 {
			t.Errorf("cold %v: %d holes and %d pieces of data, want 2 and 1", cold, a.holes, a.data1)
		}
		a = c.do(request{cmd: cmdRead, flags: flagDF, n: 20480}, nil)
		if a.holes != 0 || a.data1 != 1 || string(a.data[8192:8197]) != "hello" {
			t.Errorf("cold %v, DF: %d holes and %d pieces of data, want 0 and 1", cold, a.holes, a.data1)
		}
	}
}

func TestCommands(t *testing.T) {
	bothWays(t, func(t *testing.T, structured bool) {
		d := newMemDisk("d", 1<<20)
		_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
		c := connect(t, addr, "d", structured)
		ok := func(what string, r request, payload []byte) {
			t.Helper()
			if a := c.do(r, payload); a.code != 0 {
				t.Fatalf("%s: %+v", what, a)
			}
		}
		ok("write", request{cmd: cmdWrite, n: 1 << 16}, pattern(1<<16, 1))
		ok("trim", request{cmd: cmdTrim, off: 4096, n: 8192}, nil)
		ok("zero", request{cmd: cmdWriteZeroes, flags: flagFastZero, off: 16384, n: 4096}, nil)
		ok("zero, no hole", request{cmd: cmdWriteZeroes, flags: flagNoHole, off: 20480, n: 4096}, nil)
		ok("cache", request{cmd: cmdCache, n: 1 << 20}, nil)
		d.mu.RLock()
		for i, want := range []bool{true, false, false, true, false, true, true} {
			if d.stored[i] != want {
				t.Errorf("block %d stored: %v", i, d.stored[i])
			}
		}
		d.mu.RUnlock()
		if d.caches.Load() != 1 {
			t.Errorf("%d calls of Cache", d.caches.Load())
		}
		if d.flushes.Load() != 0 {
			t.Error("a flush that nobody asked for")
		}
		ok("flush", request{cmd: cmdFlush}, nil)
		if d.flushes.Load() != 1 || d.volatile.Load() != 0 {
			t.Errorf("%d flushes, %d changes volatile", d.flushes.Load(), d.volatile.Load())
		}
	})
}

func TestFUA(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := connect(t, addr, "d", false)
	for _, cmd := range []uint16{cmdWrite, cmdTrim, cmdWriteZeroes} {
		var payload []byte
		if cmd == cmdWrite {
			payload = pattern(4096, 1)
		}
		before := d.flushes.Load()
		if a := c.do(request{cmd: cmd, flags: flagFUA, n: 4096}, payload); a.code != 0 {
			t.Errorf("%s: %+v", cmdNames[cmd], a)
		}
		if d.flushes.Load() != before+1 || d.volatile.Load() != 0 {
			t.Errorf("%s with FUA was answered before it was durable", cmdNames[cmd])
		}
	}
	for _, cmd := range []uint16{cmdRead, cmdCache, cmdFlush} {
		if a := c.do(request{cmd: cmd, flags: flagFUA, n: 4096}, nil); a.code != 0 {
			t.Errorf("%s: %+v", cmdNames[cmd], a)
		}
	}
}

// A pipelined FUA or FLUSH is answered after a Flush that began after it came,
// and does not hold up what follows it.
func TestCommitsDoNotHoldUpReads(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	d.flushGate = make(chan struct{})
	d.entered = make(chan string, 10)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := connect(t, addr, "d", false)
	var p []byte
	p = append(p, requestBytes(request{cmd: cmdWrite, flags: flagFUA, cookie: 1, n: 4}, []byte("abcd"))...)
	p = append(p, requestBytes(request{cmd: cmdRead, cookie: 2, n: 4}, nil)...)
	c.send(p)
	a := c.reply(0, 4)
	if a.cookie != 2 || string(a.data) != "abcd" {
		t.Fatalf("the first reply is %+v, want the READ's", a)
	}
	<-d.entered

	// Two more while the flush is under way share the next one.
	p = requestBytes(request{cmd: cmdFlush, cookie: 3}, nil)
	p = append(p, requestBytes(request{cmd: cmdWrite, flags: flagFUA, cookie: 4, n: 4}, []byte("efgh"))...)
	p = append(p, requestBytes(request{cmd: cmdRead, cookie: 5, n: 4}, nil)...)
	c.send(p)
	if a := c.reply(0, 4); a.cookie != 5 || string(a.data) != "efgh" {
		t.Fatalf("the second reply is %+v, want the READ's", a)
	}
	d.flushGate <- struct{}{}
	if a := c.reply(0, 0); a.cookie != 1 || a.code != 0 {
		t.Fatalf("%+v, want the reply to the first commit alone", a)
	}
	<-d.entered
	d.flushGate <- struct{}{}
	for want := uint64(3); want <= 4; want++ {
		if a := c.reply(0, 0); a.cookie != want || a.code != 0 {
			t.Fatalf("%+v, want the reply to %d", a, want)
		}
	}
	if n := d.flushes.Load(); n != 2 {
		t.Errorf("%d flushes, want 2", n)
	}
	if d.volatile.Load() != 0 {
		t.Error("answered before it was durable")
	}
}

// A write that has to wait holds up no read of its connection. What changes the disk
// behind it, and a FLUSH, wait for it, and happen in order.
func TestWritesDoNotHoldUpReads(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	d.writeGate = make(chan struct{})
	d.entered = make(chan string, 10)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	defer close(d.writeGate)
	c := connect(t, addr, "d", false)
	read := func(cookie uint64) {
		t.Helper()
		if a := c.do(request{cmd: cmdRead, cookie: cookie, n: 4096}, nil); a.code != 0 || !bytes.Equal(a.data, make([]byte, 4096)) {
			t.Fatalf("a read beside a write that waits: code %d, %q", a.code, a.data[:8])
		}
	}
	answered := func(cookie uint64, flushes int64) {
		t.Helper()
		if a := c.reply(0, 0); a.code != 0 || a.cookie != cookie {
			t.Fatalf("%+v, want the reply to %d", a, cookie)
		}
		if got := d.flushes.Load(); got < flushes {
			t.Errorf("%d flushes when %d was answered, want at least %d", got, cookie, flushes)
		}
	}
	c.request(request{cmd: cmdWrite, cookie: 1, flags: flagFUA, n: 4096}, pattern(4096, 1))
	read(100)
	<-d.entered
	c.request(request{cmd: cmdTrim, cookie: 2, n: 8192}, nil)
	c.request(request{cmd: cmdWrite, cookie: 3, n: 100_000}, pattern(100_000, 3))
	c.request(request{cmd: cmdFlush, cookie: 4}, nil)
	c.request(request{cmd: cmdWriteZeroes, cookie: 5, off: 4096, n: 4096}, nil)
	read(101)
	if d.volatile.Load() != 0 || d.flushes.Load() != 0 {
		t.Error("something overtook the write")
	}
	d.writeGate <- struct{}{}
	answered(1, 1)
	answered(2, 1)
	<-d.entered
	d.writeGate <- struct{}{}
	answered(3, 1)
	answered(4, 2)
	answered(5, 2)
	want := append(pattern(100_000, 3), make([]byte, 1<<20-100_000)...)
	clear(want[4096:8192])
	if !d.holds(want) {
		t.Error("the disk holds something else")
	}

	c.request(request{cmd: cmdWrite, cookie: 6, off: 1 << 19, n: 5}, []byte("hello")) // is not lost at the end
	c.request(request{cmd: cmdDisc}, nil)
	<-d.entered
	d.writeGate <- struct{}{}
	answered(6, 2)
	c.expectEnd()
	if copy(want[1<<19:], "hello"); !d.holds(want) {
		t.Error("the last write is lost")
	}
}

func TestRequestErrors(t *testing.T) {
	bothWays(t, func(t *testing.T, structured bool) {
		_, addr := startServer(t, twoDisks(), Options{})
		const size = 1 << 20
		rw := connect(t, addr, "disk0", structured)
		ro := connect(t, addr, "disk1@noon", structured)
		df := uint16(0)
		if structured {
			df = flagDF
		}
		tooLong := map[bool]uint32{false: nbdEINVAL, true: nbdEOVERFLOW}[structured]
		for _, tt := range []struct {
			name string
			c    *client
			r    request
			want uint32
		}{
			{"unknown command", rw, request{cmd: 99, n: 4}, nbdEINVAL},
			{"BLOCK_STATUS without a context", rw, request{cmd: 7, n: 4}, nbdEINVAL},
			{"unknown flag", rw, request{cmd: cmdRead, flags: 1 << 9, n: 4}, nbdEINVAL},
			{"PAYLOAD_LEN", rw, request{cmd: cmdWrite, flags: 1 << 5, n: 4}, nbdEINVAL},
			{"DF on a write", rw, request{cmd: cmdWrite, flags: flagDF, n: 4096}, nbdEINVAL},
			{"NO_HOLE on a trim", rw, request{cmd: cmdTrim, flags: flagNoHole, n: 4096}, nbdEINVAL},
			{"FAST_ZERO on a write", rw, request{cmd: cmdWrite, flags: flagFastZero, n: 100_000}, nbdEINVAL},
			{"read of nothing", rw, request{cmd: cmdRead}, nbdEINVAL},
			{"write of nothing", rw, request{cmd: cmdWrite}, nbdEINVAL},
			{"trim of nothing", rw, request{cmd: cmdTrim}, nbdEINVAL},
			{"read past the end", rw, request{cmd: cmdRead, off: size - 1, n: 2}, nbdEINVAL},
			{"read far past the end", rw, request{cmd: cmdRead, off: 1<<64 - 1, n: 2}, nbdEINVAL},
			{"write past the end", rw, request{cmd: cmdWrite, off: size - 1, n: 2}, nbdENOSPC},
			{"write at 2^64-1", rw, request{cmd: cmdWrite, off: 1<<64 - 1, n: 300_000}, nbdENOSPC},
			{"zero past the end", rw, request{cmd: cmdWriteZeroes, off: 1, n: size}, nbdENOSPC},
			{"trim past the end", rw, request{cmd: cmdTrim, off: 1, n: 1<<32 - 1}, nbdEINVAL},
			{"cache past the end", rw, request{cmd: cmdCache, off: size, n: 1}, nbdEINVAL},
			{"read too long", rw, request{cmd: cmdRead, flags: df, n: maxPayload + 1}, tooLong},
			{"write too long", rw, request{cmd: cmdWrite, n: maxPayload + 1}, nbdEINVAL},
			{"the longest write that is skipped", rw, request{cmd: cmdWrite, n: maxSkip}, nbdEINVAL},
			{"write, read-only", ro, request{cmd: cmdWrite, n: 70_000}, nbdEPERM},
			{"trim, read-only", ro, request{cmd: cmdTrim, n: 4}, nbdEPERM},
			{"zero, read-only", ro, request{cmd: cmdWriteZeroes, n: 4}, nbdEPERM},
		} {
			tt.r.cookie = 0xfeedface
			var payload []byte
			if tt.r.cmd == cmdWrite {
				payload = make([]byte, tt.r.n)
			}
			tt.c.request(tt.r, payload)
			a := tt.c.errorReply(tt.r)
			if a.code != tt.want || a.cookie != tt.r.cookie {
				t.Errorf("%s: %+v, want code %d", tt.name, a, tt.want)
			}
			if structured && a.msg == "" {
				t.Errorf("%s: no message", tt.name)
			}
			if a := tt.c.do(request{cmd: cmdRead, cookie: 1, off: 5, n: 7}, nil); a.code != 0 {
				t.Fatalf("%s: a read after it: %+v", tt.name, a)
			}
		}
	})
}

// errorReply reads the reply to a request that must fail: without data.
func (c *client) errorReply(r request) answer {
	c.t.Helper()
	return c.reply(r.off, 0)
}

func TestEndOfConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		send  []byte
		reply bool
	}{
		"bad magic": {make([]byte, requestSize), false},
		"a payload too long to skip": {
			requestBytes(request{cmd: cmdWrite, cookie: 5, n: maxSkip + 1}, make([]byte, 1000)), true},
		"DISC":      {requestBytes(request{cmd: cmdDisc}, nil), false},
		"half sent": {requestBytes(request{cmd: cmdRead}, nil)[:20], false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk("d", 1<<20)
			_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
			c := connect(t, addr, "d", false)
			c.send(tt.send)
			if tt.reply {
				if a := c.reply(0, 0); a.code != nbdEINVAL || a.cookie != 5 {
					t.Errorf("%+v, want EINVAL", a)
				}
			}
			c.nc.(interface{ CloseWrite() error }).CloseWrite()
			c.expectEnd()
			eventually(t, "the disk to be closed", func() bool { return d.closes.Load() == 1 })
		})
	}
}

// When the server ends a connection that the client is still writing to, the
// client sees the last reply and an orderly end, not a reset.
func TestOrderlyEnd(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	c := connect(t, addr, "disk0", false)
	sent := make(chan error, 1)
	go func() {
		_, err := c.nc.Write(requestBytes(request{cmd: cmdWrite, n: maxSkip + 1}, make([]byte, 16<<20)))
		sent <- err
	}()
	if a := c.reply(0, 0); a.code != nbdEINVAL {
		t.Errorf("%+v, want EINVAL", a)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("the end of the connection is %v", err)
	}
	if err := <-sent; err != nil {
		t.Errorf("while sending: %v", err)
	}
}

// After DISC, and after the end of what the client sends, everything asked
// before is still answered.
func TestRepliesBeforeEnd(t *testing.T) {
	for _, disc := range []bool{true, false} {
		d := newMemDisk("d", 1<<20)
		d.cold.Store(true)
		d.readGate = make(chan struct{})
		d.entered = make(chan string, 10)
		_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
		c := connect(t, addr, "d", false)
		c.request(request{cmd: cmdRead, cookie: 1, n: 4096}, nil)
		c.request(request{cmd: cmdWrite, flags: flagFUA, cookie: 2, n: 3}, []byte("abc"))
		c.request(request{cmd: cmdFlush, cookie: 3}, nil)
		if disc {
			c.request(request{cmd: cmdDisc}, nil)
		}
		c.nc.(interface{ CloseWrite() error }).CloseWrite()
		for want := uint64(2); want <= 3; want++ {
			if a := c.reply(0, 0); a.cookie != want || a.code != 0 {
				t.Fatalf("%+v, want the reply to %d", a, want)
			}
		}
		<-d.entered
		if d.closes.Load() != 0 {
			t.Error("the disk was closed under a request")
		}
		d.readGate <- struct{}{}
		if a := c.reply(0, 4096); a.cookie != 1 || a.code != 0 {
			t.Fatalf("%+v, want the reply to the READ", a)
		}
		c.expectEnd()
	}
}

func TestBackendErrors(t *testing.T) {
	bothWays(t, func(t *testing.T, structured bool) {
		d := newMemDisk("d", 4<<20)
		_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
		c := connect(t, addr, "d", structured)
		for _, tt := range []struct {
			op   string
			r    request
			kind fail.Kind
			want uint32
		}{
			{"read", request{cmd: cmdRead, n: 4096}, fail.Corrupt, nbdEIO},
			{"read", request{cmd: cmdRead, n: 1 << 20}, fail.IO, nbdEIO},
			{"write", request{cmd: cmdWrite, n: 4096}, fail.NoSpace, nbdENOSPC},
			{"write", request{cmd: cmdWrite, flags: flagFUA, n: 1 << 20}, fail.FailStopped, nbdEIO},
			{"trim", request{cmd: cmdTrim, n: 4096}, fail.ReadOnly, nbdEPERM},
			{"zero", request{cmd: cmdWriteZeroes, n: 4096}, fail.Unsupported, nbdENOTSUP},
			{"cache", request{cmd: cmdCache, n: 4096}, fail.OutsideHistory, nbdEINVAL},
			{"flush", request{cmd: cmdFlush}, fail.Canceled, nbdESHUTDOWN},
			{"flush", request{cmd: cmdWrite, flags: flagFUA, n: 4096}, fail.FailStopped, nbdEIO},
		} {
			for _, cold := range []bool{false, true} {
				d.cold.Store(cold)
				d.broken.Store(brokenOp{tt.op, fail.New(tt.kind, "%s", "broken: "+strings.Repeat("é", 300))})
				var payload []byte
				if tt.r.cmd == cmdWrite {
					payload = make([]byte, tt.r.n)
				}
				c.request(tt.r, payload)
				a := c.errorReply(tt.r)
				if a.code != tt.want {
					t.Errorf("%s, %v: %+v, want code %d", tt.op, tt.kind, a, tt.want)
				}
				if structured && (!strings.HasPrefix(a.msg, "broken: é") || len(a.msg) > maxMessage || strings.ContainsRune(a.msg, '\ufffd')) {
					t.Errorf("%s: message %q", tt.op, a.msg)
				}
				d.broken.Store(brokenOp{})
				if a := c.do(request{cmd: cmdRead, n: 100}, nil); a.code != 0 {
					t.Fatalf("a read afterwards: %+v", a)
				}
			}
		}
	})
}

func TestErrorTable(t *testing.T) {
	for k := fail.Other; k.String() != "kind-18"; k++ {
		code := errno(fail.New(k, "x"))
		switch code {
		case nbdEPERM, nbdEIO, nbdEINVAL, nbdENOSPC, nbdEOVERFLOW, nbdENOTSUP, nbdESHUTDOWN:
		default:
			t.Errorf("%v maps to %d, which the protocol does not know", k, code)
		}
		if opt := optionError(fail.New(k, "x")); opt < 1<<31 {
			t.Errorf("%v maps to option reply %#x, which is no error", k, opt)
		}
	}
}

// Many requests of all kinds at once, out of order, on several connections,
// against a model.
func TestPipelined(t *testing.T) {
	bothWays(t, func(t *testing.T, structured bool) {
		const conns, part = 3, 1 << 20
		d := newMemDisk("d", conns*part)
		_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{Workers: 4})
		var wg sync.WaitGroup
		for i := range conns {
			c := connect(t, addr, "d", structured)
			wg.Go(func() { pipeline(t, c, d, uint64(i)*part, part) })
		}
		wg.Wait()
	})
}

// pipeline keeps 16 requests in flight, each on a slot of its own, and checks
// each reply against what it knows of the slot.
func pipeline(t *testing.T, c *client, d *memDisk, base, part uint64) {
	const depth = 16
	slot := part / depth
	rng := rand.New(rand.NewPCG(base, 2))
	model := make([]byte, part)
	pending := map[uint64]request{}
	issue := func(i uint64) {
		n := 1 + rng.Uint32N(uint32(slot))
		r := request{cookie: i, off: base + i*slot + rng.Uint64N(slot-uint64(n)+1), n: n}
		r.cmd = []uint16{cmdRead, cmdRead, cmdWrite, cmdWrite, cmdTrim, cmdFlush, cmdWriteZeroes}[rng.IntN(7)]
		if r.cmd == cmdWrite && rng.IntN(4) == 0 {
			r.flags = flagFUA
		}
		d.cold.Store(rng.IntN(2) == 0)
		var payload []byte
		at := model[r.off-base:][:n]
		switch r.cmd {
		case cmdWrite:
			payload = pattern(int(n), rng.Uint64())
			copy(at, payload)
		case cmdTrim, cmdWriteZeroes:
			clear(at)
		}
		pending[i] = r
		c.request(r, payload)
	}
	for i := range uint64(depth) {
		issue(i)
	}
	for range 400 {
		a := c.anyReply(pending)
		r, ok := pending[a.cookie]
		if !ok || a.code != 0 {
			t.Errorf("reply %+v", a)
			return
		}
		if r.cmd == cmdRead && !bytes.Equal(a.data, model[r.off-base:][:r.n]) {
			t.Errorf("read of %d at %d: wrong bytes", r.n, r.off)
			return
		}
		delete(pending, a.cookie)
		issue(a.cookie)
	}
}

// anyReply reads the reply to whichever request it belongs to.
func (c *client) anyReply(pending map[uint64]request) answer {
	p, err := c.r.Peek(16)
	if err != nil {
		c.t.Errorf("client: %v", err)
		return answer{code: 1}
	}
	r := pending[be.Uint64(p[8:])]
	if r.cmd == cmdRead {
		return c.reply(r.off, int(r.n))
	}
	return c.reply(r.off, 0)
}

func TestObserve(t *testing.T) {
	type seen struct {
		op    string
		bytes int
		ok    bool
	}
	var mu sync.Mutex
	var got []seen
	d := newMemDisk("d", 1<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{
		Observe: func(op string, took time.Duration, n int, err error) {
			mu.Lock()
			defer mu.Unlock()
			if took < 0 || took > patience {
				t.Errorf("%s took %v", op, took)
			}
			got = append(got, seen{op, n, err == nil})
		},
	})
	c := connect(t, addr, "d", false)
	want := []seen{{"write", 4096, true}, {"read", 100, true}, {"read", 100, true}, {"read", 5, false},
		{"trim", 10, true}, {"zero", 10, true}, {"cache", 10, true}, {"flush", 0, true}}
	c.do(request{cmd: cmdWrite, n: 4096}, make([]byte, 4096))
	c.do(request{cmd: cmdRead, n: 100}, nil)
	d.cold.Store(true)
	c.do(request{cmd: cmdRead, n: 100}, nil)
	c.request(request{cmd: cmdRead, off: 1 << 20, n: 5}, nil)
	c.errorReply(request{})
	c.do(request{cmd: cmdTrim, n: 10}, nil)
	c.do(request{cmd: cmdWriteZeroes, n: 10}, nil)
	c.do(request{cmd: cmdCache, n: 10}, nil)
	c.do(request{cmd: cmdFlush}, nil)
	eventually(t, "all observations", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == len(want) })
	for _, w := range want {
		n := 0
		for _, g := range got {
			if g == w {
				n++
			}
		}
		if n == 0 {
			t.Errorf("not observed: %+v in %+v", w, got)
		}
	}
}
