package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"varve/internal/engine"
)

// Sample is the state of a pool and of its server at a scrape.
type Sample struct {
	engine.Metrics
	Catalog []engine.DatasetInfo
	Clients map[string]int // connections by protocol
}

// figure is a metric that is read off a T.
type figure[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*T) float64
}

func gauge[T any](name, help string, value func(*T) float64, labels ...string) figure[T] {
	return figure[T]{prometheus.NewDesc("varve_"+name, help, labels, nil), prometheus.GaugeValue, value}
}

func counter[T any](name, help string, value func(*T) float64) figure[T] {
	return figure[T]{prometheus.NewDesc("varve_"+name, help, nil, nil), prometheus.CounterValue, value}
}

var poolFigures = []figure[Sample]{
	gauge("fail_stopped", "1 after a failed write or sync: the pool takes no more writes.", func(s *Sample) float64 { return truth(s.State != "online") }),
	gauge("quarantined_blocks", "Blocks whose checksum failed since the server began.", func(s *Sample) float64 { return float64(s.QuarantinedBlocks) }),

	gauge("pool_capacity_bytes", "What the pool may use of its file system.", func(s *Sample) float64 { return float64(s.CapacityBytes) }),
	gauge("pool_used_bytes", "What its segments take, history and the unused ends of segments included.", func(s *Sample) float64 { return float64(s.UsedBytes) }),
	gauge("pool_free_bytes", "What it can still take.", func(s *Sample) float64 { return float64(s.FreeBytes) }),
	gauge("segments", "Segments of the log.", func(s *Sample) float64 { return float64(s.Segments) }),
	gauge("segment_size_bytes", "Size of one segment.", func(s *Sample) float64 { return float64(s.SegmentBytes) }),
	gauge("datasets", "Datasets that are there.", func(s *Sample) float64 { return float64(s.Datasets) }),
	gauge("snapshots", "Snapshots of all datasets.", func(s *Sample) float64 { return float64(s.Snapshots) }),

	counter("operations_total", "Operations logged since the pool was made: its last LSN.", func(s *Sample) float64 { return float64(s.LastLSN) }),
	gauge("operations_not_durable", "Operations that a crash may lose.", func(s *Sample) float64 { return float64(s.LastLSN - min(s.LastLSN, s.DurableLSN)) }),
	gauge("oldest_moment_timestamp_seconds", "When the oldest moment was that the pool keeps.", func(s *Sample) float64 { return unix(s.OldestTime) }),

	gauge("checkpoint_number", "Number of the last checkpoint.", func(s *Sample) float64 { return float64(s.Checkpoint) }),
	gauge("checkpoint_success_timestamp_seconds", "When a checkpoint ended well last, or was not needed.", func(s *Sample) float64 { return unix(s.CheckpointedTime) }),
	gauge("checkpoint_lag_operations", "Operations that a crash now would have to replay.", func(s *Sample) float64 { return float64(s.LastLSN - min(s.LastLSN, s.CheckpointLSN)) }),
	gauge("checkpoints", "Checkpoints that are kept.", func(s *Sample) float64 { return float64(s.Checkpoints) }),
	gauge("recovery_seconds", "How long reading and replaying the log took at the start.", func(s *Sample) float64 { return s.Recovery.Took.Seconds() }),
	gauge("recovery_operations", "Operations replayed at the start.", func(s *Sample) float64 { return float64(s.Recovery.Ops) }),

	gauge("log_unwritten_bytes", "Log in memory, not yet given to the file system.", func(s *Sample) float64 { return float64(s.UnwrittenBytes) }),
	gauge("log_unsynced_bytes", "Log that is not durable yet.", func(s *Sample) float64 { return float64(s.UnsyncedBytes) }),
	counter("log_frames_total", "Frames sealed since the server began.", func(s *Sample) float64 { return float64(s.Frames) }),

	gauge("dirty_bytes", "Tree nodes in memory that no checkpoint has written yet.", func(s *Sample) float64 { return float64(s.DirtyBytes) }),
	gauge("cache_bytes", "Memory for tree nodes.", func(s *Sample) float64 { return float64(s.CacheBytes) }),
	counter("cache_hits_total", "Descents of trees that found all nodes in memory.", func(s *Sample) float64 { return float64(s.CacheHits) }),
	counter("cache_misses_total", "Tree nodes read from the log.", func(s *Sample) float64 { return float64(s.CacheMisses) }),
	counter("cache_evictions_total", "Tree nodes dropped from memory.", func(s *Sample) float64 { return float64(s.CacheEvictions) }),
	gauge("scratch_bytes", "Scratch file of views of the past.", func(s *Sample) float64 { return float64(s.ScratchBytes) }),
}

