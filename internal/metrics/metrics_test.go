package metrics

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"varve/internal/engine"
	"varve/internal/fail"
)

// scrape reads what a scrape gets, as a Prometheus would.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// one returns the metric of a family with these label values, in any order.
func one(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) *dto.Metric {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetValue()] = true
		}
		all := true
		for _, l := range labels {
			all = all && have[l]
		}
		if all {
			return m
		}
	}
	t.Fatalf("no %s%v", name, labels)
	return nil
}

func TestRequests(t *testing.T) {
	m := New("v1")
	observe := m.Requests("nbd", "read", "write")
	observe("read", 3*time.Millisecond, 4096, nil)
	observe("read", 20*time.Microsecond, 512, nil)
	observe("write", time.Second, 4096, fail.New(fail.NoSpace, "full"))
	observe("write", time.Second, 4096, errors.New("odd"))
	observe("haste", 0, 1, nil)

	got := scrape(t, m)
	h := one(t, got, "varve_request_duration_seconds", "nbd", "read").GetHistogram()
	if h.GetSampleCount() != 2 || h.GetSampleSum() < 0.00301 || h.GetSampleSum() > 0.00303 {
		t.Errorf("reads: %v", h)
	}
	for _, b := range h.GetBucket() {
		want := uint64(0)
		if b.GetUpperBound() >= 2e-5 {
			want++
		}
		if b.GetUpperBound() >= 3e-3 {
			want++
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("bucket %v: %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
		}
	}
	if n := one(t, got, "varve_request_bytes_total", "nbd", "read").GetCounter().GetValue(); n != 4608 {
		t.Errorf("%v bytes read", n)
	}
	if n := one(t, got, "varve_request_bytes_total", "nbd", "write").GetCounter().GetValue(); n != 0 {
		t.Errorf("%v bytes written by requests that failed", n)
	}
	for _, kind := range []string{"no-space", "other"} {
		if n := one(t, got, "varve_request_errors_total", "nbd", "write", kind).GetCounter().GetValue(); n != 1 {
			t.Errorf("%v errors of kind %s", n, kind)
		}
	}
	if n := one(t, got, "varve_request_duration_seconds", "nbd", "other").GetHistogram().GetSampleCount(); n != 1 {
		t.Errorf("%d requests of no known name", n)
	}
}

func TestPool(t *testing.T) {
	m := New("v1")
	if got := scrape(t, m); got["varve_build_info"] == nil || got["go_goroutines"] == nil || got["process_resident_memory_bytes"] == nil || got["varve_pool_free_bytes"] != nil {
		t.Error("before there is a pool the process, and only that, is to be seen")
	}
	m.Observe(engine.SyncTime, time.Millisecond)
	m.Follow(func() (Sample, bool) {
		return Sample{
			Metrics: engine.Metrics{
				Status: engine.Status{
					State: "fail-stopped", LastLSN: 100, DurableLSN: 90, CheckpointLSN: 60, FreeBytes: 7 << 40,
					NodeBytes: 3, CheckpointedTime: time.Unix(1000, 500e6), Recovery: engine.Recovery{Took: 1500 * time.Millisecond},
				},
				DataBytes: 5, ViewsInUse: 2, ViewsIdle: 3, CacheHits: 9,
				Volumes: []engine.VolumeMetrics{{Name: "a", Mapped: 11, OldestTime: time.Unix(77, 0)}, {Name: "b", Mapped: 12}},
			},
			Clients: map[string]int{"nbd": 4},
		}, true
	})
	got := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"varve_fail_stopped", nil, 1},
		{"varve_operations_not_durable", nil, 10},
		{"varve_checkpoint_lag_operations", nil, 40},
		{"varve_checkpoint_success_timestamp_seconds", nil, 1000.5},
		{"varve_pool_free_bytes", nil, 7 << 40},
		{"varve_recovery_seconds", nil, 1.5},
		{"varve_views", []string{"used"}, 2},
		{"varve_views", []string{"idle"}, 3},
		{"varve_clients", []string{"nbd"}, 4},
		{"varve_dataset_mapped_bytes", []string{"b"}, 12},
		{"varve_dataset_oldest_moment_timestamp_seconds", []string{"a"}, 77},
		{"varve_dataset_oldest_moment_timestamp_seconds", []string{"b"}, 0},
	} {
		if n := one(t, got, c.name, c.labels...).GetGauge().GetValue(); n != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, n, c.want)
		}
	}
	for name, want := range map[string]float64{"varve_operations_total": 100, "varve_cache_hits_total": 9} {
		if n := one(t, got, name).GetCounter().GetValue(); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	for kind, want := range map[string]float64{"data": 5, "node": 3} {
		if n := one(t, got, "varve_log_bytes_total", kind).GetCounter().GetValue(); n != want {
			t.Errorf("%v bytes of kind %s, want %v", n, kind, want)
		}
	}
	if n := one(t, got, "varve_sync_duration_seconds").GetHistogram().GetSampleCount(); n != 1 {
		t.Errorf("%d syncs", n)
	}
	if n := one(t, got, "varve_commit_duration_seconds").GetHistogram().GetSampleCount(); n != 0 {
		t.Errorf("%d commits", n)
	}
}

