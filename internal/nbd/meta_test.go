package nbd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"varve/internal/fail"
)

func metaRequest(export string, queries ...string) []byte {
	p := be.AppendUint32(nil, uint32(len(export)))
	p = append(p, export...)
	p = be.AppendUint32(p, uint32(len(queries)))
	for _, q := range queries {
		p = be.AppendUint32(p, uint32(len(q)))
		p = append(p, q...)
	}
	return p
}

// markedDisks is twoDisks; disk0 knows of changes since dawn and since noon.
func markedDisks() *memBackend {
	b := twoDisks()
	d := b.disks[0]
	d.marked = map[string][]bool{"dawn": make([]bool, len(d.stored)), "noon": make([]bool, len(d.stored))}
	return b
}

// negotiate dials and agrees on structured replies.
func negotiate(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.greet(flagFixedNewstyle | flagNoZeroes)
	if r := c.option(optStructuredReply, nil); r[0].kind != repAck {
		t.Fatalf("STRUCTURED_REPLY: %+v", r)
	}
	c.structured = true
	return c
}

// meta sends a LIST_META_CONTEXT or SET_META_CONTEXT that must succeed, and
// returns the contexts of the reply: "ID NAME".
func (c *client) meta(opt uint32, export string, queries ...string) []string {
	c.t.Helper()
	names := []string{}
	for _, r := range c.option(opt, metaRequest(export, queries...)) {
		switch r.kind {
		case repMetaContext:
			names = append(names, fmt.Sprintf("%d %s", be.Uint32(r.data), r.data[4:]))
		case repAck:
		default:
			c.t.Fatalf("reply %#x %q", r.kind, r.data)
		}
	}
	return names
}

// enterGo ends the handshake.
func (c *client) enterGo(export string) {
	c.t.Helper()
	replies := c.option(optGo, infoRequest(export))
	if last := replies[len(replies)-1]; last.kind != repAck {
		c.t.Fatalf("GO: %#x %q", last.kind, last.data)
	}
}

func TestListMetaContext(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	c := negotiate(t, addr)
	const dawn, noon = "0 varve:changed@dawn", "0 varve:changed@noon"
	for _, tt := range []struct {
		queries []string
		want    []string
	}{
		{nil, []string{"0 base:allocation", "0 varve:changed@"}},
		{[]string{"base:"}, []string{"0 base:allocation"}},
		{[]string{"base:allocation", "base:"}, []string{"0 base:allocation"}},
		{[]string{"varve:"}, []string{dawn, noon}},
		{[]string{"varve:changed@noon"}, []string{noon}},
		{[]string{"varve:changed@noon", "varve:", "base:"}, []string{noon, dawn, "0 base:allocation"}},
		{[]string{"varve:changed@midnight", "qemu:", "base:allocation2", "base", "", ":", "\xff:\xfe"}, []string{}},
	} {
		if got := c.meta(optListMetaContext, "disk0", tt.queries...); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("LIST_META_CONTEXT %q: %q, want %q", tt.queries, got, tt.want)
		}
	}
	if d := b.disks[0]; d.opens.Load() != d.closes.Load() || d.contextsOpened.Load() != d.contextsClosed.Load() {
		t.Error("listing left something open")
	}
}

func TestSetMetaContext(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	for _, tt := range []struct {
		queries []string
		want    []string
	}{
		{nil, []string{}},
		{[]string{"base:allocation"}, []string{"1 base:allocation"}},
		{[]string{"base:", "varve:", "varve:changed@", "qemu:dirty-bitmap:x"}, []string{}},
		{[]string{"varve:changed@dawn", "base:allocation", "varve:changed@dawn", "varve:changed@midnight", "varve:changed@noon"},
			[]string{"1 varve:changed@dawn", "2 base:allocation", "3 varve:changed@noon"}},
	} {
		c := negotiate(t, addr)
		got := c.meta(optSetMetaContext, "disk0", tt.queries...)
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("SET_META_CONTEXT %q: %q, want %q", tt.queries, got, tt.want)
		}
		c.enterGo("disk0")
		a := c.do(request{cmd: cmdBlockStatus, n: 1 << 20}, nil)
		if len(tt.want) == 0 {
			if a.code != nbdEINVAL || a.msg == "" {
				t.Errorf("BLOCK_STATUS without a context: %+v", a)
			}
			continue
		}
		checkStatus(t, request{n: 1 << 20}, a, len(tt.want))
	}
}

