// Package httpapitest has a pool made of plain maps, which answers the control
// API without a disk: for tests of the API and of the command line that need
// a pool in a state that a real one reaches only by accident.
package httpapitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/redo"
	"varve/internal/when"
)

// Pool is a fake httpapi.Pool. Every change takes one LSN and one second.
// Set the fields before it is served.
type Pool struct {
	State   engine.Status       // merged into the answer of Status
	Report  engine.CheckReport  // what Check finds
	Refuse  error               // what every change is refused with, if set
	Writers map[string][]string // per dataset
	History History
	Unset   string // the property that cannot be set, or "expires"

	Retention Retention
	Roots     []files.Entry         // of the shares that were made
	Block     func(context.Context) // called within Check, Clean, Diff and Log, if set

	Undone   redo.UndoOptions   // what was asked last
	Replayed redo.ReplayOptions // the same

	mu        sync.Mutex
	lsn       uint64
	callers   []engine.Caller
	datasets  []engine.DatasetInfo
	destroyed []engine.DatasetInfo
	snapshots []engine.SnapshotInfo
}

// Start is the time of the LSN 0.
var Start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func (p *Pool) now() time.Time { return Start.Add(time.Duration(p.lsn) * time.Second) }

// Callers returns who asked for the changes so far.
func (p *Pool) Callers() []engine.Caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.callers)
}

// change runs f with the LSN that it would get, and takes it if f is content.
func (p *Pool) change(c engine.Caller, f func(d *engine.Done) error) (engine.Done, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Refuse != nil {
		return engine.Done{}, p.Refuse
	}
	d := engine.Done{LSN: p.lsn + 1, Time: p.now().Add(time.Second)}
	if err := f(&d); err != nil {
		return engine.Done{}, err
	}
	p.lsn++
	p.callers = append(p.callers, c)
	return d, nil
}

func (p *Pool) Status() engine.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.State
	if s.State == "" {
		s.State = "online"
	}
	s.PoolID, s.LastLSN, s.DurableLSN = "00112233445566778899aabbccddeeff", p.lsn, p.lsn
	s.Datasets, s.Snapshots = len(p.datasets), len(p.snapshots)
	s.OldestTime, s.Started = Start, Start
	s.Clock.Pool = p.now()
	return s
}

func (p *Pool) Datasets(destroyed bool) []engine.DatasetInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.datasets
	if destroyed {
		list = p.destroyed
	}
	out := []engine.DatasetInfo{}
	for _, d := range list {
		out = append(out, p.fill(d))
	}
	slices.SortFunc(out, func(a, b engine.DatasetInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (p *Pool) fill(d engine.DatasetInfo) engine.DatasetInfo {
	d.Writers = p.Writers[d.Name]
	d.Space, d.Limits = p.Retention.Space[d.Name], p.Retention.Limits[d.Name]
	for _, s := range p.snapshots {
		if s.Dataset == d.Name {
			d.Snapshots++
		}
	}
	return d
}

func (p *Pool) Dataset(name string) (engine.DatasetInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, err := p.find(name)
	if err != nil {
		return engine.DatasetInfo{}, err
	}
	return p.fill(*d), nil
}

func (p *Pool) find(name string) (*engine.DatasetInfo, error) {
	for i := range p.datasets {
		if p.datasets[i].Name == name {
			return &p.datasets[i], nil
		}
	}
	return nil, fail.New(fail.NotFound, "no dataset %s", name).WithHint("varve list shows them")
}

// free says whether name may be given to a new dataset.
func (p *Pool) free(name string) error {
	if err := when.ValidName(name); err != nil {
		return err
	}
	if _, err := p.find(name); err == nil {
		return fail.New(fail.Exists, "dataset %s exists", name)
	}
	return nil
}

func (p *Pool) Snapshots(dataset string) ([]engine.SnapshotInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if dataset != "" {
		if _, err := p.find(dataset); err != nil {
			return nil, err
		}
	}
	out := []engine.SnapshotInfo{}
	for _, s := range p.snapshots {
		if dataset == "" || s.Dataset == dataset {
			s.Used = p.Retention.Bytes
			out = append(out, s)
		}
	}
	return out, nil
}

func (p *Pool) add(d *engine.Done, name string, size uint64) *engine.DatasetInfo {
	p.datasets = append(p.datasets, engine.DatasetInfo{
		ID: d.LSN, Name: name, Kind: "volume", Size: size,
		Created: d.Time, CreatedLSN: d.LSN, ChangedLSN: d.LSN, OldestLSN: d.LSN, OldestTime: d.Time,
	})
	return &p.datasets[len(p.datasets)-1]
}

func (p *Pool) CreateVolume(c engine.Caller, name string, size uint64) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		if err := p.free(name); err != nil {
			return err
		}
		if size == 0 || size%4096 != 0 {
			return fail.New(fail.Invalid, "a volume cannot have %d bytes", size).WithHint("give a multiple of 4096")
		}
		p.add(d, name, size)
		return nil
	})
}

func (p *Pool) Snapshot(c engine.Caller, dataset, name string, also ...engine.Also) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		if err := when.ValidName(name); err != nil {
			return err
		}
		if _, err := p.find(dataset); err != nil {
			return err
		}
		if _, err := p.resolve(dataset, when.Spec{Kind: when.Snapshot, Name: name}); err == nil {
			return fail.New(fail.Exists, "snapshot %s@%s exists", dataset, name)
		}
		return p.addSnapshot(engine.SnapshotInfo{ID: d.LSN, Dataset: dataset, Name: name, LSN: d.LSN, Time: d.Time}, also)
	})
}