var (
	logBytes = prometheus.NewDesc("varve_log_bytes_total", "Bytes appended to the log since the server began. Kinds: clients' data, tree nodes, deaths of blocks, super roots, and records (headers and operations).", []string{"kind"}, nil)
	views    = prometheus.NewDesc("varve_views", "Past moments that are open: in use, or kept because somebody may come back.", []string{"state"}, nil)
	clients  = prometheus.NewDesc("varve_clients", "Connections of clients.", []string{"protocol"}, nil)
)

var volumeFigures = []figure[engine.VolumeMetrics]{
	gauge("dataset_size_bytes", "Size of a volume.", func(v *engine.VolumeMetrics) float64 { return float64(v.Size) }, "dataset"),
	gauge("dataset_mapped_bytes", "Data that the present of a dataset refers to; it may share some with others.", func(v *engine.VolumeMetrics) float64 { return float64(v.Mapped) }, "dataset"),
	gauge("dataset_snapshots", "Snapshots of a dataset.", func(v *engine.VolumeMetrics) float64 { return float64(v.Snapshots) }, "dataset"),
	gauge("dataset_writers", "Clients connected that may write.", func(v *engine.VolumeMetrics) float64 { return float64(v.Writers) }, "dataset"),
	gauge("dataset_oldest_moment_timestamp_seconds", "When the oldest reachable moment of a dataset was.", func(v *engine.VolumeMetrics) float64 { return unix(v.OldestTime) }, "dataset"),
}

// poolCollector asks the source at each scrape.
type poolCollector struct{ m *Metrics }

func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range poolFigures {
		ch <- f.desc
	}
	for _, f := range volumeFigures {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{logBytes, views, clients} {
		ch <- d
	}
	describeSpace(ch)
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	f := c.m.source.Load()
	if f == nil {
		return
	}
	s, ok := (*f)()
	if !ok {
		return
	}
	send(ch, poolFigures, &s)
	for i := range s.Volumes {
		send(ch, volumeFigures, &s.Volumes[i], s.Volumes[i].Name)
	}
	for kind, n := range map[string]int64{"data": s.DataBytes, "node": s.NodeBytes, "deaths": s.DeathBytes, "super": s.SuperBytes, "record": s.RecordBytes} {
		ch <- prometheus.MustNewConstMetric(logBytes, prometheus.CounterValue, float64(n), kind)
	}
	ch <- prometheus.MustNewConstMetric(views, prometheus.GaugeValue, float64(s.ViewsInUse), "used")
	ch <- prometheus.MustNewConstMetric(views, prometheus.GaugeValue, float64(s.ViewsIdle), "idle")
	collectSpace(ch, &s)
	for protocol, n := range s.Clients {
		ch <- prometheus.MustNewConstMetric(clients, prometheus.GaugeValue, float64(n), protocol)
	}
}

func send[T any](ch chan<- prometheus.Metric, figures []figure[T], of *T, labels ...string) {
	for _, f := range figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(of), labels...)
	}
}

// unix is a time as Prometheus wants it; one that is not known is 0.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
