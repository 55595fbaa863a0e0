package httpapi

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/when"
)

// inside is a fake pool with two volumes, and its client.
func inside(t *testing.T, p *httpapitest.Pool) *Client {
	t.Helper()
	dir, _ := serve(t, p)
	c := NewClient(dir)
	for _, name := range []string{"one", "two"} {
		if _, err := c.CreateVolume(context.Background(), name, 4096); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestPrune(t *testing.T) {
	p := &httpapitest.Pool{Retention: httpapitest.Retention{Points: []string{"hourly-1"}, Bytes: 4096}}
	c, ctx := inside(t, p), context.Background()
	before := when.Spec{Kind: when.LSN, LSN: 2}
	list, err := c.Prune(ctx, "", engine.PruneOptions{DryRun: true})
	if err != nil || len(list) != 2 || list[0].Dataset != "one" || list[0].HorizonLSN != 1 || list[0].LSN != 0 || list[1].Bytes != 4096 || list[1].Points[0] != "hourly-1" {
		t.Errorf("a dry run of all: %+v, %v", list, err)
	}
	list, err = c.Prune(ctx, "one", engine.PruneOptions{Before: &before, DryRun: true})
	if err != nil || len(list) != 1 || list[0].HorizonLSN != 2 || !list[0].Horizon.Equal(httpapitest.Start.Add(2*time.Second)) {
		t.Errorf("a dry run of one: %+v, %v", list, err)
	}
	if d, err := c.Dataset(ctx, "one"); err != nil || d.OldestLSN != 1 {
		t.Errorf("a dry run changed %+v, %v", d, err)
	}
	list, err = c.Prune(ctx, "one", engine.PruneOptions{Before: &before})
	if err != nil || len(list) != 1 || list[0].LSN != 3 {
		t.Errorf("one: %+v, %v", list, err)
	}
	if d, err := c.Dataset(ctx, "one"); err != nil || d.OldestLSN != 2 {
		t.Errorf("after it: %+v, %v", d, err)
	}
	if n := len(p.Callers()); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}
}

func TestPruneOfNothing(t *testing.T) {
	dir, _ := serve(t, &httpapitest.Pool{})
	resp := raw(t, dir, "POST", "/v1/prune", `{}`)
	var body bytes.Buffer
	body.ReadFrom(resp.Body)
	if resp.StatusCode != 200 || strings.TrimSpace(body.String()) != "[]" {
		t.Errorf("%d %s", resp.StatusCode, &body)
	}
}

func TestExpiryOfSnapshots(t *testing.T) {
	p := &httpapitest.Pool{}
	c, ctx := inside(t, p), context.Background()
	expires := func(want map[string]time.Time) {
		t.Helper()
		all, err := c.Snapshots(ctx, "")
		if err != nil || len(all) != len(want) {
			t.Fatalf("%+v, %v", all, err)
		}
		for _, s := range all {
			at := time.Time{}
			if s.Expires != nil {
				at = *s.Expires
			}
			if !at.Equal(want[s.Dataset+"@"+s.Name]) {
				t.Errorf("%s@%s expires %v, want %v", s.Dataset, s.Name, at, want[s.Dataset+"@"+s.Name])
			}
		}
	}
	hour := when.Expiry{After: time.Hour}
	d, err := c.Snapshot(ctx, "one", "a", SnapshotOptions{Expires: hour})
	if err != nil || d.LSN != 3 {
		t.Fatalf("%+v, %v", d, err)
	}
	an := httpapitest.Start.Add(time.Hour + 2*time.Second) // one operation each
	expires(map[string]time.Time{"one@a": an})
	if d, err = c.SnapshotAll(ctx, "b", hour); err != nil || d.LSN != 4 {
		t.Fatalf("%+v, %v", d, err)
	}
	all := httpapitest.Start.Add(time.Hour + 3*time.Second)
	expires(map[string]time.Time{"one@a": an, "one@b": all, "two@b": all})
	if _, err := c.Expire(ctx, "one", "a", when.Expiry{}); err != nil {
		t.Fatal(err)
	}
	date := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := c.Expire(ctx, "one", "b", when.Expiry{At: date}); err != nil {
		t.Fatal(err)
	}
	expires(map[string]time.Time{"one@a": {}, "one@b": date, "two@b": all})

	// Where it cannot be said there is no snapshot, and who asked learns why.
	p.Unset = "expires"
	if _, err := c.Snapshot(ctx, "one", "c", SnapshotOptions{Expires: hour}); !fail.Is(err, fail.Invalid) {
		t.Errorf("%v", err)
	}
	if _, err := c.SnapshotAll(ctx, "c", hour); !fail.Is(err, fail.Invalid) {
		t.Errorf("%v", err)
	}
	expires(map[string]time.Time{"one@a": {}, "one@b": date, "two@b": all})
}

func TestCloneWithProperties(t *testing.T) {
	p := &httpapitest.Pool{Unset: "on-full"}
	c, ctx := inside(t, p), context.Background()
	d, err := c.Clone(ctx, "one", when.Spec{}, "good", map[string]string{"budget": "4096"})
	if err != nil || d.LSN != 3 || d.Moment == nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if got, err := c.Dataset(ctx, "good"); err != nil || got.Properties["budget"] != "4096" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = c.Clone(ctx, "one", when.Spec{}, "bad", map[string]string{"budget": "4096", "on-full": "reset"})
	if !fail.Is(err, fail.Invalid) || err.Error() != "on-full cannot be set here" {
		t.Errorf("a property that cannot be set: %v", err)
	}
	for _, destroyed := range []bool{false, true} {
		list, err := c.Datasets(ctx, destroyed)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Name == "bad" {
				t.Errorf("it left %+v", d)
			}
		}
	}
}