// The last SET_META_CONTEXT counts, also one that fails, and only for the
// export that the client enters.
func TestSelectionIsReplaced(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	set := func(c *client, export string, queries ...string) {
		c.meta(optSetMetaContext, export, queries...)
	}
	for _, tt := range []struct {
		name     string
		do       func(c *client)
		contexts int
	}{
		{"once", func(c *client) { set(c, "disk0", "base:allocation") }, 1},
		{"more", func(c *client) {
			set(c, "disk0", "base:allocation")
			set(c, "disk0", "base:allocation", "varve:changed@dawn")
		}, 2},
		{"nothing", func(c *client) { set(c, "disk0", "base:allocation"); set(c, "disk0") }, 0},
		{"another export", func(c *client) { set(c, "disk1@noon", "base:allocation") }, 0},
		{"back again", func(c *client) { set(c, "disk1@noon", "base:allocation"); set(c, "disk0", "varve:changed@noon") }, 1},
		{"an INFO between", func(c *client) { set(c, "disk0", "base:allocation"); c.option(optInfo, infoRequest("disk0")) }, 1},
		{"no such export", func(c *client) {
			set(c, "disk0", "base:allocation")
			if r := c.option(optSetMetaContext, metaRequest("nowhere", "base:allocation")); r[0].kind != repErrUnknown {
				t.Errorf("an unknown export: %+v", r)
			}
		}, 0},
		{"malformed", func(c *client) {
			set(c, "disk0", "base:allocation")
			if r := c.option(optSetMetaContext, []byte("xyz")); r[0].kind != repErrInvalid {
				t.Errorf("malformed: %+v", r)
			}
		}, 0},
		{"GO that fails", func(c *client) {
			set(c, "disk0", "base:allocation")
			if r := c.option(optGo, infoRequest("nowhere")); r[0].kind != repErrUnknown {
				t.Errorf("GO: %+v", r)
			}
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := negotiate(t, addr)
			tt.do(c)
			c.enterGo("disk0")
			a := c.do(request{cmd: cmdBlockStatus, n: 4096}, nil)
			if len(a.status) != tt.contexts || (a.code == 0) != (tt.contexts > 0) {
				t.Errorf("%+v, want %d contexts", a, tt.contexts)
			}
			c.request(request{cmd: cmdDisc}, nil)
			c.expectEnd()
		})
	}
	allClosed(t, b)
}

// allClosed checks that every disk and context that was opened gets closed.
func allClosed(t *testing.T, b *memBackend) {
	t.Helper()
	for _, d := range b.disks {
		eventually(t, d.info.Name+" and its contexts to be closed", func() bool {
			return d.opens.Load() == d.closes.Load() && d.contextsOpened.Load() == d.contextsClosed.Load()
		})
	}
}

// The old way in works with contexts, too; and a disk that was opened to
// select contexts is not opened again.
func TestExportNameWithContexts(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	c := negotiate(t, addr)
	c.meta(optSetMetaContext, "disk0", "base:allocation")
	c.send(optionBytes(optExportName, []byte("disk0")))
	c.recv(10)
	checkStatus(t, request{n: 4096}, c.do(request{cmd: cmdBlockStatus, n: 4096}, nil), 1)
	if n := b.disks[0].opens.Load(); n != 1 {
		t.Errorf("the disk was opened %d times", n)
	}
}

// However a handshake ends, what was selected is closed.
func TestSelectionIsClosed(t *testing.T) {
	b := markedDisks()
	s, addr := startServer(t, b, Options{})
	for _, end := range []func(c *client){
		func(c *client) { c.option(optAbort, nil) },
		func(c *client) { c.nc.Close() },
		func(c *client) { c.send(make([]byte, optionSize)) },
		func(c *client) { b.kicks[len(b.kicks)-1]() },
		func(c *client) { c.send(optionBytes(optExportName, []byte("nowhere"))) },
	} {
		c := negotiate(t, addr)
		c.meta(optSetMetaContext, "disk0", "varve:changed@dawn", "base:allocation")
		if d := b.disks[0]; d.opens.Load() != d.closes.Load()+1 || d.contextsOpened.Load() != d.contextsClosed.Load()+1 {
			t.Error("what is selected is not open")
		}
		end(c)
		allClosed(t, b)
	}
	c := negotiate(t, addr)
	c.meta(optSetMetaContext, "disk0", "varve:changed@dawn")
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	c.expectEnd()
	allClosed(t, b)
}

