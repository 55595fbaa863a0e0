package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"varve/internal/httpapi"
	"varve/internal/vfs"
)

// house is a pool that this process serves until the end of a test.
type house struct {
	t     *testing.T
	dir   string
	info  httpapi.ServerInfo
	stop  context.CancelFunc
	ended chan error
}

// serveHere makes a pool with a volume of 8 MiB and serves it.
func serveHere(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: filepath.Join(t.TempDir(), "p")}
	if err := makePool(vfs.OS(), h.dir, 64<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	h.start()
	return h
}

func (h *house) options(ready func(httpapi.ServerInfo, string, string) error) serveOptions {
	return serveOptions{
		dir: h.dir, nfs: []string{"127.0.0.1:0"}, nbd: []string{unixPrefix + h.socket()}, http: []string{"127.0.0.1:0"}, checkpoint: time.Hour,
		log: slog.New(slog.DiscardHandler), share: "home", volume: "disk0", size: 8 << 20, ready: ready,
	}
}

func (h *house) socket() string { return filepath.Join(h.dir, "nbd.sock") }

func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.ended = cancel, make(chan error, 1)
	up := make(chan httpapi.ServerInfo, 1)
	go func() {
		h.ended <- servePool(ctx, h.options(func(i httpapi.ServerInfo, _, _ string) error { up <- i; return nil }))
	}()
	select {
	case h.info = <-up:
	case err := <-h.ended:
		h.t.Fatal(err)
	}
	h.t.Cleanup(cancel)
}

func (h *house) end() {
	h.t.Helper()
	h.stop()
	if err := <-h.ended; err != nil {
		h.t.Fatal(err)
	}
}

