package engine

import (
	"slices"
	"strings"
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/when"
)

// maxHolds bounds the tags on one snapshot.
const maxHolds = 8 // a record of the pool tree must hold them

// Snapshot names the present moment of a dataset.
func (e *Engine) Snapshot(c Caller, dataset, name string, also ...Also) (Done, error) {
	expires, err := e.expiry(only(also))
	if err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.Snapshot, Client: e.client(c), Name: name, Size: expires}
	return e.change(op, false, func() (*prepared, error) {
		d, err := e.find(dataset)
		if err != nil {
			return nil, err
		}
		op.Dataset = d.id
		return nil, d.mayName(name)
	})
}

// Guard names the present moment of a dataset before something is changed that
// people may want to undo: Done.Guard.
func (e *Engine) Guard(c Caller, dataset string) (Done, error) {
	op := &oplog.Op{Kind: oplog.Snapshot, Client: e.client(c), Now: true}
	done, err := e.change(op, false, func() (*prepared, error) {
		d, err := e.find(dataset)
		if err != nil {
			return nil, err
		}
		op.Dataset, op.Name = d.id, d.guardName("before-rollback-")
		return nil, d.mayName(op.Name)
	})
	done.Guard = op.Name
	return done, err
}

// SnapshotAll names the present moment of every dataset of the pool: one
// operation, one moment.
func (e *Engine) SnapshotAll(c Caller, name string, also ...Also) (Done, error) {
	expires, err := e.expiry(only(also))
	if err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.Snapshot, Client: e.client(c), Name: name, Size: expires}
	return e.change(op, false, func() (*prepared, error) {
		if len(e.names) == 0 {
			return nil, fail.New(fail.NotFound, "the pool has no dataset")
		}
		for _, n := range e.sortedNames() {
			if err := e.names[n].mayName(name); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// SnapshotAt names a past moment of a dataset.
func (e *Engine) SnapshotAt(c Caller, dataset, name string, w when.Spec, also ...Also) (Done, error) {
	expires, err := e.expiry(only(also))
	if err != nil {
		return Done{}, err
	}
	m, err := e.Resolve(dataset, w)
	if err != nil {
		return Done{}, err
	}
	e.gate.RLock()
	d, err := e.find(dataset)
	e.gate.RUnlock()
	if err != nil {
		return Done{}, err
	}
	if m.LSN < d.created.lsn {
		return Done{Moment: &m}, fail.New(fail.Invalid, "lsn %d is before %s was cloned; that moment is its origin's", m.LSN, dataset).
			WithHint("snapshot the origin there")
	}
	op := &oplog.Op{Kind: oplog.Snapshot, Client: e.client(c), Dataset: d.id, Name: name, At: m.LSN, Limit: uint64(m.Time.UnixNano()), Size: expires}
	for {
		done, err := e.snapshotPast(op, d, m)
		if err == errUnlisted {
			continue // a checkpoint let the root go just now: there is a newer one, or an older
		}
		done.Moment = &m
		return done, err
	}
}

// errUnlisted makes a snapshot of the past look for its root again.
var errUnlisted = fail.New(fail.Stale, "a root has gone meanwhile")

// snapshotPast names a past moment of d, whose image it makes.
func (e *Engine) snapshotPast(op *oplog.Op, d *dataset, m Moment) (Done, error) {
	im, err := e.imageAt(d, m.LSN)
	if err != nil {
		return Done{}, err
	}
	defer im.close()
	return e.change(op, false, func() (*prepared, error) {
		switch {
		case e.names[m.Dataset] != d:
			return nil, fail.New(fail.NotFound, "%s is gone", m.Dataset)
		case !d.kept(m.LSN):
			return nil, errForgotten(m)
		case !d.canShare(im):
			return nil, errUnlisted
		}
		return &prepared{im: im}, d.mayName(op.Name)
	})
}

// canShare reports whether the root that an image of the past was replayed from
// is still listed: until the image is on disk, a clone of it is replayed anew.
func (d *dataset) canShare(im *overlay) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !im.aside || d.rootAt(im.from) != nil
}

// mayName says whether a snapshot of d may be called name. The gate is held.
func (d *dataset) mayName(name string) error {
	if err := when.ValidName(name); err != nil {
		return err
	}
	if d.snapshot(name) != nil {
		return fail.New(fail.Exists, "%s@%s exists already", d.name, name).WithHint("choose another name")
	}
	if len(d.snaps) >= maxSnapshots {
		return fail.New(fail.TooBig, "%s has its %d snapshots", d.name, maxSnapshots)
	}
	return nil
}

func (e *Engine) applySnapshot(d *dataset, op *oplog.Op, pos segment.Position, pre *prepared) error {
	if d == nil {
		for _, d := range e.names {
			if d.givenUp == 0 {
				e.snapshotNow(d, op, pos)
			}
		}
		return nil
	}
	if op.At == 0 {
		e.snapshotNow(d, op, pos)
		return nil
	}
	im := pre.im
	d.mu.Lock()
	r := &root{figures: im.figures, lsn: op.At, pos: im.pos, aside: im.aside, vers: im.tree.Freeze(op.At)}
	if r.aside {
		r.from = d.rootAt(im.from)
	}
	d.addRoot(r)
	e.addSnapshot(d, &snapshot{id: op.LSN, name: op.Name, lsn: op.At, time: op.Time, at: int64(op.Limit), kept: op.Value != "", expires: int64(op.Size)})
	d.mu.Unlock()
	e.touch(d)
	return nil
}

func (e *Engine) snapshotNow(d *dataset, op *oplog.Op, pos segment.Position) {
	d.mu.Lock()
	d.addRoot(d.freeze(op.LSN, pos))
	e.addSnapshot(d, &snapshot{id: op.LSN, name: op.Name, lsn: op.LSN, time: op.Time, at: op.Time, guard: op.Now, kept: op.Value != "", expires: int64(op.Size)})
	d.mu.Unlock()
	e.touch(d)
}

// addSnapshot names a moment, whose root is there. d.mu and the gate are held.
func (e *Engine) addSnapshot(d *dataset, s *snapshot) {
	d.snaps = append(d.snaps, s)
	d.pinSnapshot(s)
	e.record(itemKey(tagSnapshot, d.id, s.id), snapshotRecord(s))
}

// DestroySnapshot removes a snapshot's name; its moment stays reachable while
// it is within history.
func (e *Engine) DestroySnapshot(c Caller, dataset, name string) (Done, error) {
	defer e.mayGain()
	op := &oplog.Op{Kind: oplog.DestroySnapshot, Client: e.client(c)}
	return e.change(op, true, func() (*prepared, error) {
		d, s, err := e.findSnapshot(dataset, name)
		if err != nil {
			return nil, err
		}
		if err := s.held(dataset); err != nil {
			return nil, err
		}
		op.Dataset, op.At, op.Name = d.id, s.id, name
		return nil, nil
	})
}

func (e *Engine) removeSnapshot(d *dataset, op *oplog.Op) error {
	i := slices.IndexFunc(d.snaps, func(s *snapshot) bool { return s.id == op.At })
	if i < 0 {
		return fail.New(fail.Corrupt, "%v: no such snapshot", op)
	}
	d.mu.Lock()
	e.dropSnapshot(d, d.snaps[i])
	d.mu.Unlock()
	e.touch(d)
	return nil
}

// pinSnapshot keeps what a snapshot names. d.mu is held.
func (d *dataset) pinSnapshot(s *snapshot) {
	d.lineAt(s.lsn).dataPins.add(s.lsn)
	if r := d.rootAt(s.lsn); r != nil {
		r.snaps++
	}
}

// dropSnapshot takes a snapshot away. d.mu and the gate are held.
func (e *Engine) dropSnapshot(d *dataset, s *snapshot) {
	e.record(itemKey(tagSnapshot, d.id, s.id), nil)
	d.snaps = slices.DeleteFunc(d.snaps, func(x *snapshot) bool { return x.id == s.id })
	d.lineAt(s.lsn).dataPins.remove(s.lsn)
	if r := d.rootAt(s.lsn); r != nil {
		r.snaps--
		e.discard(e.records, d, r)
	}
}

// held returns who forbids destroying the snapshot, or nil.
func (s *snapshot) held(dataset string) error {
	if len(s.holds) == 0 {
		return nil
	}
	return fail.New(fail.Busy, "%s@%s is held by %s", dataset, s.name, strings.Join(s.holds, ", ")).
		WithHint("varve release %s@%s TAG lets it go", dataset, s.name)
}

func (e *Engine) findSnapshot(dataset, name string) (*dataset, *snapshot, error) {
	d, err := e.find(dataset)
	if err != nil {
		return nil, nil, err
	}
	s := d.snapshot(name)
	if s == nil {
		return nil, nil, fail.New(fail.NotFound, "no snapshot %s@%s", dataset, name).WithHint("varve list -t snapshot %s shows them", dataset)
	}
	return d, s, nil
}

// Hold puts a tag on a snapshot: while it has one, neither it nor its dataset
// can be destroyed.
func (e *Engine) Hold(c Caller, dataset, name, tag string) (Done, error) {
	return e.tag(oplog.Hold, c, dataset, name, tag, func(s *snapshot) error {
		if err := when.ValidName(tag); err != nil {
			return err
		}
		if slices.Contains(s.holds, tag) {
			return fail.New(fail.Exists, "%s@%s is held by %s already", dataset, name, tag)
		}
		if len(s.holds) >= maxHolds {
			return fail.New(fail.TooBig, "%s@%s has its %d holds", dataset, name, maxHolds)
		}
		return nil
	})
}

// Release takes a tag off a snapshot.
func (e *Engine) Release(c Caller, dataset, name, tag string) (Done, error) {
	return e.tag(oplog.Release, c, dataset, name, tag, func(s *snapshot) error {
		if !slices.Contains(s.holds, tag) {
			return fail.New(fail.NotFound, "%s@%s is not held by %s", dataset, name, tag)
		}
		return nil
	})
}

func (e *Engine) tag(kind oplog.Kind, c Caller, dataset, name, tag string, judge func(*snapshot) error) (Done, error) {
	op := &oplog.Op{Kind: kind, Client: e.client(c), Name: tag}
	return e.change(op, true, func() (*prepared, error) {
		d, s, err := e.findSnapshot(dataset, name)
		if err != nil {
			return nil, err
		}
		op.Dataset, op.At = d.id, s.id
		return nil, judge(s)
	})
}

func (e *Engine) applyHold(d *dataset, op *oplog.Op) error {
	return e.changeSnapshot(d, op, func(s *snapshot) {
		if op.Kind == oplog.Hold {
			s.holds = append(slices.Clone(s.holds), op.Name)
			return
		}
		s.holds = slices.DeleteFunc(slices.Clone(s.holds), func(t string) bool { return t == op.Name })
	})
}

// changeSnapshot changes what is said of the snapshot that an operation names.
func (e *Engine) changeSnapshot(d *dataset, op *oplog.Op, change func(*snapshot)) error {
	i := slices.IndexFunc(d.snaps, func(s *snapshot) bool { return s.id == op.At })
	if i < 0 {
		return fail.New(fail.Corrupt, "%v: no such snapshot", op)
	}
	s := *d.snaps[i] // a copy: the old one may be in a list that is being shown
	change(&s)
	d.snaps[i] = &s
	e.record(itemKey(tagSnapshot, d.id, s.id), snapshotRecord(&s))
	e.touch(d)
	return nil
}

// Snapshots lists the snapshots of a dataset, or of all ("").
func (e *Engine) Snapshots(dataset string) ([]SnapshotInfo, error) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if dataset != "" {
		d, err := e.find(dataset)
		if err != nil {
			return nil, err
		}
		return appendSnapshots(make([]SnapshotInfo, 0, len(d.snaps)), d), nil
	}
	out := []SnapshotInfo{}
	for _, name := range e.sortedNames() {
		out = appendSnapshots(out, e.names[name])
	}
	return out, nil
}

func appendSnapshots(dst []SnapshotInfo, d *dataset) []SnapshotInfo {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, l := range d.lines {
		l.estate.mu.RLock()
		defer l.estate.mu.RUnlock()
	}
	for _, s := range d.snaps {
		i := SnapshotInfo{
			ID: s.id, Dataset: d.name, Name: s.name, LSN: s.lsn, Time: time.Unix(0, s.time).UTC(), Guard: s.guard, Holds: s.holds, Kept: s.kept,
		}
		i.Used, i.Referenced = d.snapshotSpace(s)
		if s.expires != 0 {
			t := time.Unix(0, s.expires).UTC()
			i.Expires = &t
		}
		dst = append(dst, i)
	}
	return dst
}

// Resize grows a volume. Clients that are connected see it when they connect
// anew.
func (e *Engine) Resize(c Caller, name string, size uint64) (Done, error) {
	op := &oplog.Op{Kind: oplog.Resize, Client: e.client(c), Size: size}
	return e.change(op, false, func() (*prepared, error) {
		d, err := e.find(name)
		if err != nil {
			return nil, err
		}
		switch {
		case d.kind != volumeKind:
			return nil, fail.New(fail.Invalid, "%s is a share; it has no size", name).WithHint("quota limits it")
		case size%BlockSize != 0 || size > MaxVolumeSize:
			return nil, fail.New(fail.Invalid, "size %s is not a multiple of 4K up to 1P", bytesize.Exact(size))
		case size < d.head.size:
			return nil, fail.New(fail.Invalid, "%s has %s and cannot shrink to %s: what lies beyond would be lost, and clients do not expect it", name, bytesize.Exact(d.head.size), bytesize.Exact(size)).
				WithHint("to go back to before it grew, use varve rollback")
		case size == d.head.size:
			return nil, fail.New(fail.Exists, "%s has %s already", name, bytesize.Exact(size))
		}
		op.Dataset = d.id
		return nil, nil
	})
}