func TestHostileQueries(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	c := negotiate(t, addr)
	many := make([]string, maxQueries+1)
	var nine []string
	for i := range maxContexts + 1 {
		key := fmt.Sprint("key", i)
		b.disks[0].marked[key] = b.disks[0].marked["dawn"]
		nine = append(nine, changedSince+key)
	}
	whole := metaRequest("disk0", "base:allocation")
	count := func(n uint32) []byte {
		p := metaRequest("disk0", "base:allocation")
		be.PutUint32(p[9:], n)
		return p
	}
	length := func(n uint32) []byte {
		p := metaRequest("disk0", "base:allocation")
		be.PutUint32(p[13:], n)
		return p
	}
	name := func(n uint32) []byte {
		p := metaRequest("disk0", "base:allocation")
		be.PutUint32(p, n)
		return p
	}
	for _, opt := range []uint32{optListMetaContext, optSetMetaContext} {
		for _, tt := range []struct {
			name string
			data []byte
			want uint32
		}{
			{"no data", nil, repErrInvalid},
			{"no count", whole[:9], repErrInvalid},
			{"half a query", whole[:len(whole)-1], repErrInvalid},
			{"a byte too many", append(whole[:len(whole):len(whole)], 0), repErrInvalid},
			{"2^32-1 queries", count(1<<32 - 1), repErrInvalid},
			{"2^30 queries", count(1 << 30), repErrInvalid},
			{"two queries, one there", count(2), repErrInvalid},
			{"no queries, one there", count(0), repErrInvalid},
			{"a query of 2^32-1 bytes", length(1<<32 - 1), repErrInvalid},
			{"a query a byte too long", length(16), repErrInvalid},
			{"a query a byte too short", length(14), repErrInvalid},
			{"a name of 2^32-1 bytes", name(1<<32 - 1), repErrInvalid},
			{"a name that ends in the query", name(20), repErrInvalid},
			{"too many queries", metaRequest("disk0", many...), repErrTooBig},
			{"a name too long", metaRequest(strings.Repeat("n", maxName+1)), repErrTooBig},
			{"more data than is read", metaRequest("disk0", strings.Repeat("q", maxOptionData)), repErrTooBig},
			{"denied", metaRequest("secret", "base:allocation"), repErrPolicy},
		} {
			got := c.option(opt, tt.data)
			if len(got) != 1 || got[0].kind != tt.want || len(got[0].data) == 0 {
				t.Errorf("option %d, %s: %+v, want %#x", opt, tt.name, got, tt.want)
			}
		}
		long := strings.Repeat("q", maxOptionData-100)
		if got := c.meta(opt, "disk0", "varve:"+long, "base:"+long[:10]); len(got) != 0 {
			t.Errorf("option %d: %q", opt, got)
		}
	}
	if got := c.option(optSetMetaContext, metaRequest("disk0", nine...)); len(got) != 1 || got[0].kind != repErrTooBig {
		t.Errorf("nine contexts: %+v", got)
	}
	allClosed(t, b)
	if got := c.meta(optSetMetaContext, "disk0", nine[1:]...); len(got) != maxContexts {
		t.Errorf("eight contexts: %q", got)
	}
	c.enterGo("disk0")
	checkStatus(t, request{n: 1 << 20}, c.do(request{cmd: cmdBlockStatus, n: 1 << 20}, nil), maxContexts)
}

// The client is not told why a context is not offered; the log is.
func TestReasonIsLogged(t *testing.T) {
	var log strings.Builder
	b := markedDisks()
	s, addr := startServer(t, b, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := negotiate(t, addr)
	c.meta(optSetMetaContext, "disk0", "varve:changed@midnight", "base:allocation")
	c.option(optAbort, nil)
	c.expectEnd()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := log.String(); !strings.Contains(out, "varve:changed@midnight") || !strings.Contains(out, "too long ago") || strings.Contains(out, "base:allocation") {
		t.Errorf("the log: %s", out)
	}
}

// Why an export cannot be opened reaches the client, whichever way it asks.
func TestRefusalsReachTheClient(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	c := negotiate(t, addr)
	for _, tt := range []struct {
		export string
		kind   uint32
		words  string
	}{
		{"disk0@yore", repErrUnknown, "outside history; oldest moment noon"},
		{"disk0@one-too-many", repErrTooBig, "4096 past moments are open already; close some"},
		{"secret", repErrPolicy, "not for you"},
	} {
		for opt, data := range map[uint32][]byte{
			optInfo: infoRequest(tt.export), optGo: infoRequest(tt.export),
			optListMetaContext: metaRequest(tt.export), optSetMetaContext: metaRequest(tt.export, baseAllocation),
		} {
			got := c.option(opt, data)
			if len(got) != 1 || got[0].kind != tt.kind || !strings.Contains(string(got[0].data), tt.words) {
				t.Errorf("option %d, %s: %+v", opt, tt.export, got)
			}
		}
	}
	if fail.KindOf(errNoContext) != fail.Invalid {
		t.Error("BLOCK_STATUS without a context is not EINVAL")
	}
}
