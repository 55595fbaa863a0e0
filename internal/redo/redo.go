// Package redo repeats operations of the log where others are left out: replay
// into a new dataset, and undo. It judges each operation anew by what it means in
// the state that it meets, and reports what does not fit. docs/replay.md
//
// One goroutine reads operations and their payload, another repeats them on a
// draft, as operations of its own; only the last step shows anything.
package redo

import (
	"context"
	"slices"
	"sync"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
)

// A Step is an operation that may be repeated. It is valid until the next one.
type Step struct {
	Op   *oplog.Op
	Data []byte                  // of Write and WriteFile: the bytes [Off, Off+Len)
	Out  bool                    // it is left out
	Path func(ino uint64) string // of an object that no step made; nil where numbers are those of the dataset
}

// Policy says what becomes of an operation that depends on one left out.
type Policy string

// The policies.
const (
	RenameAside Policy = "rename-aside" // a name that is taken is changed; what overlaps is repeated; the rest is left out
	Skip        Policy = "skip"         // it is left out
	Cascade     Policy = "cascade"      // it is left out, and what depends on it
	KeepNewer   Policy = "keep-newer"   // a name that is taken is taken over; what overlaps is repeated; the rest is left out
	Abort       Policy = "abort"        // nothing is done at all
)

// Policies are all there are; the first is the usual one.
var Policies = []string{string(RenameAside), string(Skip), string(Cascade), string(KeepNewer), string(Abort)}

// Conflict is in the chain of an error that says that nothing was done because of a
// conflict, under Abort: which one. The report that comes with the error lists it.
type Conflict string

func (c Conflict) Error() string { return string(c) }

// Taint says what else is left out: what later wrote to objects or names that
// operations left out had written to.
type Taint string

// The taints.
const (
	NoTaint   Taint = ""
	ByPath    Taint = "path"   // operations that do
	ByClients Taint = "client" // these, and all that their clients did from then on
)

// Options of a replay or an undo.
type Options struct {
	OnConflict Policy // "": RenameAside
	Taint      Taint
	DryRun     bool // only the report: what was made goes again
	Tell       func(Advance)
}

// Advance says how far it is.
type Advance struct {
	Ops   uint64 `json:"ops"`
	Total uint64 `json:"total"`
	Bytes uint64 `json:"bytes"`
}

// Report says what was done, or, of a dry run, would be.
type Report struct {
	Dataset string         `json:"dataset"`
	Name    string         `json:"name,omitempty"` // of the new dataset
	From    engine.Moment  `json:"from"`           // where it begins
	To      engine.Moment  `json:"to"`             // up to where operations were repeated
	Gap     *engine.Moment `json:"gap,omitempty"`  // what was asked for, and is before what can be reached
	DryRun  bool           `json:"dry_run,omitempty"`

	Ops      uint64            `json:"ops"`      // in the range
	LeftOut  uint64            `json:"left_out"` // by the filters
	Tainted  uint64            `json:"tainted"`
	Repeated uint64            `json:"repeated"`
	Skipped  uint64            `json:"skipped"` // for a conflict
	Bytes    uint64            `json:"bytes"`   // of payload repeated
	OutBytes uint64            `json:"left_out_bytes"`
	Causes   map[string]uint64 `json:"causes,omitempty"` // of conflicts
	Clashes  []Clash           `json:"conflicts,omitempty"`

	Clients []string `json:"clients,omitempty"` // whose operations the filters left out, without ports; the first of them

	Changed uint64    `json:"changed"` // objects, or bytes of a volume, that operations left out had changed
	Changes []Altered `json:"changes,omitempty"`
	Partial bool      `json:"partial"`
	Note    string    `json:"note,omitempty"` // what is not known, of what was done
	Took    float64   `json:"seconds"`
	Waited  float64   `json:"waited_seconds,omitempty"` // the longest time that clients of the dataset had to wait

	engine.Done
}

