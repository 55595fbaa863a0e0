package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"varve/internal/engine"
)

// timingDescs describe what the engine tells the durations of.
var timingDescs = [...]*prometheus.Desc{
	engine.CommitTime:     prometheus.NewDesc("varve_commit_duration_seconds", "Waits until something is durable: flushes, and commands that change something.", nil, nil),
	engine.SyncTime:       prometheus.NewDesc("varve_sync_duration_seconds", "Writes and syncs that made a part of the log durable, one for many waiters.", nil, nil),
	engine.CheckpointTime: prometheus.NewDesc("varve_checkpoint_duration_seconds", "Checkpoints that were written, from the cut to the end.", nil, nil),
	engine.PauseTime:      prometheus.NewDesc("varve_checkpoint_pause_seconds", "The part of a checkpoint during which requests wait.", nil, nil),
}

// timingCollector shows a server's timings.
type timingCollector struct{ m *Metrics }

func (c timingCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range timingDescs {
		ch <- d
	}
}

func (c timingCollector) Collect(ch chan<- prometheus.Metric) {
	for i, d := range timingDescs {
		ch <- c.m.timings[i].metric(d)
	}
}
