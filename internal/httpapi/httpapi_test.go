package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/when"
)

// serve serves a fake pool in a new directory until the test ends.
func serve(t *testing.T, p *httpapitest.Pool) (dir string, s *Server) {
	t.Helper()
	dir = t.TempDir()
	l, err := ListenUnix(SocketPath(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	s = New(Options{Pool: p, Files: p, Dumps: httpapitest.Dumps{}, Info: func() ServerInfo {
		return ServerInfo{PID: os.Getpid(), Version: "test", Dir: dir, Addresses: []Address{{Proto: "nbd", Addr: "127.0.0.1:10809"}}}
	}})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return dir, s
}

func TestEveryCall(t *testing.T) {
	p := &httpapitest.Pool{Report: engine.CheckReport{Datasets: 1, Bytes: 4096, Damage: []engine.Damage{{Where: "segment 1", What: "rot"}}}}
	dir, _ := serve(t, p)
	c, ctx := NewClient(dir), context.Background()
	done := func(d engine.Done, err error) engine.Done {
		t.Helper()
		if err != nil || d.LSN == 0 || d.Time.IsZero() {
			t.Fatalf("%+v, %v", d, err)
		}
		return d
	}
	lsn := func(n uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: n} }

	done(c.CreateVolume(ctx, "disk0", 1<<53+4096)) // more than a float64 holds
	first := done(c.Snapshot(ctx, "disk0", "first", SnapshotOptions{}))
	cl := done(c.Clone(ctx, "disk0", lsn(1), "copy", nil))
	if cl.Moment == nil || cl.Moment.LSN != 1 || cl.Moment.Spec != "@lsn:1" {
		t.Errorf("clone of %+v", cl.Moment)
	}
	rb := done(c.Rollback(ctx, "disk0", when.Spec{Kind: when.Snapshot, Name: "first"}, false))
	if rb.Moment == nil || rb.Moment.LSN != first.LSN || rb.Guard == "" {
		t.Errorf("rollback: %+v", rb)
	}
	done(c.Rename(ctx, "copy", "twin"))
	done(c.Destroy(ctx, "twin", false))
	gone, err := c.Datasets(ctx, true)
	if err != nil || len(gone) != 1 || gone[0].Name != "twin" || gone[0].Destroyed == nil {
		t.Errorf("destroyed: %+v, %v", gone, err)
	}
	done(c.Undestroy(ctx, "twin", "back"))
	done(c.DestroySnapshot(ctx, "disk0", "first"))

	if d, err := c.Dataset(ctx, "disk0"); err != nil || d.Size != 1<<53+4096 || d.Snapshots != 1 {
		t.Errorf("dataset: %+v, %v", d, err)
	}
	if all, err := c.Datasets(ctx, false); err != nil || len(all) != 2 || all[0].Name != "back" || all[0].Origin != "disk0@lsn:1" {
		t.Errorf("datasets: %+v, %v", all, err)
	}
	if snaps, err := c.Snapshots(ctx, "disk0"); err != nil || len(snaps) != 1 || !snaps[0].Guard {
		t.Errorf("snapshots: %+v, %v", snaps, err)
	}
	if snaps, err := c.Snapshots(ctx, ""); err != nil || len(snaps) != 1 {
		t.Errorf("all snapshots: %+v, %v", snaps, err)
	}
	if m, err := c.Resolve(ctx, "disk0", lsn(2)); err != nil || m.LSN != 2 || !m.Time.Equal(httpapitest.Start.Add(2*time.Second)) {
		t.Errorf("resolve: %+v, %v", m, err)
	}
	if s, err := c.Status(ctx); err != nil || s.Pool.LastLSN != 8 || s.Server.PID != os.Getpid() || len(s.Server.Addresses) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	var ticks int
	r, err := c.Check(ctx, true, func(done, total uint64) { ticks++ })
	if err != nil || r.Bytes != 4096 || len(r.Damage) != 1 || ticks == 0 {
		t.Errorf("check: %+v, %v, %d ticks", r, err, ticks)
	}

	want := fmt.Sprintf("pid=%d,uid=%d", os.Getpid(), os.Getuid())
	for _, who := range p.Callers() {
		if who.Proto != "api" || who.Addr != want {
			t.Errorf("caller %+v, want %s", who, want)
		}
	}
}

// Every kind of error arrives as it left, with its message and hint.
func TestErrorsTravel(t *testing.T) {
	for kind, status := range statuses {
		p := &httpapitest.Pool{Refuse: fail.New(kind, "it went wrong").WithHint("do this")}
		dir, s := serve(t, p)
		_, err := NewClient(dir).Snapshot(context.Background(), "disk0", "a", SnapshotOptions{})
		var e *fail.Error
		if !errors.As(err, &e) || e.Kind != kind || e.Msg != "it went wrong" || e.Hint != "do this" {
			t.Errorf("%v arrived as %#v", kind, err)
		}
		if got := raw(t, dir, "POST", "/v1/datasets/a/snapshots", `{"name":"b"}`).StatusCode; got != status {
			t.Errorf("%v has status %d, want %d", kind, got, status)
		}
		_, err = NewClient(dir).Check(context.Background(), false, func(_, _ uint64) {})
		if !fail.Is(err, kind) || err.Error() != "it went wrong; do this" {
			t.Errorf("%v within a stream arrived as %v", kind, err)
		}
		s.Shutdown(context.Background())
	}
	for k := fail.Other; !strings.HasPrefix(k.String(), "kind-"); k++ {
		if statuses[k] == 0 {
			t.Errorf("kind %v has no HTTP status", k)
		}
	}
}

func TestProblemKeepsTheCause(t *testing.T) {
	err := fail.Wrap(fail.IO, fail.New(fail.Denied, "inner").WithHint("inner hint"), "outer").WithHint("outer hint")
	if p := problem(err); p.Kind != "io" || p.Message != "outer: inner; inner hint" || p.Hint != "outer hint" {
		t.Errorf("%+v", p)
	}
	if p := problem(errors.New("plain")); p.Kind != "other" || p.Message != "plain" || p.status != 500 {
		t.Errorf("%+v", p)
	}
}

func raw(t *testing.T, dir, method, path, body string) *http.Response {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: NewClient(dir).dial}}
	req, err := http.NewRequest(method, "http://varve"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestBadRequests(t *testing.T) {
	p := &httpapitest.Pool{}
	dir, _ := serve(t, p)
	for _, c := range []struct {
		method, path, body, kind, say string
	}{
		{"GET", "/", "", "not-found", "is not part of this API"},
		{"PUT", "/v1/status", "", "not-found", "is not part of this API"},
		{"POST", "/v1/volumes", "", "invalid", "body"},
		{"POST", "/v1/volumes", "{", "invalid", "unexpected end"},
		{"POST", "/v1/volumes", `{"name":"a"}`, "invalid", "size"},
		{"POST", "/v1/volumes", `{"name":"a","size":-1}`, "invalid", "size"},
		{"POST", "/v1/volumes", `{"name":"a","size":4096,"color":"red"}`, "invalid", "color"},
		{"POST", "/v1/volumes", `{"name":"` + strings.Repeat("a", maxBody) + `","size":4096}`, "too-big", "longer than"},
		{"POST", "/v1/volumes", `{"name":"now","size":4096}`, "invalid", "reads as a time"},
		{"GET", "/v1/datasets/a", "", "not-found", "no dataset a"},
		{"GET", "/v1/datasets/a/moment", "", "invalid", "when"},
		{"GET", "/v1/datasets/a/moment?when=@10x-ago", "", "invalid", "reads as a time ago"},
		{"GET", "/v1/datasets?color=red", "", "invalid", "color"},
		{"POST", "/v1/datasets/a/clone", `{"when":"","name":"b"}`, "invalid", "names no moment"},
		{"POST", "/v1/datasets/a/rollback", `{"when":"@2026-99-99"}`, "invalid", "reads as a time"},
		{"POST", "/v1/prune", `{"before":"@10x-ago"}`, "invalid", "reads as a time ago"},
		{"POST", "/v1/datasets/a/prune", `{}`, "not-found", "no dataset a"},
		{"POST", "/v1/datasets/a/reclaimable", `{"snapshots":[]}`, "invalid", "snapshots"},
		{"POST", "/v1/datasets/a/snapshots", `{"name":"b","expires":"soon"}`, "invalid", "no time to expire at"},
		{"PATCH", "/v1/datasets/a/snapshots/b", `{"expires":"2026-11-22"}`, "invalid", "which is past"},
		{"PATCH", "/v1/datasets/a/snapshots/b", `{"expires":"30d"}`, "not-found", "no snapshot a@b"},
	} {
		resp := raw(t, dir, c.method, c.path, c.body)
		var got Problem
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		}
		if resp.StatusCode < 400 || got.Kind != c.kind || !strings.Contains(got.Message, c.say) {
			t.Errorf("%s %s %.60s: %d %+v", c.method, c.path, c.body, resp.StatusCode, got)
		}
	}
	if n := len(p.Callers()); n != 0 {
		t.Errorf("%d bad requests changed something", n)
	}
}