// TestNames: what Prometheus asks of names, and a word about each.
func TestNames(t *testing.T) {
	m := New("v1")
	m.Requests("nbd", "read")("read", 0, 0, fail.New(fail.IO, "x"))
	m.Follow(func() (Sample, bool) {
		return Sample{
			Metrics: engine.Metrics{Volumes: []engine.VolumeMetrics{{Name: "a"}}},
			Catalog: []engine.DatasetInfo{{Name: "a", Limits: []engine.LimitInfo{{Name: "quota"}}}},
			Clients: map[string]int{"nbd": 1},
		}, true
	})
	documented := namesInTable(t)
	for name, f := range scrape(t, m) {
		if !strings.HasPrefix(name, "varve_") {
			continue
		}
		if !documented[name] {
			t.Errorf("docs/operations.md does not explain %s", name)
		}
		delete(documented, name)
		if f.GetHelp() == "" {
			t.Errorf("%s has no HELP", name)
		}
		if total := strings.HasSuffix(name, "_total"); total != (f.GetType() == dto.MetricType_COUNTER) {
			t.Errorf("%s is a %v", name, f.GetType())
		}
	}
	for name := range documented {
		t.Errorf("docs/operations.md explains %s, which is not there", name)
	}
}

// namesInTable returns what the table in docs/operations.md explains.
func namesInTable(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(b), "| metric (`varve_...`) |")
	if !found {
		t.Fatal("docs/operations.md has no table of metrics")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	names := map[string]bool{}
	for _, line := range strings.Split(table, "\n")[2:] {
		for i, word := range strings.Split(strings.Split(line, "|")[1], "`") {
			if i%2 == 1 {
				names["varve_"+word] = true
			}
		}
	}
	return names
}

func TestBuckets(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-1, 0, 1, 1024, 1025, 2048, 17179869184, 17179869185, time.Hour} {
		h.observe(d)
	}
	var m dto.Metric
	if err := h.metric(timingDescs[0]).Write(&m); err != nil {
		t.Fatal(err)
	}
	b := m.GetHistogram().GetBucket()
	if len(b) != bounds || b[0].GetUpperBound() != 1.024e-6 || b[bounds-1].GetUpperBound() != 17.179869184 {
		t.Fatalf("bounds: %v", b)
	}
	if b[0].GetCumulativeCount() != 4 || b[1].GetCumulativeCount() != 6 || b[bounds-2].GetCumulativeCount() != 6 ||
		b[bounds-1].GetCumulativeCount() != 7 || m.GetHistogram().GetSampleCount() != 9 {
		t.Errorf("counts: %v", m.GetHistogram())
	}
}

func TestObservingAllocatesNothing(t *testing.T) {
	observe := New("v1").Requests("nbd", "read", "write", "flush", "trim", "zero", "cache")
	if n := testing.AllocsPerRun(1000, func() { observe("write", 5*time.Microsecond, 4096, nil) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// BenchmarkRequest is what a request pays: two looks at the clock and the
// observation.
func BenchmarkRequest(b *testing.B) {
	observe := New("v1").Requests("nbd", "read", "write", "flush", "trim", "zero", "cache")
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		observe("write", time.Since(start), 4096, nil)
	}
}

// BenchmarkObserve is the observation alone.
func BenchmarkObserve(b *testing.B) {
	observe := New("v1").Requests("nbd", "read", "write", "flush", "trim", "zero", "cache")
	b.ReportAllocs()
	for b.Loop() {
		observe("write", 5*time.Microsecond, 4096, nil)
	}
}
