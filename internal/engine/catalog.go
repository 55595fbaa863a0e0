package engine

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// Limits of the catalog.
const (
	MaxVolumeSize = 1 << 50 // bytes
	maxDatasets   = 100_000
	maxSnapshots  = 1_000_000 // of one dataset
)

func (e *Engine) client(c Caller) *oplog.Client {
	if c.Proto == "" {
		return nil
	}
	return &oplog.Client{Name: strings.TrimSpace(c.Proto + " " + c.Addr)}
}

// find returns the live dataset of that name. The gate is held.
func (e *Engine) find(name string) (*dataset, error) {
	if d := e.names[name]; d != nil {
		return d, nil
	}
	for _, d := range e.datasets {
		if d.name == name && d.canReturn() {
			return nil, fail.New(fail.NotFound, "no dataset %s: it was destroyed at %s", name, d.destroyed.wall().Format(time.RFC3339)).
				WithHint("varve undestroy %s brings it back", name)
		}
	}
	return nil, fail.New(fail.NotFound, "no dataset %s", name).WithHint("varve list shows what there is")
}

// canReturn reports whether d is destroyed and can come back.
func (d *dataset) canReturn() bool { return d.destroyed.lsn != 0 && !d.gone && !d.isDraft() }

// free checks that a new dataset may be called name. The gate is held.
func (e *Engine) free(name string) error {
	if err := when.ValidName(name); err != nil {
		return err
	}
	if e.names[name] != nil {
		return fail.New(fail.Exists, "%s exists already", name).WithHint("choose another name")
	}
	return nil
}

// FreeName says whether a new dataset may have a name: Invalid, Exists.
func (e *Engine) FreeName(name string) error {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return e.free(name)
}

// CreateVolume makes a thin volume of size bytes, a multiple of 4096.
func (e *Engine) CreateVolume(c Caller, name string, size uint64) (Done, error) {
	op := &oplog.Op{Kind: oplog.CreateVolume, Client: e.client(c), Name: name, Size: size}
	return e.change(op, false, func() (*prepared, error) {
		if size == 0 || size%BlockSize != 0 || size > MaxVolumeSize {
			return nil, fail.New(fail.Invalid, "size %s is not a multiple of 4K between 4K and 1P", bytesize.Exact(size))
		}
		if err := e.free(name); err != nil {
			return nil, err
		}
		if len(e.datasets) >= maxDatasets {
			return nil, fail.New(fail.TooBig, "the pool has its %d datasets", maxDatasets)
		}
		op.Dataset = e.nextDataset
		return nil, nil
	})
}

// Rename gives a dataset another name.
func (e *Engine) Rename(c Caller, name, newName string) (Done, error) {
	op := &oplog.Op{Kind: oplog.Rename, Client: e.client(c), Name: newName}
	return e.change(op, true, func() (*prepared, error) {
		d, err := e.find(name)
		if err != nil {
			return nil, err
		}
		op.Dataset = d.id
		return nil, e.free(newName)
	})
}

// Destroy removes a dataset. Without now, Undestroy brings it back for as long
// as its history lasts. Busy while a client is attached or a snapshot is held.
func (e *Engine) Destroy(c Caller, name string, now bool) (Done, error) {
	defer e.mayGain()
	op := &oplog.Op{Kind: oplog.Destroy, Client: e.client(c), Now: now}
	e.clients.Lock()
	err := e.begin(op, true, func() (*prepared, error) {
		d, err := e.find(name)
		if err != nil {
			return nil, err
		}
		if err := d.busy(); err != nil {
			return nil, err
		}
		for _, s := range d.snaps {
			if err := s.held(name); err != nil {
				return nil, err
			}
		}
		op.Dataset = d.id
		return nil, nil
	})
	e.clients.Unlock()
	if err != nil {
		return Done{}, err
	}
	return e.finish(op)
}

// Undestroy brings back the dataset of that name that was destroyed last,
// under newName, or its own where that is "".
func (e *Engine) Undestroy(c Caller, name, newName string) (Done, error) {
	if newName == "" {
		newName = name
	}
	op := &oplog.Op{Kind: oplog.Undestroy, Client: e.client(c), Name: newName}
	return e.change(op, true, func() (*prepared, error) {
		var last *dataset
		for _, d := range e.datasets {
			if d.name == name && d.canReturn() && (last == nil || d.destroyed.lsn > last.destroyed.lsn) {
				last = d
			}
		}
		if last == nil {
			return nil, fail.New(fail.NotFound, "no destroyed dataset %s", name).WithHint("varve list --destroyed shows them")
		}
		op.Dataset = last.id
		return nil, e.free(newName)
	})
}

// Datasets lists what is there, or what was destroyed and can come back, by
// name.
func (e *Engine) Datasets(destroyed bool) []DatasetInfo {
	e.clients.Lock()
	defer e.clients.Unlock()
	e.gate.RLock()
	defer e.gate.RUnlock()
	out := make([]DatasetInfo, 0, len(e.datasets))
	for _, d := range e.datasets {
		if (d.destroyed.lsn != 0) == destroyed && !d.gone && !d.isDraft() {
			out = append(out, e.info(d))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Dataset describes one dataset. NotFound.
func (e *Engine) Dataset(name string) (DatasetInfo, error) {
	e.clients.Lock()
	defer e.clients.Unlock()
	e.gate.RLock()
	defer e.gate.RUnlock()
	d, err := e.find(name)
	if err != nil {
		return DatasetInfo{}, err
	}
	return e.info(d), nil
}

func (e *Engine) info(d *dataset) DatasetInfo {
	oldest := e.oldest(d)
	i := DatasetInfo{
		ID: d.id, Name: d.name, Kind: d.kind.String(), Properties: d.properties(), Created: d.created.wall(), CreatedLSN: d.created.lsn,
		ForkLSN: d.fork, Snapshots: len(d.snaps), OldestLSN: oldest.lsn, OldestTime: oldest.wall(),
	}
	i.Space, i.Limits = d.spaceInfo(), d.limitInfos()
	d.mu.RLock()
	i.Size, i.Mapped, i.Inodes, i.ChangedLSN = d.head.size, uint64(d.head.mapped)*BlockSize, uint64(d.head.inodes), d.changed
	d.mu.RUnlock()
	if p := e.datasets[d.parent]; p != nil {
		i.Origin, i.OriginID = fmt.Sprintf("%s@lsn:%d", p.name, d.fork), p.id
	}
	if d.destroyed.lsn != 0 {
		t := d.destroyed.wall()
		i.Destroyed = &t
	}
	for h := range d.clients {
		if h.write {
			i.Writers = append(i.Writers, h.describe())
		}
	}
	slices.Sort(i.Writers)
	return i
}

// oldest is where the history of d begins: its horizon, or, where a clone has
// all of its own history, that of its origin. The gate is held.
func (e *Engine) oldest(d *dataset) stamp {
	for d.horizon.lsn <= d.created.lsn && d.origin != nil && !d.absorbed && d.origin.horizon.lsn <= d.fork && !d.origin.gone {
		d = d.origin
	}
	return d.horizon
}

func (e *Engine) sortedNames() []string {
	names := make([]string, 0, len(e.names))
	for n := range e.names {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
