package nbd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"varve/internal/fail"
)

func twoDisks() *memBackend {
	a, b := newMemDisk("disk0", 1<<20), newMemDisk("disk1@noon", 3<<20)
	a.info.Description = "a disk — for tests"
	b.info.ReadOnly = true
	return &memBackend{disks: []*memDisk{a, b}}
}

func TestExportName(t *testing.T) {
	b := twoDisks()
	_, addr := startServer(t, b, Options{})
	for _, flags := range []uint32{flagFixedNewstyle | flagNoZeroes, flagFixedNewstyle, 0} {
		c := dial(t, addr)
		c.greet(flags)
		c.send(optionBytes(optExportName, []byte("disk0")))
		p := c.recv(10)
		if be.Uint64(p) != 1<<20 {
			t.Errorf("size %d", be.Uint64(p))
		}
		if flags&flagNoZeroes == 0 && !bytes.Equal(c.recv(124), make([]byte, 124)) {
			t.Error("the padding is not zero")
		}
		if a := c.do(request{cmd: cmdFlush, cookie: 7}, nil); a.code != 0 {
			t.Errorf("flush: %+v", a)
		}
	}
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	c.send(optionBytes(optExportName, []byte("nowhere")))
	c.expectEnd()
}

func TestTransmissionFlags(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	const always = canFlags | canFlush | canFUA | canCache | canMultiConn
	const writable = always | canTrim | canWriteZeroes | canFastZero
	for _, tt := range []struct {
		name       string
		structured bool
		want       uint16
	}{
		{"disk0", false, writable},
		{"disk0", true, writable | canDF},
		{"disk1@noon", false, always | isReadOnly},
		{"disk1@noon", true, always | isReadOnly | canDF},
	} {
		if c := connect(t, addr, tt.name, tt.structured); c.flags != tt.want {
			t.Errorf("%s, structured %v: flags %#x, want %#x", tt.name, tt.structured, c.flags, tt.want)
		}
	}
}

func TestInfo(t *testing.T) {
	b := twoDisks()
	_, addr := startServer(t, b, Options{})
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	got := c.option(optInfo, infoRequest("disk0", infoBlockSize, infoName, infoDescription, 99, infoName))
	want := []optionReply{
		{repInfo, []byte{0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0x0d, 0x6d}},
		{repInfo, []byte{0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0}},
		{repInfo, append([]byte{0, 1}, "disk0"...)},
		{repInfo, append([]byte{0, 2}, "a disk — for tests"...)},
		{repAck, nil},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("INFO:\n got %v\nwant %v", got, want)
	}
	d := b.disks[0]
	if d.opens.Load() != 1 || d.closes.Load() != 1 {
		t.Errorf("INFO left the disk open: %d opens, %d closes", d.opens.Load(), d.closes.Load())
	}
	if got := c.option(optGo, infoRequest("disk0")); len(got) != 2 || got[1].kind != repAck {
		t.Errorf("GO: %v", got)
	}
}

func TestDefaultExport(t *testing.T) {
	b := &memBackend{disks: []*memDisk{newMemDisk("only", 4096)}}
	_, addr := startServer(t, b, Options{})
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	got := c.option(optGo, infoRequest("", infoName))
	if len(got) != 3 || string(got[1].data[2:]) != "only" {
		t.Errorf("GO \"\": %v", got)
	}
}

func TestList(t *testing.T) {
	b := twoDisks()
	_, addr := startServer(t, b, Options{})
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	got := c.option(optList, nil)
	want := []optionReply{
		{repServer, append([]byte{0, 0, 0, 5}, "disk0a disk — for tests"...)},
		{repServer, append([]byte{0, 0, 0, 10}, "disk1@noon"...)},
		{repAck, nil},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("LIST:\n got %v\nwant %v", got, want)
	}
	b.mu.Lock()
	b.listErr = fail.New(fail.Denied, "no")
	b.mu.Unlock()
	if got := c.option(optList, nil); got[len(got)-1].kind != repErrPolicy {
		t.Errorf("LIST that fails: %v", got)
	}
}

