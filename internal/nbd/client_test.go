package nbd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

const patience = 20 * time.Second // for what should take no time at all

// startServer serves b on TCP loopback until the test ends.
func startServer(t testing.TB, b Backend, o Options) (*Server, string) {
	t.Helper()
	s := New(b, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	return s, l.Addr().String()
}

// serve runs s on l until the test ends.
func serve(t testing.TB, s *Server, l net.Listener) {
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func serveUnix(t testing.TB, s *Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nbd.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	return path
}

// client is a small NBD client that takes nothing on trust.
type client struct {
	t          testing.TB
	nc         net.Conn
	r          *bufio.Reader
	structured bool
	size       uint64
	flags      uint16
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
	nc.SetDeadline(time.Now().Add(patience))
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// connect dials and opens an export by GO.
func connect(t testing.TB, addr, name string, structured bool) *client {
	t.Helper()
	c := dial(t, addr)
	c.enter(name, structured)
	return c
}

func (c *client) enter(name string, structured bool) {
	c.t.Helper()
	c.greet(flagFixedNewstyle | flagNoZeroes)
	if structured {
		if r := c.option(optStructuredReply, nil); r[0].kind != repAck {
			c.t.Fatalf("STRUCTURED_REPLY: %+v", r)
		}
		c.structured = true
	}
	for _, r := range c.option(optGo, infoRequest(name)) {
		switch {
		case r.kind == repInfo && be.Uint16(r.data) == infoExport:
			c.size, c.flags = be.Uint64(r.data[2:]), be.Uint16(r.data[10:])
		case r.kind != repAck:
			c.t.Fatalf("GO: reply %#x %q", r.kind, r.data)
		}
	}
}

func (c *client) send(p []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatalf("client: %v", err)
	}
}

func (c *client) recv(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c.r, p); err != nil {
		c.t.Fatalf("client: reading %d bytes: %v", n, err)
	}
	return p
}

// expectEnd checks that the server closes the connection, sending nothing more.
func (c *client) expectEnd() {
	c.t.Helper()
	_, err := c.r.ReadByte()
	var ne net.Error
	if err == nil {
		c.t.Fatal("bytes where the connection should have ended")
	} else if errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatal("the connection is still open")
	}
}

func (c *client) greet(flags uint32) {
	c.t.Helper()
	p := c.recv(18)
	if be.Uint64(p) != greetingMagic || be.Uint64(p[8:]) != optionMagic || be.Uint16(p[16:]) != 3 {
		c.t.Fatalf("greeting %x", p)
	}
	c.send(be.AppendUint32(nil, flags))
}

type optionReply struct {
	kind uint32
	data []byte
}

// option sends an option and returns the replies up to the last.
func (c *client) option(opt uint32, data []byte) (list []optionReply) {
	c.t.Helper()
	c.send(optionBytes(opt, data))
	for {
		p := c.recv(optionReplySize)
		if be.Uint64(p) != optionReplyMagic || be.Uint32(p[8:]) != opt {
			c.t.Fatalf("option reply %x", p)
		}
		r := optionReply{be.Uint32(p[12:]), c.recv(int(be.Uint32(p[16:])))}
		list = append(list, r)
		if r.kind == repAck || r.kind >= 1<<31 {
			return list
		}
	}
}

func optionBytes(opt uint32, data []byte) []byte {
	p := be.AppendUint64(nil, optionMagic)
	p = be.AppendUint32(p, opt)
	return append(be.AppendUint32(p, uint32(len(data))), data...)
}

func infoRequest(name string, kinds ...uint16) []byte {
	p := be.AppendUint32(nil, uint32(len(name)))
	p = append(p, name...)
	p = be.AppendUint16(p, uint16(len(kinds)))
	for _, k := range kinds {
		p = be.AppendUint16(p, k)
	}
	return p
}

func requestBytes(r request, payload []byte) []byte {
	p := be.AppendUint32(nil, requestMagic)
	p = be.AppendUint16(p, r.flags)
	p = be.AppendUint16(p, r.cmd)
	p = be.AppendUint64(p, r.cookie)
	p = be.AppendUint64(p, r.off)
	return append(be.AppendUint32(p, r.n), payload...)
}

