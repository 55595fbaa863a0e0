package metrics

import (
	"testing"
	"time"

	"varve/internal/engine"
)

func TestSpace(t *testing.T) {
	m := New("v1")
	sample := Sample{
		Metrics: engine.Metrics{Status: engine.Status{
			State:   "online",
			Space:   engine.PoolSpace{Live: 1, History: 2, Snapshots: 3, Held: 4, Destroyed: 5, Nodes: 6, Dead: 7, Reserve: 8},
			Clock:   engine.ClockInfo{Suspect: true, Jump: -90 * time.Second},
			Cleaner: "compacting", Warnings: []string{"budget of b: 92 %", "the clock jumped"},
		}},
		Catalog: []engine.DatasetInfo{
			{Name: "a", Space: engine.SpaceInfo{Live: 10, History: 20, Snapshots: 30, Reclaimable: 40}},
			{Name: "b", Limits: []engine.LimitInfo{{Name: "quota", Limit: 200, Percent: 1}, {Name: "budget", Limit: 100, Percent: 92}}},
		},
	}
	m.Follow(func() (Sample, bool) { return sample, true })
	got := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"varve_pool_data_bytes", []string{"live"}, 1},
		{"varve_pool_data_bytes", []string{"history"}, 2},
		{"varve_pool_data_bytes", []string{"snapshots"}, 3},
		{"varve_pool_data_bytes", []string{"destroyed"}, 5},
		{"varve_pool_held_bytes", nil, 4},
		{"varve_pool_node_bytes", nil, 6},
		{"varve_pool_dead_bytes", nil, 7},
		{"varve_pool_reserve_bytes", nil, 8},
		{"varve_dataset_data_bytes", []string{"a", "live"}, 10},
		{"varve_dataset_data_bytes", []string{"a", "history"}, 20},
		{"varve_dataset_data_bytes", []string{"a", "snapshots"}, 30},
		{"varve_dataset_reclaimable_bytes", []string{"a"}, 40},
		{"varve_dataset_limit_bytes", []string{"b", "budget"}, 100},
		{"varve_dataset_limit_used_percent", []string{"b", "budget"}, 92},
		{"varve_dataset_limit_used_percent", []string{"b", "quota"}, 1},
		{"varve_cleaner_working", nil, 1},
		{"varve_clock_suspect", nil, 1},
		{"varve_clock_jump_seconds", nil, -90},
		{"varve_warnings", nil, 2},
	} {
		if n := one(t, got, c.name, c.labels...).GetGauge().GetValue(); n != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, n, c.want)
		}
	}
	sample.Cleaner, sample.Clock = "idle", engine.ClockInfo{}
	sample.Cleaned = engine.CleanReport{FreedBytes: 1, Retired: 2, PunchedBytes: 3, Compacted: 4, CopiedBytes: 5, Damaged: 6}
	got = scrape(t, m)
	for name, want := range map[string]float64{
		"varve_cleaner_freed_bytes_total": 1, "varve_cleaner_retired_segments_total": 2, "varve_cleaner_punched_bytes_total": 3,
		"varve_cleaner_compacted_segments_total": 4, "varve_cleaner_copied_bytes_total": 5, "varve_cleaner_damaged_blocks_total": 6,
	} {
		if n := one(t, got, name).GetCounter().GetValue(); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	for _, name := range []string{"varve_cleaner_working", "varve_clock_suspect"} {
		if n := one(t, got, name).GetGauge().GetValue(); n != 0 {
			t.Errorf("%s is %v", name, n)
		}
	}
}