func TestOptionErrors(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	short := infoRequest("disk0", infoName)
	for _, tt := range []struct {
		name string
		opt  uint32
		data []byte
		want uint32
	}{
		{"unknown option", 4711, nil, repErrUnsup},
		{"STARTTLS", 5, nil, repErrUnsup},
		{"LIST_META_CONTEXT without structured replies", optListMetaContext, metaRequest("disk0"), repErrInvalid},
		{"SET_META_CONTEXT without structured replies", optSetMetaContext, metaRequest("disk0"), repErrInvalid},
		{"EXTENDED_HEADERS", 11, nil, repErrUnsup},
		{"LIST with data", optList, []byte{1}, repErrInvalid},
		{"STRUCTURED_REPLY with data", optStructuredReply, []byte{1}, repErrInvalid},
		{"GO without data", optGo, nil, repErrInvalid},
		{"GO cut short", optGo, short[:len(short)-1], repErrInvalid},
		{"GO too long", optGo, append(short, 0), repErrInvalid},
		{"GO, length of name beyond data", optGo, []byte{0xff, 0xff, 0xff, 0xff, 0, 0}, repErrInvalid},
		{"GO, name too long", optGo, infoRequest(strings.Repeat("n", maxName+1)), repErrTooBig},
		{"GO, no such export", optGo, infoRequest("nowhere"), repErrUnknown},
		{"GO, denied", optGo, infoRequest("secret"), repErrPolicy},
		{"INFO, no such export", optInfo, infoRequest("nowhere"), repErrUnknown},
		{"too much data", optInfo, make([]byte, maxOptionData+1), repErrTooBig},
		{"all that is skipped", optInfo, make([]byte, maxOptionSkip), repErrTooBig},
	} {
		got := c.option(tt.opt, tt.data)
		if last := got[len(got)-1]; last.kind != tt.want || len(last.data) == 0 {
			t.Errorf("%s: reply %#x %q, want %#x", tt.name, last.kind, last.data, tt.want)
		}
	}
	if got := c.option(optAbort, nil); got[0].kind != repAck {
		t.Errorf("ABORT: %v", got)
	}
	c.expectEnd()
}

func TestHostileHandshakes(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	huge := optionBytes(optInfo, nil)
	be.PutUint32(huge[12:], maxOptionSkip+1)
	for name, bytes := range map[string][]byte{
		"unknown client flags": be.AppendUint32(nil, 1<<7),
		"not an option":        append(be.AppendUint32(nil, 1), "GET / HTTP/1.1\r\n\r\n"...),
		"an absurd length":     append(be.AppendUint32(nil, 1), huge...),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr)
			c.recv(18)
			c.send(bytes)
			c.expectEnd()
		})
	}
}

func TestHandshakeDeadline(t *testing.T) {
	s, addr := startServer(t, twoDisks(), Options{HandshakeTimeout: 50 * time.Millisecond})
	silent := dial(t, addr)
	silent.recv(18)
	silent.expectEnd()

	dribbling := dial(t, addr)
	dribbling.greet(flagFixedNewstyle)
	dribbling.send(optionBytes(optInfo, make([]byte, 100))[:50])
	dribbling.expectEnd()

	c := connect(t, addr, "disk0", false) // the deadline ends with the handshake
	time.Sleep(100 * time.Millisecond)
	if a := c.do(request{cmd: cmdFlush}, nil); a.code != 0 {
		t.Errorf("flush: %+v", a)
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d clients, want 1", n)
	}
}

func TestConnectionLimit(t *testing.T) {
	b := twoDisks()
	s, addr := startServer(t, b, Options{MaxConns: 2})
	first := connect(t, addr, "disk0", false)
	connect(t, addr, "disk0", false)
	c := dial(t, addr)
	c.greet(flagFixedNewstyle)
	got := c.option(optGo, infoRequest("disk0"))
	if got[0].kind != repErrPolicy || !strings.Contains(string(got[0].data), "limit of 2 connections") {
		t.Errorf("over the limit: %#x %q", got[0].kind, got[0].data)
	}
	c.option(optAbort, nil)
	c.expectEnd()

	first.request(request{cmd: cmdDisc}, nil)
	first.expectEnd()
	eventually(t, "a place to be free", func() bool { return len(s.Clients()) < 2 })
	connect(t, addr, "disk0", false)
}

func TestClientNames(t *testing.T) {
	b := twoDisks()
	s := New(b, Options{})
	path := serveUnix(t, s)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	c.enter("disk0", true)
	c.do(request{cmd: cmdWrite, n: 5}, []byte("hello"))
	c.do(request{cmd: cmdRead, n: 3}, nil)
	want := fmt.Sprintf("unix:pid=%d,uid=%d", os.Getpid(), os.Getuid())
	list := s.Clients()
	if len(list) != 1 || list[0].Addr != want || list[0].Since.IsZero() {
		t.Fatalf("clients %+v, want %s", list, want)
	}
	if i := list[0]; i.Export != "disk0" || i.Requests != 2 || i.BytesWritten != 5 || i.BytesRead != 3 {
		t.Errorf("client %+v", i)
	}
	if b.clients[0].Addr != want {
		t.Errorf("the backend was told %q", b.clients[0].Addr)
	}
}

// eventually waits for what happens soon, without a word, in another goroutine.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