func (c *client) request(r request, payload []byte) {
	c.t.Helper()
	c.send(requestBytes(r, payload))
}

// answer is a whole reply.
type answer struct {
	cookie       uint64
	code         uint32
	msg          string
	data         []byte // of a READ
	holes, data1 int    // chunks
	status       []statusChunk
}

// statusChunk is what one context says.
type statusChunk struct {
	id     uint32
	pieces []piece
}

type piece struct{ n, flags uint32 }

func parseStatus(body []byte) (s statusChunk) {
	s.id = be.Uint32(body)
	for body = body[4:]; len(body) >= pieceSize; body = body[pieceSize:] {
		s.pieces = append(s.pieces, piece{be.Uint32(body), be.Uint32(body[4:])})
	}
	return s
}

// reply reads one whole reply; n is the length of the READ it answers, or 0.
// Chunks of different requests do not alternate in what this server sends.
func (c *client) reply(off uint64, n int) (a answer) {
	c.t.Helper()
	if n > 0 && !c.structured {
		p := c.recv(simpleSize)
		a = c.simple(p)
		if a.code == 0 {
			a.data = c.recv(n)
		}
		return a
	}
	p := c.recv(4)
	if be.Uint32(p) == simpleMagic {
		if n > 0 {
			c.t.Fatal("a simple reply to a READ although structured replies are agreed on")
		}
		return c.simple(append(p, c.recv(simpleSize-4)...))
	}
	if !c.structured {
		c.t.Fatalf("not a simple reply: %x", p)
	}
	return c.chunks(p, off, n)
}

func (c *client) simple(p []byte) answer {
	c.t.Helper()
	if be.Uint32(p) != simpleMagic {
		c.t.Fatalf("not a simple reply: %x", p)
	}
	return answer{code: be.Uint32(p[4:]), cookie: be.Uint64(p[8:])}
}

// chunks reads a structured reply whose first four bytes are p, and checks
// that its chunks cover the read exactly.
func (c *client) chunks(p []byte, off uint64, n int) (a answer) {
	c.t.Helper()
	a.data = make([]byte, n)
	covered, first := 0, true
	for {
		p = append(p, c.recv(chunkSize-len(p))...)
		if be.Uint32(p) != chunkMagic {
			c.t.Fatalf("not a chunk: %x", p)
		}
		flags, kind, cookie := be.Uint16(p[4:]), be.Uint16(p[6:]), be.Uint64(p[8:])
		if !first && cookie != a.cookie {
			c.t.Fatal("chunks of two requests mixed")
		}
		first, a.cookie = false, cookie
		body := c.recv(int(be.Uint32(p[16:])))
		switch kind {
		case chunkData:
			covered += copy(a.data[be.Uint64(body)-off:], body[8:])
			a.data1++
		case chunkHole:
			covered += int(be.Uint32(body[8:]))
			a.holes++
		case chunkStatus:
			a.status = append(a.status, parseStatus(body))
		case chunkError:
			a.code = be.Uint32(body)
			a.msg = string(body[6:])
			if int(be.Uint16(body[4:])) != len(a.msg) {
				c.t.Fatalf("length of message in %x", body)
			}
		default:
			c.t.Fatalf("chunk of type %d", kind)
		}
		if flags&chunkDone != 0 {
			break
		}
		p = nil
	}
	if a.code == 0 && covered != n {
		c.t.Fatalf("chunks cover %d of %d bytes", covered, n)
	}
	return a
}

// do sends a request and returns its reply.
func (c *client) do(r request, payload []byte) answer {
	c.t.Helper()
	c.request(r, payload)
	n := 0
	if r.cmd == cmdRead {
		n = int(r.n)
	}
	a := c.reply(r.off, n)
	if a.cookie != r.cookie {
		c.t.Fatalf("reply to %d, not %d", a.cookie, r.cookie)
	}
	return a
}