func TestReclaimable(t *testing.T) {
	c, ctx := inside(t, &httpapitest.Pool{Retention: httpapitest.Retention{Bytes: 8192}}), context.Background()
	for _, name := range []string{"a", "b"} {
		if _, err := c.Snapshot(ctx, "one", name, SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Reclaimable(ctx, "one", []string{"a", "b"}); err != nil || n != 2*8192+4096 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.Reclaimable(ctx, "one", []string{"a", "c"}); !fail.Is(err, fail.NotFound) {
		t.Errorf("no snapshot: %v", err)
	}
	many := make([]string, 15000) // as many as may be asked for at once
	for i := range many {
		many[i] = strings.Repeat("n", 63)
	}
	if _, err := c.Reclaimable(ctx, "one", many); !fail.Is(err, fail.NotFound) {
		t.Errorf("15000 snapshots: %v", err)
	}
}

func TestCleanAndClock(t *testing.T) {
	want := engine.CleanReport{FreedBytes: 1 << 40, Retired: 3, Compacted: 2, CopiedBytes: 4096}
	p := &httpapitest.Pool{Retention: httpapitest.Retention{Cleaned: want}}
	p.State.Clock = engine.ClockInfo{Suspect: true, Jump: time.Hour}
	c, ctx := inside(t, p), context.Background()
	var done, total int64
	got, err := c.Clean(ctx, func(d, t int64) { done, total = d, t })
	if err != nil || got != want || done != 1 || total != 2 {
		t.Errorf("%+v, %v; %d of %d", got, err, done, total)
	}
	if s, err := c.Status(ctx); err != nil || !s.Pool.Clock.Suspect || s.Pool.Clock.Jump != time.Hour {
		t.Errorf("%+v, %v", s.Pool.Clock, err)
	}
	if d, err := c.ConfirmClock(ctx); err != nil || d.LSN != 3 {
		t.Errorf("%+v, %v", d, err)
	}
	if s, err := c.Status(ctx); err != nil || s.Pool.Clock.Suspect {
		t.Errorf("after it: %+v, %v", s.Pool.Clock, err)
	}
	p.Refuse = fail.New(fail.FailStopped, "it went wrong")
	if _, err := c.Clean(ctx, func(int64, int64) {}); !fail.Is(err, fail.FailStopped) {
		t.Errorf("refused: %v", err)
	}
}

// What changes is logged with its caller; a question is not.
func TestRetentionIsLogged(t *testing.T) {
	var log bytes.Buffer
	p, dir := &httpapitest.Pool{}, t.TempDir()
	l, err := ListenUnix(SocketPath(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Pool: p, Files: p, Dumps: httpapitest.Dumps{}, Info: func() ServerInfo { return ServerInfo{} }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	served := make(chan struct{})
	go func(l net.Listener) { s.Serve(l); close(served) }(l)
	c, ctx := NewClient(dir), context.Background()
	c.CreateVolume(ctx, "one", 4096)
	c.Snapshot(ctx, "one", "a", SnapshotOptions{Expires: when.Expiry{After: time.Hour}})
	c.Reclaimable(ctx, "one", []string{"a"})
	c.Prune(ctx, "one", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}, DryRun: true})
	c.Clean(ctx, func(int64, int64) {})
	s.Shutdown(ctx)
	<-served
	for _, want := range []string{
		"op=snapshot dataset=one name=a expires=1h caller=", "op=prune dataset=one before=@now dry_run=true caller=", "op=clean caller=",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
	if strings.Contains(log.String(), "reclaimable") {
		t.Errorf("a question is in the log:\n%s", &log)
	}
}
