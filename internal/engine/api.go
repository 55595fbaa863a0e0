package engine

import "time"

// Caller says who asks: it is recorded in the log with each operation.
type Caller struct {
	Proto string // "nbd", "api", "nfs", ...; "" for the server itself
	Addr  string // "127.0.0.1:40112", "pid=4711,uid=0"
}

// Moment is a point of a dataset's line: the state after operation LSN.
type Moment struct {
	Dataset string    `json:"dataset"`
	LSN     uint64    `json:"lsn"`
	Time    time.Time `json:"time"` // of the last operation at or before LSN
	Spec    string    `json:"when"` // what was asked for, "@10m-ago"
}

// Done is the answer to a change: it is durable when returned.
type Done struct {
	LSN    uint64    `json:"lsn"`
	Time   time.Time `json:"time"`
	Moment *Moment   `json:"moment,omitempty"` // what a WHEN was resolved to
	Guard  string    `json:"guard,omitempty"`  // the snapshot that keeps what a rollback left
}

// DatasetInfo describes a dataset. Sizes are bytes.
type DatasetInfo struct {
	ID         uint64     `json:"id"`
	Name       string     `json:"name"`
	Kind       string     `json:"kind"` // "volume" or "share"
	Size       uint64     `json:"size"`
	Mapped     uint64     `json:"mapped"` // payload the head refers to
	Inodes     uint64     `json:"inodes,omitempty"`
	Created    time.Time  `json:"created"`
	CreatedLSN uint64     `json:"created_lsn"`
	ChangedLSN uint64     `json:"changed_lsn"` // the last operation on its line
	Origin     string     `json:"origin,omitempty"`
	OriginID   uint64     `json:"-"` // of the dataset it was cloned from, or 0
	ForkLSN    uint64     `json:"fork_lsn,omitempty"`
	Snapshots  int        `json:"snapshots"`
	Writers    []string   `json:"writers,omitempty"` // connected clients that may write
	Destroyed  *time.Time `json:"destroyed,omitempty"`
	OldestLSN  uint64     `json:"oldest_lsn"` // the oldest reachable moment
	OldestTime time.Time  `json:"oldest_time"`

	Properties map[string]string `json:"properties,omitempty"` // those that are set
	Space      SpaceInfo         `json:"space"`
	Limits     []LimitInfo       `json:"limits,omitempty"`
}

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	ID      uint64    `json:"id"` // the operation that made it
	Dataset string    `json:"dataset"`
	Name    string    `json:"name"`
	LSN     uint64    `json:"lsn"`
	Time    time.Time `json:"time"`
	Guard   bool      `json:"guard,omitempty"` // made by a rollback, for its own history
	Holds   []string  `json:"holds,omitempty"`

	Kept       bool       `json:"kept,omitempty"` // made by the schedule of the property keep
	Expires    *time.Time `json:"expires,omitempty"`
	Used       int64      `json:"used"`       // bytes that destroying it alone would free
	Referenced int64      `json:"referenced"` // bytes of payload that it refers to
}

// Status describes a pool that is being served.
type Status struct {
	PoolID            string    `json:"pool_id"`
	State             string    `json:"state"` // "online", "fail-stopped"
	Reason            string    `json:"reason,omitempty"`
	LastLSN           uint64    `json:"last_lsn"`
	DurableLSN        uint64    `json:"durable_lsn"`
	Checkpoint        uint64    `json:"checkpoint"` // number of the last one
	CheckpointLSN     uint64    `json:"checkpoint_lsn"`
	CheckpointTime    time.Time `json:"checkpoint_time"`
	CheckpointedTime  time.Time `json:"checkpointed_time"`         // when everything was in a checkpoint last
	CheckpointLate    string    `json:"checkpoint_late,omitempty"` // why there is no recent one
	OldestLSN         uint64    `json:"oldest_lsn"`
	OldestTime        time.Time `json:"oldest_time"`
	Datasets          int       `json:"datasets"`
	Snapshots         int       `json:"snapshots"`
	Segments          int       `json:"segments"`
	SegmentBytes      int64     `json:"segment_bytes"`
	UsedBytes         int64     `json:"used_bytes"`
	FreeBytes         int64     `json:"free_bytes"`
	CapacityBytes     int64     `json:"capacity_bytes"`
	DirtyBytes        int64     `json:"dirty_bytes"` // tree nodes not yet written
	CacheBytes        int64     `json:"cache_bytes"`
	LogBytes          int64     `json:"log_bytes"`     // appended since the server began
	PayloadBytes      int64     `json:"payload_bytes"` // of these, clients' data
	NodeBytes         int64     `json:"node_bytes"`
	Recovery          Recovery  `json:"recovery"`
	Started           time.Time `json:"started"`
	QuarantinedBlocks int       `json:"quarantined_blocks"` // seen damaged since the server began
	Space             PoolSpace `json:"space"`
	Clock             ClockInfo `json:"clock"`
	Cleaner           string    `json:"cleaner"`            // "idle", "cleaning", "compacting", ...
	Warnings          []string  `json:"warnings,omitempty"` // limits nearly reached, a clock that jumped, ...: status --check exits 4 with them
}

// Recovery says what opening the pool found and replayed.
type Recovery struct {
	Ops       uint64        `json:"ops"`
	Frames    int           `json:"frames"`
	Took      time.Duration `json:"took_ns"`
	Discarded string        `json:"discarded,omitempty"` // the torn tail that was dropped
}

// CheckReport is what check found.
type CheckReport struct {
	Datasets  int      `json:"datasets"`
	Snapshots int      `json:"snapshots"`
	Nodes     uint64   `json:"nodes"`
	Extents   uint64   `json:"extents"`
	Frames    uint64   `json:"frames"`
	Ops       uint64   `json:"ops"`
	Bytes     uint64   `json:"bytes"` // payload read and verified
	Free      uint64   `json:"free"`  // blocks of payload that nobody needs, and that are not given back yet
	Damage    []Damage `json:"damage,omitempty"`
}

// Damage is one thing that is wrong.
type Damage struct {
	Where string `json:"where"` // "segment 12 block 331", "disk0 block 8812"
	What  string `json:"what"`
}

// PoolID is the pool's identity, random, given when it was made.
func (e *Engine) PoolID() [16]byte { return e.super.pool }
