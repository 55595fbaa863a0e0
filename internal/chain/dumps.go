package chain

import (
	"context"
	"io"
	"sync"
	"time"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// Dumps makes dumps of what is in a pool. Safe for concurrent use.
type Dumps struct {
	e *engine.Engine

	mu     sync.Mutex
	states []cached         // the one used last at the end
	dates  map[string]int64 // by share: the last c_date that was given out
}

type cached struct {
	dataset, lsn uint64
	state        *state
}

// maxStates bounds the states that are remembered: bytes. What is not costs a scan
// of the inodes of the chain's level 0 to make again.
const maxStates = 64 << 20

// New makes Dumps of a pool.
func New(e *engine.Engine) *Dumps { return &Dumps{e: e, dates: make(map[string]int64)} }

// Request says what to dump and how.
type Request struct {
	When      *when.Spec // nil: now
	Partition int        // of a volume: from 1, 0 for the whole of it
	Level     int
	Honor     int // the least level at which nodump is honoured
	Profile   dump.Profile
	Label     string
	Blocking  int
	Host      string
	Filesys   string // of a volume: what the archive calls it
	Update    bool   // of a share: others shall be based on this dump

	// Of a volume at levels above 0: c_date of the base.
	DDate int64
}

// Info describes a dump before it is written.
type Info struct {
	Dataset     string        `json:"dataset"`
	Kind        string        `json:"kind"` // dump.Info.Kind
	Moment      engine.Moment `json:"moment"`
	Level       int           `json:"level"`
	Date        time.Time     `json:"date"`          // c_date
	Base        time.Time     `json:"base,omitzero"` // c_ddate
	Bytes       uint64        `json:"bytes"`         // of the archive
	Exact       bool          `json:"exact"`         // else Bytes is an estimate
	Inodes      uint64        `json:"inodes"`        // in the archive
	Directories uint64        `json:"directories"`   // among them
	Snapshot    string        `json:"snapshot,omitempty"`
	Warnings    []string      `json:"warnings,omitempty"`
}

// Job is a dump that is ready to be written.
type Job struct {
	Info   Info
	source dump.Source
	plan   *dump.Plan
	opts   dump.Options
	view   *engine.View // nil of a BeginImage
}

// Close gives back what a job holds.
func (j *Job) Close() {
	if j.view != nil {
		j.view.Close()
	}
}

// Write writes the archive.
func (j *Job) Write(ctx context.Context, w io.Writer) (dump.Result, error) {
	return dump.Write(ctx, w, j.source, j.plan, &j.opts, nil)
}

// Warnings returns what the source has to tell after it was read.
func (j *Job) Warnings() []string { return j.source.Warnings() }

// Begin plans a dump of a dataset. Close the job. With Update the moment is kept
// by a snapshot, Info.Snapshot, that goes by itself in two days unless Keep is
// called when the archive is safe.
func (d *Dumps) Begin(ctx context.Context, c engine.Caller, dataset string, r Request) (*Job, error) {
	i, err := d.e.Dataset(dataset)
	if err != nil {
		return nil, err
	}
	w := when.Spec{Kind: when.Now}
	if r.When != nil {
		w = *r.When
	}
	m, err := d.e.Resolve(dataset, w)
	if err != nil {
		return nil, err
	}
	v, err := d.e.OpenView(m)
	if err != nil {
		return nil, err
	}
	j := &Job{view: v, Info: Info{Dataset: dataset, Moment: m, Level: r.Level}}
	j.opts = r.options("/"+dataset, dataset+m.Spec)
	if i.Kind == "share" {
		err = d.share(ctx, c, j, r)
	} else {
		err = d.volume(ctx, j, r)
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	j.describe()
	return j, nil
}

// share plans a dump of a share.
func (d *Dumps) share(ctx context.Context, c engine.Caller, j *Job, r Request) error {
	if r.Partition != 0 || r.DDate != 0 {
		return fail.New(fail.Invalid, "%s is a share: it has no partitions, and its own record of dumps", j.Info.Dataset)
	}
	list, err := d.List(j.Info.Dataset)
	if err != nil {
		return err
	}
	j.opts.Date = d.date(j.Info.Dataset, next(list, j.Info.Moment.Time))
	var s *state
	if r.Level == 0 {
		s, err = d.level0(ctx, j, r)
	} else {
		s, err = d.level(ctx, j, list, r)
	}
	if err != nil || !r.Update {
		return err
	}
	name := recordName(r.Level, j.opts.Date, j.opts.DDate)
	also := engine.Also{Expires: d.e.Status().Clock.Pool.Add(openFor)}
	if _, err := d.e.SnapshotAt(c, j.Info.Dataset, name, when.Spec{Kind: when.LSN, LSN: j.view.LSN()}, also); err != nil {
		return err
	}
	j.Info.Snapshot = name
	d.remember(j.view.ID(), j.view.LSN(), s)
	return nil
}

// openFor is how long the snapshot of a dump stays that was not finished.
const openFor = 48 * time.Hour

func (d *Dumps) level0(ctx context.Context, j *Job, r Request) (*state, error) {
	s, err := scanState(ctx, j.view)
	if err != nil {
		return nil, err
	}
	src := newShare(j.view, j.Info.Dataset, s.numbers)
	j.source = src
	if j.plan, err = dump.Examine(ctx, src, dump.Since{Honor: r.Honor}, &j.opts); err != nil {
		return nil, err
	}
	return s, dump.Measure(ctx, src, j.plan, &j.opts)
}

func (d *Dumps) level(ctx context.Context, j *Job, list []Record, r Request) (*state, error) {
	base, err := baseFor(list, j.Info.Dataset, r.Level)
	if err != nil {
		return nil, err
	}
	if base.LSN > j.view.LSN() {
		return nil, fail.New(fail.Invalid, "%s is before %s, which level %d is based on", j.Info.Moment.Spec, base.Snapshot, r.Level).
			WithHint("dump a later moment, or a lower level")
	}
	st, err := d.stepFrom(ctx, list, base, j.view)
	if err != nil {
		return nil, err
	}
	j.opts.DDate = base.Date.Unix()
	src := newShare(j.view, j.Info.Dataset, st.numbers)
	j.source = src
	j.plan, err = planStep(ctx, src, st, r.Level, r.Honor, &j.opts)
	return &st.state, err
}

// stepFrom makes the step from what a dump left to a view.
func (d *Dumps) stepFrom(ctx context.Context, list []Record, base Record, is *engine.View) (*step, error) {
	before, err := d.stateOf(ctx, list, base)
	if err != nil {
		return nil, err
	}
	was, err := d.viewOf(base)
	if err != nil {
		return nil, err
	}
	defer was.Close()
	return diffState(ctx, before, was, is)
}

func (d *Dumps) viewOf(r Record) (*engine.View, error) {
	m, err := d.e.Resolve(r.Dataset, when.Spec{Kind: when.Snapshot, Name: r.Snapshot})
	if err != nil {
		return nil, err
	}
	return d.e.OpenView(m)
}

// stateOf returns the state that a dump left: remembered, or made again by going
// through its chain.
func (d *Dumps) stateOf(ctx context.Context, list []Record, r Record) (*state, error) {
	v, err := d.viewOf(r)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if s := d.remembered(v.ID(), v.LSN()); s != nil {
		return s, nil
	}
	var s *state
	if r.Level == 0 {
		if s, err = scanState(ctx, v); err != nil {
			return nil, err
		}
	} else {
		base, err := dated(list, r)
		if err != nil {
			return nil, err
		}
		st, err := d.stepFrom(ctx, list, base, v)
		if err != nil {
			return nil, err
		}
		s = &st.state
	}
	d.remember(v.ID(), v.LSN(), s)
	return s, nil
}

func (d *Dumps) remembered(dataset, lsn uint64) *state {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range d.states {
		if c.dataset == dataset && c.lsn == lsn {
			d.states = append(append(d.states[:i], d.states[i+1:]...), c)
			return c.state
		}
	}
	return nil
}

func (d *Dumps) remember(dataset, lsn uint64, s *state) {
	if d.remembered(dataset, lsn) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.states = append(d.states, cached{dataset, lsn, s})
	total := 0
	for i := len(d.states) - 1; i >= 0; i-- {
		if total += d.states[i].state.bytes(); total > maxStates {
			d.states = append([]cached(nil), d.states[i+1:]...)
			return
		}
	}
}

// Kept is the answer to Keep.
type Kept struct {
	Snapshot string   `json:"snapshot"`
	Freed    []string `json:"freed"` // the snapshots of dumps that nothing can be based on any more
}

// Keep records a dump whose archive is safe: its snapshot is held from now on. The
// snapshots of dumps of its level and higher ones are destroyed, for no dump will be
// based on them. BaseMissing if its own base went while it was made.
func (d *Dumps) Keep(c engine.Caller, dataset, snapshot string) (Kept, error) {
	k := Kept{Snapshot: snapshot, Freed: []string{}}
	list, err := d.List(dataset)
	if err != nil {
		return k, err
	}
	r, err := findRecord(list, dataset, snapshot)
	if err != nil {
		return k, err
	}
	if r.Open {
		if r.Level > 0 {
			if _, err := dated(list, r); err != nil {
				return k, err
			}
		}
		if _, err := d.e.Hold(c, dataset, snapshot, holdTag); err != nil {
			return k, err
		}
		if _, err := d.e.Expire(c, dataset, snapshot, time.Time{}); err != nil {
			return k, err
		}
	}
	for _, old := range list {
		if old.Open || old.Level < r.Level || !old.Date.Before(r.Date) {
			continue
		}
		if _, err := d.e.Release(c, dataset, old.Snapshot, holdTag); err != nil {
			return k, err
		}
		if _, err := d.e.DestroySnapshot(c, dataset, old.Snapshot); err != nil {
			return k, err
		}
		k.Freed = append(k.Freed, old.Snapshot)
	}
	return k, nil
}

// Discard destroys the snapshot of a dump that came to nothing.
func (d *Dumps) Discard(c engine.Caller, dataset, snapshot string) (engine.Done, error) {
	list, err := d.List(dataset)
	if err != nil {
		return engine.Done{}, err
	}
	r, err := findRecord(list, dataset, snapshot)
	if err == nil && !r.Open {
		err = fail.New(fail.Busy, "%s@%s is the record of a dump", dataset, snapshot).WithHint("a new dump of level 0 frees it")
	}
	if err != nil {
		return engine.Done{}, err
	}
	return d.e.DestroySnapshot(c, dataset, snapshot)
}

func findRecord(list []Record, dataset, snapshot string) (Record, error) {
	for _, r := range list {
		if r.Snapshot == snapshot {
			return r, nil
		}
	}
	return Record{}, fail.New(fail.NotFound, "%s@%s is no record of a dump", dataset, snapshot)
}