func TestSpec(t *testing.T) {
	dir, _ := serve(t, &httpapitest.Pool{})
	var spec struct {
		Paths map[string]map[string]any
	}
	if err := json.NewDecoder(raw(t, dir, "GET", "/openapi.json", "").Body).Decode(&spec); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("pool.go")
	if err != nil {
		t.Fatal(err)
	}
	drawn := 0
	for line := range strings.Lines(string(source)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "//" || !strings.HasPrefix(f[2], "/v1/") {
			continue
		}
		drawn++
		if spec.Paths[f[2]][strings.ToLower(f[1])] == nil {
			t.Errorf("the package comment draws %s %s, which is not served", f[1], f[2])
		}
	}
	served := 0
	for _, methods := range spec.Paths {
		served += len(methods)
	}
	if served != drawn {
		t.Errorf("%d operations are served, %d drawn", served, drawn)
	}
}

func TestNoServer(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	_, err := NewClient(dir).Status(ctx)
	if want := fmt.Sprintf("no server for pool %s; start one with: varve serve %[1]s", dir); !fail.Is(err, fail.NoServer) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = NewClient(dir + "/x").Status(ctx)
	if !fail.Is(err, fail.NoServer) || !strings.Contains(err.Error(), "varve up "+dir+"/x") {
		t.Errorf("no directory: %v", err)
	}
	l, err := ListenUnix(SocketPath(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	l.(*socketListener).UnixListener.Close()
	if _, err = NewClient(dir).Status(ctx); !fail.Is(err, fail.NoServer) {
		t.Errorf("a stale socket: %v", err)
	}
}

func TestServerThatBreaksOff(t *testing.T) {
	dir := t.TempDir()
	l, err := ListenUnix(SocketPath(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string, 3)
	go func() {
		for a := range answers {
			c, err := l.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, a)
			c.Close()
		}
	}()
	defer close(answers)
	ctx, c := context.Background(), NewClient(dir)
	answers <- "HTTP/1.1 200 OK\r\n\r\n{\"message_type\":\"progress\",\"done\":1,\"total\":2}\n"
	if _, err := c.Check(ctx, false, func(_, _ uint64) {}); !fail.Is(err, fail.IO) || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("a stream without an end: %v", err)
	}
	answers <- "HTTP/1.1 200 OK\r\n\r\n<html>"
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "does not understand") {
		t.Errorf("no JSON: %v", err)
	}
	answers <- "HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n"
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "500 Oops") {
		t.Errorf("no problem: %v", err)
	}
}