// addSnapshot adds a snapshot that may expire.
func (p *Pool) addSnapshot(s engine.SnapshotInfo, also []engine.Also) error {
	if len(also) > 0 && !also[0].Expires.IsZero() {
		if p.Unset == "expires" {
			return fail.New(fail.Invalid, "expires cannot be set here")
		}
		s.Expires = &also[0].Expires
	}
	p.snapshots = append(p.snapshots, s)
	return nil
}

func (p *Pool) DestroySnapshot(c engine.Caller, dataset, name string) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		before := len(p.snapshots)
		p.snapshots = slices.DeleteFunc(p.snapshots, func(s engine.SnapshotInfo) bool {
			return s.Dataset == dataset && s.Name == name
		})
		if len(p.snapshots) == before {
			return fail.New(fail.NotFound, "no snapshot %s@%s", dataset, name)
		}
		return nil
	})
}

func (p *Pool) Clone(c engine.Caller, src string, w when.Spec, name string, also ...engine.Also) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		m, err := p.resolve(src, w)
		if err != nil {
			return err
		}
		if err := p.free(name); err != nil {
			return err
		}
		var properties map[string]string
		if len(also) > 0 {
			properties = also[0].Properties
		}
		if _, ok := properties[p.Unset]; ok {
			return fail.New(fail.Invalid, "%s cannot be set here", p.Unset)
		}
		from, _ := p.find(src)
		to := p.add(d, name, from.Size)
		to.Properties = properties
		to.Origin, to.ForkLSN = fmt.Sprintf("%s@lsn:%d", src, m.LSN), m.LSN
		d.Moment = &m
		return nil
	})
}

func (p *Pool) Rollback(c engine.Caller, dataset string, w when.Spec, force bool) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		m, err := p.resolve(dataset, w)
		if err != nil {
			return err
		}
		if busy := p.Writers[dataset]; len(busy) > 0 && !force {
			return fail.New(fail.Busy, "%s has a writer: %s", dataset, strings.Join(busy, ", ")).WithHint("--force disconnects it")
		}
		d.Moment, d.Guard = &m, fmt.Sprintf("before-rollback-%d", d.LSN)
		p.snapshots = append(p.snapshots, engine.SnapshotInfo{ID: d.LSN, Dataset: dataset, Name: d.Guard, LSN: p.lsn, Time: p.now(), Guard: true})
		return nil
	})
}

func (p *Pool) Destroy(c engine.Caller, dataset string, now bool) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		found, err := p.find(dataset)
		if err != nil {
			return err
		}
		if !now {
			gone := *found
			gone.Destroyed = &d.Time
			p.destroyed = append(p.destroyed, gone)
		}
		p.datasets = slices.DeleteFunc(p.datasets, func(d engine.DatasetInfo) bool { return d.Name == dataset })
		return nil
	})
}

func (p *Pool) Undestroy(c engine.Caller, dataset, newName string) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		i := slices.IndexFunc(p.destroyed, func(d engine.DatasetInfo) bool { return d.Name == dataset })
		if i < 0 {
			return fail.New(fail.NotFound, "no destroyed dataset %s", dataset).WithHint("varve list --destroyed shows them")
		}
		back := p.destroyed[i]
		if newName != "" {
			back.Name = newName
		}
		if err := p.free(back.Name); err != nil {
			return err
		}
		back.Destroyed = nil
		p.destroyed = slices.Delete(p.destroyed, i, i+1)
		p.datasets = append(p.datasets, back)
		return nil
	})
}

func (p *Pool) Rename(c engine.Caller, name, newName string) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		d, err := p.find(name)
		if err != nil {
			return err
		}
		if err := p.free(newName); err != nil {
			return err
		}
		d.Name = newName
		return nil
	})
}

func (p *Pool) Resolve(dataset string, w when.Spec) (engine.Moment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resolve(dataset, w)
}

func (p *Pool) resolve(dataset string, w when.Spec) (engine.Moment, error) {
	d, err := p.find(dataset)
	if err != nil {
		return engine.Moment{}, err
	}
	m := engine.Moment{Dataset: dataset, LSN: p.lsn, Time: p.now(), Spec: w.String()}
	switch w.Kind {
	case when.Snapshot:
		for _, s := range p.snapshots {
			if s.Dataset == dataset && s.Name == w.Name {
				m.LSN, m.Time = s.LSN, s.Time
				return m, nil
			}
		}
		return engine.Moment{}, fail.New(fail.NotFound, "no snapshot %s%s", dataset, w)
	case when.Ago:
		m.Time = p.now().Add(-w.Ago)
	case when.Time:
		m.Time = w.Time
	case when.LSN:
		m.Time = Start.Add(time.Duration(w.LSN) * time.Second)
	}
	if m.Time.Before(d.OldestTime) || m.Time.After(p.now()) {
		return engine.Moment{}, fail.New(fail.OutsideHistory, "%s is outside history", w).
			WithHint("oldest moment %s (lsn %d)", d.OldestTime.Format(time.RFC3339), d.OldestLSN)
	}
	m.LSN = uint64(m.Time.Sub(Start) / time.Second)
	return m, nil
}

func (p *Pool) Check(ctx context.Context, data bool, progress func(done, total uint64)) (engine.CheckReport, error) {
	progress(1, 2)
	if p.Block != nil {
		p.Block(ctx)
	}
	if ctx.Err() != nil {
		return engine.CheckReport{}, fail.Wrap(fail.Canceled, ctx.Err(), "check")
	}
	if p.Refuse != nil {
		return engine.CheckReport{}, p.Refuse
	}
	r := p.Report
	if !data {
		r.Bytes = 0
	}
	return r, nil
}
