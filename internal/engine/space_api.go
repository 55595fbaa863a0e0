package engine

import (
	"sync"
	"time"

	"varve/internal/when"
)

// SpaceInfo is what a dataset occupies: bytes of payload, by counters.
type SpaceInfo struct {
	Live        int64 `json:"live"`        // what its head refers to
	Shared      int64 `json:"shared"`      // of Live: blocks of its origin
	History     int64 `json:"history"`     // dropped, and kept by history
	Snapshots   int64 `json:"snapshots"`   // dropped before history, and kept by snapshots, kept points and clones
	Held        int64 `json:"held"`        // of Snapshots: what a held snapshot keeps
	Reclaimable int64 `json:"reclaimable"` // what destroying it for good would free
}

// LimitInfo is a limit of a dataset and how much of it is used.
type LimitInfo struct {
	Name    string `json:"name"` // "quota", "budget"
	Limit   int64  `json:"limit"`
	Used    int64  `json:"used"`
	Percent int    `json:"percent"`
}

// PoolSpace is what the pool occupies: bytes.
type PoolSpace struct {
	Live      int64 `json:"live"`      // heads
	History   int64 `json:"history"`   // dropped, kept by history
	Snapshots int64 `json:"snapshots"` // kept by snapshots, kept points and clones
	Held      int64 `json:"held"`      // of Snapshots
	Destroyed int64 `json:"destroyed"` // of destroyed datasets, that can come back or are being taken apart: live, history and snapshots
	Nodes     int64 `json:"nodes"`     // tree nodes and the records of retention
	Dead      int64 `json:"dead"`      // freed, and not yet given back to the file system
	Reserve   int64 `json:"reserve"`   // of what is free: only destroy, prune and the like may use it
}

// PruneOptions say what to forget. The zero value is what the background does
// by itself: what the properties history and keep no longer ask for.
type PruneOptions struct {
	Before *when.Spec // forget the history before this moment too; snapshots stay
	DryRun bool
}

// PruneReport says what went, or would go.
type PruneReport struct {
	Dataset    string    `json:"dataset"`
	HorizonLSN uint64    `json:"horizon_lsn"` // where history begins then
	Horizon    time.Time `json:"horizon"`
	Points     []string  `json:"points,omitempty"` // kept points and expired snapshots that go
	Bytes      int64     `json:"bytes"`            // payload that comes back
	LSN        uint64    `json:"lsn,omitempty"`    // of the last operation that did it; 0: nothing to do, or a dry run
}

// CleanReport says what a round of the cleaner gave back: bytes and segments.
type CleanReport struct {
	FreedBytes     int64 `json:"freed_bytes"`     // of the file system
	Retired        int   `json:"retired"`         // segments dead as a whole
	PunchedBytes   int64 `json:"punched_bytes"`   // holes
	Compacted      int   `json:"compacted"`       // segments whose rest was moved together
	CopiedBytes    int64 `json:"copied_bytes"`    // to do so
	Damaged        int   `json:"damaged"`         // blocks that were not copied because they are damaged
	RemainingBytes int64 `json:"remaining_bytes"` // dead, and not worth the work yet
}

// ClockInfo is what the pool thinks of the machine's clock.
type ClockInfo struct {
	Suspect bool          `json:"suspect"` // it jumped; the pool goes by elapsed time until it is confirmed or back
	Jump    time.Duration `json:"jump_ns"` // the clock minus the pool's time
	Pool    time.Time     `json:"pool"`
}

// cleanerTotals are what the cleaner did since the pool was opened.
type cleanerTotals struct {
	mu sync.Mutex
	CleanReport
}

func (t *cleanerTotals) note(r CleanReport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := r.RemainingBytes
	t.CleanReport.add(r)
	t.RemainingBytes = left
}

// add adds what another round did.
func (r *CleanReport) add(o CleanReport) {
	r.FreedBytes += o.FreedBytes
	r.Retired += o.Retired
	r.PunchedBytes += o.PunchedBytes
	r.Compacted += o.Compacted
	r.CopiedBytes += o.CopiedBytes
	r.Damaged += o.Damaged
}
