package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"varve/internal/engine"
)

var spaceFigures = []figure[Sample]{
	gauge("pool_node_bytes", "Tree nodes, and the records of retention.", func(s *Sample) float64 { return float64(s.Space.Nodes) }),
	gauge("pool_dead_bytes", "What no moment needs, and the file system has not got back yet.", func(s *Sample) float64 { return float64(s.Space.Dead) }),
	gauge("pool_held_bytes", "Of the data that snapshots keep: what holds do.", func(s *Sample) float64 { return float64(s.Space.Held) }),
	gauge("pool_reserve_bytes", "Of what is free: only destroy, prune and the like may use it.", func(s *Sample) float64 { return float64(s.Space.Reserve) }),
	gauge("cleaner_working", "1 while dead space is given back.", func(s *Sample) float64 { return truth(s.Cleaner != "" && s.Cleaner != "idle") }),
	gauge("clock_suspect", "1 after the machine's clock jumped: the pool goes by elapsed time.", func(s *Sample) float64 { return truth(s.Clock.Suspect) }),
	gauge("clock_jump_seconds", "The machine's clock minus the pool's time.", func(s *Sample) float64 { return s.Clock.Jump.Seconds() }),
	gauge("warnings", "Things to look at; varve status names them.", func(s *Sample) float64 { return float64(len(s.Warnings)) }),
}

var cleanerFigures = []figure[engine.CleanReport]{
	counter("cleaner_freed_bytes_total", "Given back to the file system.", func(r *engine.CleanReport) float64 { return float64(r.FreedBytes) }),
	counter("cleaner_punched_bytes_total", "Of these, holes in segments that live.", func(r *engine.CleanReport) float64 { return float64(r.PunchedBytes) }),
	counter("cleaner_copied_bytes_total", "Moved together to empty segments.", func(r *engine.CleanReport) float64 { return float64(r.CopiedBytes) }),
	counter("cleaner_retired_segments_total", "Segments that were dead as a whole.", func(r *engine.CleanReport) float64 { return float64(r.Retired) }),
	counter("cleaner_compacted_segments_total", "Segments whose rest was moved together.", func(r *engine.CleanReport) float64 { return float64(r.Compacted) }),
	counter("cleaner_damaged_blocks_total", "Blocks that were not moved because they are damaged.", func(r *engine.CleanReport) float64 { return float64(r.Damaged) }),
}

var (
	poolData     = prometheus.NewDesc("varve_pool_data_bytes", "Data of clients, by what keeps it.", []string{"kept_by"}, nil)
	datasetData  = prometheus.NewDesc("varve_dataset_data_bytes", "Data of a dataset, by what keeps it.", []string{"dataset", "kept_by"}, nil)
	reclaimable  = prometheus.NewDesc("varve_dataset_reclaimable_bytes", "What destroying a dataset for good would free.", []string{"dataset"}, nil)
	limitBytes   = prometheus.NewDesc("varve_dataset_limit_bytes", "A limit of a dataset: its quota or its budget.", []string{"dataset", "limit"}, nil)
	limitPercent = prometheus.NewDesc("varve_dataset_limit_used_percent", "How much of a limit is used.", []string{"dataset", "limit"}, nil)
)

func describeSpace(ch chan<- *prometheus.Desc) {
	for _, f := range spaceFigures {
		ch <- f.desc
	}
	for _, f := range cleanerFigures {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{poolData, datasetData, reclaimable, limitBytes, limitPercent} {
		ch <- d
	}
}

func collectSpace(ch chan<- prometheus.Metric, s *Sample) {
	tell := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	send(ch, spaceFigures, s)
	send(ch, cleanerFigures, &s.Cleaned)
	for keeper, n := range map[string]int64{
		"live": s.Space.Live, "history": s.Space.History, "snapshots": s.Space.Snapshots, "destroyed": s.Space.Destroyed,
	} {
		tell(poolData, n, keeper)
	}
	for _, d := range s.Catalog {
		for keeper, n := range map[string]int64{"live": d.Space.Live, "history": d.Space.History, "snapshots": d.Space.Snapshots} {
			tell(datasetData, n, d.Name, keeper)
		}
		tell(reclaimable, d.Space.Reclaimable, d.Name)
		for _, l := range d.Limits {
			tell(limitBytes, l.Limit, d.Name, l.Name)
			tell(limitPercent, int64(l.Percent), d.Name, l.Name)
		}
	}
}