// Limits on what a report lists; it counts all.
const (
	maxClashes = 1000
	maxChanges = 10_000
	maxClients = 100
)

// Clash is an operation that depends on one left out.
type Clash struct {
	LSN    uint64    `json:"lsn"`
	Time   time.Time `json:"time"`
	Client string    `json:"client,omitempty"`
	Op     string    `json:"op"`
	Path   string    `json:"path,omitempty"`
	Off    uint64    `json:"off,omitempty"`
	Len    uint64    `json:"len,omitempty"`
	Cause  string    `json:"cause"`
	With   uint64    `json:"with,omitempty"` // the operation left out that it depends on, where that is known
	Action string    `json:"action"`         // "left out", "repeated", "renamed", "took over"
	Name   string    `json:"name,omitempty"` // that it has now
}

// Altered is a file that operations left out had changed, or what is gone.
type Altered struct {
	What string `json:"what"` // "restored", "back", "removed"
	Path string `json:"path"`
	Was  string `json:"was,omitempty"` // where it is at present
}

// client lists whose operations are left out.
func (r *Report) client(c *oplog.Client) {
	name := "the server"
	if c != nil {
		name = clientOf(c)
	}
	if len(r.Clients) < maxClients && !slices.Contains(r.Clients, name) {
		r.Clients = append(r.Clients, name)
	}
}

// batchOps and batchBytes bound what is read ahead at a time.
const (
	batchOps   = 256
	batchBytes = 4 << 20
	batchValue = 1 << 20
	batches    = 3
)

type batch struct {
	steps  []Step
	data   []byte
	values int // bytes of what the operations carry besides
}

// spare are batches whose memory is used again.
var spare = sync.Pool{New: func() any { return &batch{data: make([]byte, 0, batchBytes)} }}

func (b *batch) put() {
	clear(b.steps)
	b.steps, b.data, b.values = b.steps[:0], b.data[:0], 0
	spare.Put(b)
}

// filler puts steps into batches and sends those that are full.
type filler struct {
	b    *batch // nil: nothing is in one
	send func(*batch) error
}

// add makes a step of an operation, which is copied, and room for n bytes of data.
func (f *filler) add(op *oplog.Op, n int) (s *Step, data []byte, err error) {
	if b := f.b; b != nil && (len(b.steps) == batchOps || len(b.data)+n > cap(b.data) || b.values > batchValue) {
		if err := f.flush(); err != nil {
			return nil, nil, err
		}
	}
	if f.b == nil {
		f.b = spare.Get().(*batch)
	}
	b := f.b
	start := len(b.data)
	if n > cap(b.data)-start {
		return nil, nil, fail.New(fail.Corrupt, "%v has %d bytes of payload", op, n)
	}
	own := *op
	own.Extents = nil
	b.data = b.data[:start+n]
	b.values += len(op.Value)
	b.steps = append(b.steps, Step{Op: &own})
	return &b.steps[len(b.steps)-1], b.data[start:], nil
}

// flush sends what there is.
func (f *filler) flush() error {
	b := f.b
	if b == nil {
		return nil
	}
	f.b = nil
	return f.send(b)
}

// source hands out steps in order, up to a moment.
type source func(ctx context.Context, fn func(*batch) error) error

// run repeats what src has.
func (p *player) run(ctx context.Context, src source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := make(chan *batch, batches)
	done := make(chan error, 1)
	go func() {
		defer close(ch)
		done <- src(ctx, func(b *batch) error {
			select {
			case ch <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var bad error
	for b := range ch {
		for i := range b.steps {
			if bad == nil {
				bad = p.step(&b.steps[i])
			}
		}
		if bad != nil {
			cancel()
		} else if p.opt.Tell != nil {
			p.opt.Tell(Advance{Ops: p.report.Ops, Total: p.total, Bytes: p.report.Bytes})
		}
		b.put()
	}
	if err := <-done; bad == nil {
		bad = err
	}
	return bad
}
