// Package metrics shows what a server does to Prometheus. What happens often
// is counted as it happens, in counters that are found beforehand, without a
// lock or an allocation; all else is asked for when somebody scrapes.
//
// Names begin with varve_ and end with their unit. docs/operations.md explains
// each of them.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"varve/internal/engine"
)

// maxScrapes bounds the scrapes answered at a time; more are told to come
// again.
const maxScrapes = 4

// Metrics are all metrics of one server. Its methods are safe for concurrent
// use.
type Metrics struct {
	registry *prometheus.Registry
	errors   *prometheus.CounterVec // of all protocols
	timings  [len(timingDescs)]histogram
	source   atomic.Pointer[func() (Sample, bool)]
}

// New makes the metrics of a server of that version. Until there is a source
// they tell about the process only.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		errors:   prometheus.NewCounterVec(requestErrors, []string{"protocol", "operation", "kind"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "varve_build_info", Help: "Always 1; the labels name the program.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.errors, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), timingCollector{m}, poolCollector{m})
	return m
}

// Observe counts something that the engine did. It does not wait.
func (m *Metrics) Observe(what engine.Timing, took time.Duration) {
	m.timings[what].observe(took)
}

// Follow makes f the source of what is asked for when somebody scrapes; it
// returns false where there is nothing to see. f is called concurrently.
func (m *Metrics) Follow(f func() (Sample, bool)) { m.source.Store(&f) }

// Handler answers scrapes. What cannot be measured is logged and left out.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}
