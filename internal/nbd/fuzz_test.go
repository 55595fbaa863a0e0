package nbd

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// script is a connection on which the client has said everything already.
type script struct {
	in *bytes.Reader

	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.out.Write(p)
}

func (s *script) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzHandshake feeds a whole connection. It must end, every reply to an
// option must be well formed, and every disk opened must be closed.
func FuzzHandshake(f *testing.F) {
	flags := be.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes)
	add := func(parts ...[]byte) { f.Add(bytes.Join(append([][]byte{flags}, parts...), nil)) }
	add(optionBytes(optList, nil), optionBytes(optInfo, infoRequest("disk0", 1, 2, 3)), optionBytes(optAbort, nil))
	add(optionBytes(optStructuredReply, nil), optionBytes(optGo, infoRequest("disk1@noon", 3)), requestBytes(request{cmd: cmdRead, n: 9}, nil))
	add(optionBytes(optExportName, []byte("disk0")), requestBytes(request{cmd: cmdWrite, n: 3}, []byte("abc")))
	add(optionBytes(optStructuredReply, nil), optionBytes(optListMetaContext, metaRequest("disk0", "varve:", "base:")),
		optionBytes(optSetMetaContext, metaRequest("disk0", "base:allocation", "varve:changed@dawn")),
		optionBytes(optGo, infoRequest("disk0")), requestBytes(request{cmd: cmdBlockStatus, n: 1 << 20}, nil))
	add(optionBytes(99, make([]byte, 20_000)), optionBytes(optGo, nil))
	b := markedDisks()
	s := New(b, Options{})
	f.Fuzz(func(t *testing.T, in []byte) {
		sc := &script{in: bytes.NewReader(in)}
		newConn(s, sc).serve()
		checkHandshake(t, sc.out.Bytes())
		for _, d := range b.disks {
			if d.opens.Load() != d.closes.Load() || d.contextsOpened.Load() != d.contextsClosed.Load() {
				t.Fatalf("%s: %d opens, %d closes, contexts %d and %d", d.info.Name,
					d.opens.Load(), d.closes.Load(), d.contextsOpened.Load(), d.contextsClosed.Load())
			}
		}
	})
}

// checkHandshake checks what the server said up to the transmission phase.
func checkHandshake(t *testing.T, out []byte) {
	if len(out) < 18 || be.Uint64(out) != greetingMagic {
		t.Fatalf("greeting %x", out)
	}
	for out = out[18:]; len(out) >= optionReplySize && be.Uint64(out) == optionReplyMagic; {
		n := int(be.Uint32(out[16:]))
		if n > maxText+maxName+4 || n > len(out)-optionReplySize {
			t.Fatalf("an option reply of %d bytes where %d follow", n, len(out)-optionReplySize)
		}
		opt, kind := be.Uint32(out[8:]), be.Uint32(out[12:])
		out = out[optionReplySize+n:]
		if opt == optGo && kind == repAck {
			return
		}
	}
}

