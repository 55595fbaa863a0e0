package metrics

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of the buckets are powers of two of a nanosecond: from 1 µs, less
// than any request takes, to 17 s, which only a disk that hangs takes.
const (
	lowestBound = 10 // 2^10 ns
	bounds      = 25
)

// histogram counts durations. It does so in two additions, because it is in
// the way of every request; the library's takes longer.
type histogram struct {
	counts [bounds + 1]atomic.Uint64 // each of its bucket only; the last has no bound
	sum    atomic.Int64              // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 1)
	bucket := max(bits.Len64(uint64(d-1)), lowestBound) - lowestBound
	h.counts[min(bucket, bounds)].Add(1)
	h.sum.Add(int64(d))
}

// metric returns the counts as of now. Durations that are observed meanwhile
// may be in it in part.
func (h *histogram) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, bounds)
	count := uint64(0)
	for i := range bounds {
		count += h.counts[i].Load()
		buckets[float64(uint64(1)<<(lowestBound+i))/1e9] = count
	}
	count += h.counts[bounds].Load()
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(h.sum.Load()).Seconds(), buckets, labels...)
}