// get asks the server's HTTP address.
func (h *house) get(path string) (int, string) {
	h.t.Helper()
	for _, a := range h.info.Addresses {
		if a.Proto != "http" {
			continue
		}
		r, err := http.Get("http://" + a.Addr + path)
		if err != nil {
			h.t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			h.t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	h.t.Fatal("no HTTP address")
	return 0, ""
}

// scrape returns every number of /metrics by its name with its labels; of a
// histogram, how often it was told something.
func (h *house) scrape() map[string]float64 {
	h.t.Helper()
	code, text := h.get("/metrics")
	if code != 200 {
		h.t.Fatalf("status %d: %s", code, text)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				out[key] = float64(m.GetHistogram().GetSampleCount())
			case dto.MetricType_COUNTER:
				out[key] = m.GetCounter().GetValue()
			default:
				out[key] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// TestMetricsOfARealServer: the figures are there and move as they should.
func TestMetricsOfARealServer(t *testing.T) {
	h := serveHere(t)
	if code, body := h.get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	before := h.scrape()
	c, err := attach(h.socket(), "disk0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const writes, reads, flushes = 5, 3, 2
	p := make([]byte, 4096)
	p[0] = 1
	do := func(times int, command uint16, n uint32, out, in []byte) {
		t.Helper()
		for i := range times {
			if err := request(c, command, uint64(i)<<12, n, out, in); err != nil {
				t.Fatal(err)
			}
		}
	}
	do(writes, 1, 4096, p, nil)
	do(reads, 0, 4096, nil, p)
	do(flushes, 3, 0, nil, nil)
	if err := request(c, 1, 8<<20, 4096, p, nil); err == nil {
		t.Error("a write behind the end went through")
	}
	after := h.scrape()

	moved := map[string]float64{
		"varve_request_duration_seconds write nbd":            writes + 1,
		"varve_request_duration_seconds read nbd":             reads,
		"varve_request_duration_seconds flush nbd":            flushes,
		"varve_request_duration_seconds trim nbd":             0,
		"varve_request_bytes_total write nbd":                 writes * 4096,
		"varve_request_bytes_total read nbd":                  reads * 4096,
		"varve_operations_total":                              writes,
		"varve_checkpoint_lag_operations":                     writes,
		"varve_log_bytes_total data":                          writes * 4096,
		"varve_dataset_mapped_bytes disk0":                    writes * 4096,
		"varve_dataset_writers disk0":                         1,
		"varve_clients nbd":                                   1,
		"varve_commit_duration_seconds":                       flushes,
		"varve_checkpoint_number":                             0,
		"varve_fail_stopped":                                  0,
		"varve_pool_capacity_bytes":                           0,
		"varve_dataset_oldest_moment_timestamp_seconds disk0": 0,
	}
	for name, want := range moved {
		was, ok := before[name]
		is, still := after[name]
		if !ok || !still {
			t.Errorf("%s is not there: %v, %v", name, ok, still)
		} else if is-was != want {
			t.Errorf("%s went from %v to %v, want %v more", name, was, is, want)
		}
	}
	if n := errorsOf(after); n != 1 {
		t.Errorf("%v errors", n)
	}
	if after["varve_sync_duration_seconds"] <= before["varve_sync_duration_seconds"] {
		t.Error("no sync was counted")
	}
	if after["varve_operations_not_durable"] != 0 {
		t.Errorf("%v operations are not durable after a flush", after["varve_operations_not_durable"])
	}
	now := float64(time.Now().Unix())
	for _, name := range []string{"varve_oldest_moment_timestamp_seconds", "varve_dataset_oldest_moment_timestamp_seconds disk0", "varve_checkpoint_success_timestamp_seconds"} {
		if after[name] < now-600 || after[name] > now+60 {
			t.Errorf("%s is %v, now is %v", name, after[name], now)
		}
	}
	if after["varve_pool_capacity_bytes"] != 64<<20 || after["varve_pool_free_bytes"] <= 0 || after["varve_pool_used_bytes"] <= 0 ||
		after["varve_dataset_size_bytes disk0"] != 8<<20 || after["varve_segment_size_bytes"] != 1<<20 {
		t.Errorf("sizes: %v", maps.Collect(maps.All(after)))
	}
	h.end()
}

func errorsOf(m map[string]float64) float64 {
	sum := 0.0
	for name, v := range m {
		if strings.HasPrefix(name, "varve_request_errors_total ") {
			sum += v
		}
	}
	return sum
}

// TestLifecycle: a service manager hears of the recovery, then that the server
// is ready, then that it stops; and ready means that clients are served.
func TestLifecycle(t *testing.T) {
	h := serveHere(t)
	c, err := attach(h.socket(), "disk0")
	if err != nil {
		t.Fatal(err)
	}
	if err := request(c, 1, 0, 512, make([]byte, 512), nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	h.end()

	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	var told []string
	hear := func() string {
		t.Helper()
		b := make([]byte, 4096)
		if err := l.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", told, err)
		}
		told = append(told, string(b[:n]))
		return told[len(told)-1]
	}
	h.start()
	for !strings.HasPrefix(hear(), "READY=1\n") {
	}
	if c, err = attach(h.socket(), "disk0"); err != nil {
		t.Errorf("ready, but %v", err)
	} else {
		c.Close()
	}
	if code, body := h.get("/healthz"); code != 200 {
		t.Errorf("ready, but healthz says %d %q", code, body)
	}
	want := []string{"STATUS=opening the pool", "STATUS=looking for the last checkpoint", "STATUS=reading the log after checkpoint",
		"STATUS=replayed 0 operations", "STATUS=making the end of the log durable", "STATUS=writing a checkpoint", "READY=1\nSTATUS=serving " + h.dir}
	for i, s := range told {
		if i >= len(want) || !strings.HasPrefix(s, want[i]) {
			t.Errorf("message %d is %q", i, s)
		}
	}
	if len(told) != len(want) {
		t.Errorf("%d messages: %q", len(told), told)
	}
	h.end()
	if s := hear(); !strings.HasPrefix(s, "STOPPING=1\nSTATUS=") {
		t.Errorf("at the end: %q", s)
	}
}

// TestHealth: what is not serving says so, and is asked nothing more.
func TestHealth(t *testing.T) {
	s := &server{life: lifecycle{log: slog.New(slog.DiscardHandler)}}
	s.life.starts("replayed 7 operations") // there is no engine yet
	if err := s.health(); err == nil || err.Error() != "starting: replayed 7 operations" {
		t.Errorf("while it starts: %v", err)
	}
	if _, ok := s.sample(); ok {
		t.Error("a server that starts has figures of its pool")
	}
	s.life.stops("waiting")
	if err := s.health(); err == nil || err.Error() != "stopping: waiting" {
		t.Errorf("while it stops: %v", err)
	}
}