// FuzzTransmission feeds the requests of a connection. It must end, and every
// request that came completely must be answered exactly once and in form.
func FuzzTransmission(f *testing.F) {
	abc := requestBytes(request{cmd: cmdWrite, flags: flagFUA, off: 4094, n: 3}, []byte("abc"))
	var all []byte
	for cmd := range uint16(9) {
		all = append(all, requestBytes(request{cmd: cmd ^ 2, off: 4096, n: 8}, nil)...)
	}
	status := requestBytes(request{cmd: cmdBlockStatus, off: 1, n: 1<<20 - 1}, nil)
	f.Add(true, false, bytes.Join([][]byte{abc, status, requestBytes(request{cmd: cmdBlockStatus, flags: flagReqOne, off: 9, n: 70_000}, nil)}, nil))
	f.Add(false, false, bytes.Join([][]byte{abc, requestBytes(request{cmd: cmdRead, n: 9999}, nil)}, nil))
	f.Add(true, true, bytes.Join([][]byte{abc, requestBytes(request{cmd: cmdRead, n: 300_000}, nil), abc}, nil))
	f.Add(true, false, requestBytes(request{cmd: cmdWrite, n: 70_000}, make([]byte, 70_000)))
	f.Add(true, false, requestBytes(request{cmd: cmdWrite, n: 1<<32 - 1}, nil))
	f.Add(false, true, all)
	s := New(&memBackend{}, Options{Workers: 2})
	f.Fuzz(func(t *testing.T, structured, cold bool, in []byte) {
		in = bytes.Clone(in)
		want := number(in)
		sc := &script{in: bytes.NewReader(in)}
		d := newMemDisk("d", 1<<20)
		d.cold.Store(cold)
		c := newConn(s, sc)
		c.disk, c.export, c.structured = d, d.info, structured
		if structured {
			d.marked = map[string][]bool{"dawn": make([]bool, 256)}
			d.marked["dawn"][3] = true
			changed, err := d.OpenContext(changedSince + "dawn")
			if err != nil {
				t.Fatal(err)
			}
			c.contexts = []metaContext{{1, baseAllocation, allocation{d}}, {2, "changed", changed}}
		}
		err := c.transmit()
		if err == nil {
			t.Fatal("the connection ended without a reason")
		}
		cl := &client{t: t, nc: sc, structured: structured}
		out := bytes.NewReader(sc.out.Bytes())
		cl.r = bufio.NewReader(out)
		checkReplies(t, cl, want)
		if d.closes.Load() != 1 || d.contextsOpened.Load() != d.contextsClosed.Load() {
			t.Fatalf("the disk was closed %d times, its context %d", d.closes.Load(), d.contextsClosed.Load())
		}
		if !c.memory.TryAcquire(connMemory) {
			t.Fatal("memory is lost")
		}
	})
}

// number gives the complete requests in a stream distinct cookies, and returns
// them by cookie.
func number(in []byte) map[uint64]request {
	want := map[uint64]request{}
	for len(in) >= requestSize {
		id := uint64(len(want))
		be.PutUint64(in[8:], id)
		r, ok := parseRequest(in)
		if !ok || r.cmd == cmdDisc {
			break
		}
		in = in[requestSize:]
		if r.cmd != cmdWrite {
			want[id] = r
			continue
		}
		if uint64(r.n) > uint64(len(in)) {
			// Not complete; only one too long to skip is answered.
			r.flags |= 1 << 15
			want[id] = r
			break
		}
		want[id] = r
		in = in[r.n:]
	}
	return want
}

func checkReplies(t *testing.T, c *client, want map[uint64]request) {
	for {
		head, err := c.r.Peek(simpleSize)
		if err == io.EOF && len(head) == 0 {
			break
		} else if err != nil {
			t.Fatalf("replies end in %x", head)
		}
		r, ok := want[be.Uint64(head[8:])]
		if !ok {
			t.Fatalf("a reply too many: %x", head)
		}
		delete(want, be.Uint64(head[8:]))
		n := 0
		if r.cmd == cmdRead && !(be.Uint32(head) == simpleMagic && be.Uint32(head[4:]) != 0) {
			n = int(min(r.n, maxPayload))
		}
		a := c.reply(r.off, n)
		if r.cmd == cmdBlockStatus && a.code == 0 {
			checkStatus(t, r, a, 2)
		}
	}
	for _, r := range want {
		if r.flags&(1<<15) == 0 {
			t.Fatalf("no reply to %+v", r)
		}
	}
}

// FuzzQueries decodes lists of metadata contexts: what is accepted says what
// it says in one way only, and within the limits.
func FuzzQueries(f *testing.F) {
	f.Add(metaRequest("disk0", "base:allocation", "varve:"))
	f.Add(metaRequest(""))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		export, queries, err := parseQueries(in)
		if err != nil {
			return
		}
		if len(queries) > maxQueries || !bytes.Equal(metaRequest(export, queries...), in) {
			t.Fatalf("%x became %q %q", in, export, queries)
		}
	})
}
