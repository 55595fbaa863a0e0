package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"varve/internal/fail"
)

var (
	requestDuration = prometheus.NewDesc("varve_request_duration_seconds", "Requests of clients, from having been parsed to their reply.", []string{"protocol", "operation"}, nil)
	requestBytes    = prometheus.NewDesc("varve_request_bytes_total", "Bytes of a disk that requests of clients spoke of, without those that failed.", []string{"protocol", "operation"}, nil)
	requestErrors   = prometheus.CounterOpts{Name: "varve_request_errors_total", Help: "Requests of clients that were answered with an error."}
)

// other is what requests of no known name count as.
const other = "other"

// requests count those of one protocol.
type requests struct {
	protocol   string
	operations []operation
	errors     *prometheus.CounterVec
}

// operation counts one kind of request.
type operation struct {
	name  string
	took  histogram
	bytes atomic.Uint64
}

// Requests returns what counts the requests of a protocol by its operations;
// those not named here count as "other". The function does not wait, and
// allocates for errors only. To be called once for each protocol.
func (m *Metrics) Requests(protocol string, operations ...string) func(op string, took time.Duration, bytes int, err error) {
	r := &requests{protocol: protocol, operations: make([]operation, len(operations)+1), errors: m.errors}
	for i, name := range append(operations, other) {
		r.operations[i].name = name
	}
	m.registry.MustRegister(r)
	return r.observe
}

func (r *requests) observe(op string, took time.Duration, bytes int, err error) {
	o := r.find(op)
	o.took.observe(took)
	if err != nil {
		r.errors.WithLabelValues(r.protocol, o.name, fail.KindOf(err).String()).Inc()
		return
	}
	o.bytes.Add(uint64(bytes))
}

// find returns the operation of that name, or the last. A few names are found
// faster one by one than by their hashes.
func (r *requests) find(name string) *operation {
	i := 0
	for i < len(r.operations)-1 && r.operations[i].name != name {
		i++
	}
	return &r.operations[i]
}

// Describe says nothing: the collectors of all protocols share their metrics.
func (r *requests) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *requests) Collect(ch chan<- prometheus.Metric) {
	for i := range r.operations {
		o := &r.operations[i]
		ch <- o.took.metric(requestDuration, r.protocol, o.name)
		ch <- prometheus.MustNewConstMetric(requestBytes, prometheus.CounterValue, float64(o.bytes.Load()), r.protocol, o.name)
	}
}