func TestCanceledCheckEndsAtTheServer(t *testing.T) {
	ended := make(chan struct{})
	p := &httpapitest.Pool{Block: func(ctx context.Context) { <-ctx.Done(); close(ended) }}
	dir, _ := serve(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := NewClient(dir).Check(ctx, false, func(_, _ uint64) { cancel() })
	if !fail.Is(err, fail.Canceled) {
		t.Errorf("canceled check: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the check goes on though nobody listens")
	}
}

// A client that sends half a request holds up nobody else.
func TestStalledClient(t *testing.T) {
	dir, _ := serve(t, &httpapitest.Pool{})
	slow, err := net.Dial("unix", SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "POST /v1/volumes HTTP/1.1\r\nHost: varve\r\nContent-Length: 100\r\n\r\n{\"name\"")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := NewClient(dir).CreateVolume(ctx, "disk0", 4096); err != nil {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		s    engine.Status
		want Health
		why  int
	}{
		{engine.Status{State: "online", FreeBytes: 50, CapacityBytes: 100}, OK, 0},
		{engine.Status{State: "online", FreeBytes: 10, CapacityBytes: 100}, Warning, 1},
		{engine.Status{State: "online", FreeBytes: 5, CapacityBytes: 100}, Critical, 1},
		{engine.Status{State: "fail-stopped", Reason: "EIO", FreeBytes: 10, CapacityBytes: 100}, Critical, 2},
		{engine.Status{State: "online", FreeBytes: 50, CapacityBytes: 100, QuarantinedBlocks: 1}, Critical, 1},
		{engine.Status{State: "online", FreeBytes: 50, CapacityBytes: 100, CheckpointLate: "no checkpoint for 4m0s"}, Critical, 1},
		{engine.Status{State: "online", FreeBytes: 50, CapacityBytes: 100, Warnings: []string{"budget of trial: 92 %", "the clock jumped"}}, Warning, 2},
		{engine.Status{State: "online", FreeBytes: 5, CapacityBytes: 100, Warnings: []string{"the clock jumped"}}, Critical, 2},
	} {
		if got, why := (ServerStatus{Pool: c.s}).Health(); got != c.want || len(why) != c.why {
			t.Errorf("%+v: %v %q", c.s, got, why)
		}
	}
}

func TestLetThrough(t *testing.T) {
	dir := t.TempDir()
	for before, after := range map[os.FileMode]os.FileMode{0o700: 0o710, 0o755: 0o755} {
		if err := os.Chmod(dir, before); err != nil {
			t.Fatal(err)
		}
		if err := LetThrough(dir, fmt.Sprint(os.Getgid())); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != after {
			t.Errorf("%o became %v, %v", before, info.Mode(), err)
		}
	}
	if err := LetThrough(dir, "no such group"); !fail.Is(err, fail.Invalid) {
		t.Errorf("no such group: %v", err)
	}
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("d", 100), "varve.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces what the first left
		l, err := ListenUnix(path, "")
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		if _, err := ListenUnix(path, ""); !fail.Is(err, fail.Busy) {
			t.Errorf("a socket that is listened on: %v", err)
		}
		l.(*socketListener).UnixListener.Close() // as a killed server leaves it
	}
	l, err := ListenUnix(path, fmt.Sprint(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("with a group: %v, %v", info, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after Close the socket is there: %v", err)
	}
	if _, err := ListenUnix(path, "no such group"); !fail.Is(err, fail.Invalid) {
		t.Errorf("no such group: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("a failed listen left %v", left)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path, ""); !fail.Is(err, fail.Exists) {
		t.Errorf("a file in the way: %v", err)
	}
}
