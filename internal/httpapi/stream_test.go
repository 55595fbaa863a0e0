package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/oplog"
	"varve/internal/when"
)

var now = when.Spec{Kind: when.Now}

func past() httpapitest.History {
	at := httpapitest.Start
	op := engine.OpInfo{LSN: 2, Time: at, Client: "nbd 127.0.0.1:40112", Kind: "write", Dataset: 1, Off: 1 << 60, Len: 4096}
	return httpapitest.History{
		Changes: []engine.Change{{Off: 0, Len: 4096}, {Off: 1 << 60, Len: 8192, Hole: true}},
		Operations: []engine.OpInfo{op,
			{LSN: 3, Time: at, Client: "api pid=7,uid=0", Kind: "snapshot", Dataset: 1, Name: "a"},
			{LSN: 4, Time: at, Kind: "drain", Dataset: 2}},
		Checkpoints: []engine.CheckpointInfo{{Number: 1, Time: at, Base: true}, {Number: 2, LSN: 3, Time: at}},
		Segments:    []engine.SegmentInfo{{Number: 1, Allocated: 1 << 20, Data: 4096, FirstTime: at, LastTime: at}},
		Frames:      []engine.FrameInfo{{Segment: 1, Block: 7, Kind: "data", Time: at}, {Segment: 2, Time: at, Damage: "rot"}},
		Details:     []engine.OpDetail{{OpInfo: op, Segment: 1, Block: 7, Extents: []string{"1/8+1"}}},
		Nodes:       []engine.NodeInfo{{Addr: "1/8", Birth: 2, Count: 1}},
		Dump:        "00000000  76 61\n",
	}
}

