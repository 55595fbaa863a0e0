package engine

import (
	"testing"
	"time"
)

// What the timer does to random writes over a large disk: a checkpoint whose
// nodes would be a large part of what is written waits, as long as replay and
// memory allow.
func TestCheckpointDue(t *testing.T) {
	o := Options{CheckpointEvery: 5 * time.Second, CacheBytes: 256 << 20}
	const mib = 1 << 20
	for _, tt := range []struct {
		name         string
		since        time.Duration
		grown, dirty int64
		want         bool
	}{
		{"the interval is over", 5 * time.Second, 100 * mib, 1 * mib, true},
		{"the interval is not over", 4 * time.Second, 100 * mib, 1 * mib, false},
		{"little was logged", 5 * time.Second, 4*mib - 1, 0, false},
		{"little was logged for long", 60 * time.Second, 1, 1, true},
		{"mostly nodes would be written", 5 * time.Second, 399 * mib, 100 * mib, false},
		{"mostly nodes, for long", 60 * time.Second, 399 * mib, 100 * mib, true},
		{"a quarter is nodes", 5 * time.Second, 400 * mib, 100 * mib, true},
		{"half of the cache is dirty", 0, 128 * mib, 128 * mib, true},
		{"less than half of the cache is dirty", 0, 127 * mib, 127 * mib, false},
		{"the log grew, and nodes are few", 0, 256 * mib, 51 * mib, true},
		{"the log grew, and nodes are many", 0, 256 * mib, 52 * mib, false},
		{"replay would take too long", 0, 1024 * mib, 120 * mib, true},
	} {
		if got := o.checkpointDue(tt.since, tt.grown, tt.dirty); got != tt.want {
			t.Errorf("%s: due %v, want %v", tt.name, got, tt.want)
		}
	}
}