// list collects what a stream visits, which must be want.
func list[T any](t *testing.T, want []T, call func(func(T) error) error) {
	t.Helper()
	var got []T
	err := call(func(v T) error { got = append(got, v); return nil })
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func matching(t *testing.T, text string) oplog.Filter {
	t.Helper()
	f, err := oplog.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEveryStream(t *testing.T) {
	h := past()
	dir, _ := serve(t, &httpapitest.Pool{History: h})
	c, ctx := NewClient(dir), context.Background()
	for _, name := range []string{"one", "two"} {
		if _, err := c.CreateVolume(ctx, name, 4096); err != nil {
			t.Fatal(err)
		}
	}
	list(t, h.Changes, func(item func(engine.Change) error) error {
		m, err := c.Diff(ctx, "one", when.Spec{Kind: when.LSN, LSN: 1}, now, item)
		if len(m) != 2 || m[0].LSN != 1 || m[1].LSN != 2 || m[1].Spec != "@now" {
			t.Errorf("diff of %+v", m)
		}
		return err
	})
	for _, q := range []struct {
		query ask.Query
		want  []engine.OpInfo
	}{
		{ask.Query{}, h.Operations},
		{ask.Query{Dataset: "one", Since: &now, Until: &now}, h.Operations[:2]},
		{ask.Query{Filter: matching(t, "op=write+drain")}, []engine.OpInfo{h.Operations[0], h.Operations[2]}},
		{ask.Query{Filter: matching(t, "op=write,client=api")}, nil},
		{ask.Query{Filter: matching(t, "client=Nbd 127.0.0.1")}, h.Operations[:1]},
		{ask.Query{Filter: matching(t, `client=a\,b`)}, nil},
	} {
		list(t, q.want, func(item func(engine.OpInfo) error) error {
			told := false
			q.query.Progress = func(done, total uint64) { told = done == total && done > 0 }
			m, err := c.Log(ctx, q.query, func(i ask.Item) error { return item(i.OpInfo) })
			if q.want != nil && !told {
				t.Errorf("no progress of %+v", q.query)
			}
			if q.query.Since != nil && (len(m) != 2 || m[0].Spec != "@now" || m[0].LSN != 2) {
				t.Errorf("log of %+v", m)
			}
			return err
		})
	}
	list(t, []ask.Group{{Key: "path", Ops: 1, Bytes: 4096}}, func(item func(ask.Group) error) error {
		_, err := c.LogGroups(ctx, ask.Query{Filter: matching(t, "op=write")}, "path", item)
		return err
	})
	list(t, h.Frames[1:], func(item func(engine.FrameInfo) error) error { return c.Frames(ctx, 2, item) })
	list(t, h.Details, func(item func(engine.OpDetail) error) error { return c.Ops(ctx, 1, item) })
	list(t, h.Nodes, func(item func(engine.NodeInfo) error) error {
		m, err := c.Tree(ctx, "one", now, item)
		if len(m) != 1 || m[0].LSN != 2 {
			t.Errorf("tree of %+v", m)
		}
		return err
	})

	if got, err := c.Checkpoints(ctx); err != nil || !slices.Equal(got, h.Checkpoints) {
		t.Errorf("checkpoints %+v, %v", got, err)
	}
	if got, err := c.Segments(ctx); err != nil || !slices.Equal(got, h.Segments) {
		t.Errorf("segments %+v, %v", got, err)
	}
	if got, err := c.Node(ctx, 1, 8); err != nil || got != (NodeDump{"1/8", h.Dump}) {
		t.Errorf("node %+v, %v", got, err)
	}
	if _, err := c.Node(ctx, 1, 9); !fail.Is(err, fail.NotFound) {
		t.Errorf("no node: %v", err)
	}
	stop := errors.New("enough")
	if _, err := c.Log(ctx, ask.Query{}, func(ask.Item) error { return stop }); err != stop {
		t.Errorf("a visit that fails: %v", err)
	}
}

func TestHoldsAndMoments(t *testing.T) {
	dir, _ := serve(t, &httpapitest.Pool{})
	c, ctx := NewClient(dir), context.Background()
	check := func(d engine.Done, err error) {
		t.Helper()
		if err != nil || d.LSN == 0 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	check(c.CreateVolume(ctx, "one", 4096))
	check(c.CreateVolume(ctx, "two", 4096))
	check(c.Resize(ctx, "one", 8192))
	check(c.SnapshotAll(ctx, "both", when.Expiry{}))
	check(c.Snapshot(ctx, "one", "early", SnapshotOptions{At: &when.Spec{Kind: when.LSN, LSN: 2}}))
	check(c.Hold(ctx, "one", "early", "backup"))
	check(c.Hold(ctx, "one", "early", "legal"))
	check(c.Release(ctx, "one", "early", "backup"))
	if d, err := c.Dataset(ctx, "one"); err != nil || d.Size != 8192 {
		t.Errorf("%+v, %v", d, err)
	}
	all, err := c.Snapshots(ctx, "")
	if err != nil || len(all) != 3 || all[0].LSN != all[1].LSN || all[2].LSN != 2 || !slices.Equal(all[2].Holds, []string{"legal"}) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := c.Resize(ctx, "one", 4096); !fail.Is(err, fail.Invalid) {
		t.Errorf("shrunk: %v", err)
	}
}

// An error before the first line has its own status; a later one is the last
// line.
func TestStreamErrors(t *testing.T) {
	p := &httpapitest.Pool{History: past()}
	dir, _ := serve(t, p)
	c, ctx := NewClient(dir), context.Background()
	if _, err := c.CreateVolume(ctx, "one", 4096); err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{
		"/v1/log?dataset=nosuch":                    404,
		"/v1/log?op=write,scribble":                 422,
		"/v1/log?since=@10x-ago":                    422,
		"/v1/log?until=@10x-ago":                    422,
		"/v1/datasets/one/diff":                     422,
		"/v1/datasets/one/diff?from=@":              422,
		"/v1/datasets/one/diff?from=@now&to=@":      422,
		"/v1/datasets/one/diff?from=@lsn:9":         416,
		"/v1/datasets/one/tree?when=@":              422,
		"/v1/segments/0/frames":                     422,
		"/v1/segments/17592186044416/ops":           422,
		"/v1/segments/1/nodes/1048576":              422,
		"/v1/segments/1/nodes/18446744073709551616": 422,
	} {
		resp := raw(t, dir, "GET", path, "")
		var got Problem
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Message == "" || resp.StatusCode != status {
			t.Errorf("%s: %d %+v, %v", path, resp.StatusCode, got, err)
		}
	}
	p.Refuse = fail.New(fail.IO, "it went wrong").WithHint("do this")
	seen := 0
	_, err := c.Log(ctx, ask.Query{}, func(ask.Item) error { seen++; return nil })
	if !fail.Is(err, fail.IO) || err.Error() != "it went wrong; do this" || seen != 3 {
		t.Errorf("after %d operations: %v", seen, err)
	}
}

// There is a bound on streams, and a place is free again when one ends.
func TestStreamsAreBounded(t *testing.T) {
	inside := make(chan struct{}, maxStreams)
	p := &httpapitest.Pool{Block: func(ctx context.Context) { inside <- struct{}{}; <-ctx.Done() }}
	dir, _ := serve(t, p)
	c := NewClient(dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, maxStreams)
	query := func(ctx context.Context) error {
		_, err := c.Log(ctx, ask.Query{}, func(ask.Item) error { return nil })
		return err
	}
	for range maxStreams {
		go func() { ended <- query(ctx) }()
	}
	for range maxStreams {
		<-inside
	}
	if err := query(ctx); !fail.Is(err, fail.Busy) || !strings.Contains(err.Error(), fmt.Sprintf("%d long answers", maxStreams)) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := c.Status(ctx); err != nil {
		t.Errorf("a short answer: %v", err)
	}
	cancel()
	for range maxStreams {
		if err := <-ended; !fail.Is(err, fail.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	}
	again, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	for { // the server learns of it a little later
		go func() { ended <- query(again) }()
		select {
		case <-inside:
			return
		case err := <-ended:
			if !fail.Is(err, fail.Busy) {
				t.Fatalf("no place became free: %v", err)
			}
		}
	}
}

// Neither work that goes on nor a client that takes nothing holds up the end
// of the server.
func TestShutdownEndsStreams(t *testing.T) {
	inside := make(chan struct{}, 2)
	h := past()
	h.Changes = slices.Repeat(h.Changes, 100_000) // more than a socket holds
	p := &httpapitest.Pool{History: h, Block: func(ctx context.Context) { inside <- struct{}{}; <-ctx.Done() }}
	dir, s := serve(t, p)
	c, ctx := NewClient(dir), context.Background()
	if _, err := c.CreateVolume(ctx, "one", 4096); err != nil {
		t.Fatal(err)
	}
	busy := make(chan error, 1)
	go func() {
		_, err := c.Log(ctx, ask.Query{}, func(ask.Item) error { return nil })
		busy <- err
	}()
	<-inside
	idle, err := net.Dial("unix", SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	fmt.Fprintf(idle, "GET /v1/datasets/one/diff?from=@now HTTP/1.1\r\nHost: varve\r\n\r\n")
	if _, err := idle.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-busy; !fail.Is(err, fail.Canceled) {
		t.Errorf("the busy stream ended with %v", err)
	}
}

// What waits in the server's buffer is sent on though nothing follows.
func TestLinesDoNotWait(t *testing.T) {
	p := &httpapitest.Pool{History: past(), Block: func(ctx context.Context) { <-ctx.Done() }}
	dir, _ := serve(t, p)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	seen, enough := 0, errors.New("enough")
	_, err := NewClient(dir).Log(ctx, ask.Query{}, func(ask.Item) error {
		if seen++; seen == len(p.History.Operations) {
			return enough
		}
		return nil
	})
	if err != enough {
		t.Errorf("%d lines, then %v", seen, err)
	}
}

// A line that a broken connection cut in two is no answer that nobody
// understands.
func TestHalfALine(t *testing.T) {
	half := &http.Response{StatusCode: 200, Body: &brokenBody{}}
	c := NewClient(t.TempDir())
	c.http.Transport = answer{half}
	_, err := c.Log(context.Background(), ask.Query{}, func(ask.Item) error { return nil })
	if !fail.Is(err, fail.IO) || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("%v", err)
	}
}

type answer struct{ resp *http.Response }

func (a answer) RoundTrip(*http.Request) (*http.Response, error) { return a.resp, nil }

type brokenBody struct{ read bool }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.read {
		return 0, errors.New("connection reset")
	}
	b.read = true
	return copy(p, `{"message_type":"item","it`), nil
}

func (b *brokenBody) Close() error { return nil }

// No request with a body has a deadline of its own for it: that would stay, and end
// what takes longer than the body may take.
func TestNoDeadlineStays(t *testing.T) {
	n := 0
	for path, item := range New(Options{}).api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			if n++; op.BodyReadTimeout >= 0 {
				t.Errorf("%s %s is ended after %v", op.Method, path, op.BodyReadTimeout)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d operations with a body", n)
	}
}
