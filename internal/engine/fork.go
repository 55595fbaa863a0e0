package engine

import (
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// Also says more of what Snapshot, SnapshotAt, SnapshotAll or Clone makes; it is
// part of the same operation. At most one is given.
type Also struct {
	Expires    time.Time         // of a snapshot: when it goes by itself; the zero time: never
	Properties map[string]string // of a clone: what it is made with
}

func only(also []Also) Also {
	if len(also) == 0 {
		return Also{}
	}
	return also[0]
}

// expiry is the Size of an operation that makes a snapshot.
func (e *Engine) expiry(a Also) (uint64, error) {
	switch at := a.Expires; {
	case at.IsZero():
		return 0, nil
	case at.UnixNano() <= e.poolTime():
		return 0, fail.New(fail.Invalid, "%s is past already", at.UTC().Format(time.RFC3339)).WithHint("what has expired is destroyed")
	default:
		return uint64(at.UnixNano()), nil
	}
}

// cloneAt makes a new dataset whose line forks from moment m.
func (e *Engine) cloneAt(c Caller, m Moment, name string, also Also) (Done, error) {
	op := &oplog.Op{Kind: oplog.Clone, Client: e.client(c), Name: name}
	err := e.forkTo(op, m, func(own *dataset) (err error) {
		if err := e.free(name); err != nil {
			return err
		}
		op.Value, err = own.kind.appendProperties(name, also.Properties)
		return err
	})
	if err != nil {
		return Done{}, err
	}
	return e.finish(op)
}

// forkTo logs a Clone that forks from moment m, on the line of judge's dataset. judge
// may refuse, and fill in more.
func (e *Engine) forkTo(op *oplog.Op, m Moment, judge func(own *dataset) error) error {
	e.gate.RLock()
	src, err := e.find(m.Dataset)
	e.gate.RUnlock()
	if err != nil {
		return err
	}
	im, err := e.imageAt(src, m.LSN)
	if err != nil {
		return err
	}
	// The fork is noted where the moment lies: on its owner's line.
	own, at := im.hold.d, im.hold.lsn
	op.Source, op.At = own.id, at
	err = e.begin(op, false, func() (*prepared, error) {
		if len(e.datasets) >= maxDatasets {
			return nil, fail.New(fail.TooBig, "the pool has its %d datasets", maxDatasets)
		}
		if !own.kept(at) {
			return nil, errForgotten(m)
		}
		op.Dataset = e.nextDataset
		return &prepared{im: im}, judge(own)
	})
	if err != nil && op.LSN == 0 {
		im.close()
	}
	return err
}

// errForgotten says that a moment that was there is no more.
func errForgotten(m Moment) error {
	return fail.New(fail.OutsideHistory, "%s%s has just been forgotten", m.Dataset, m.Spec)
}

// rollbackTo makes moment m the present of its dataset again. Busy while a
// client may write.
func (e *Engine) rollbackTo(c Caller, m Moment) (Done, error) {
	e.gate.RLock()
	d, err := e.find(m.Dataset)
	e.gate.RUnlock()
	if err != nil {
		return Done{}, err
	}
	if m.LSN < d.created.lsn {
		return Done{}, fail.New(fail.Invalid, "lsn %d is before %s was cloned; that moment is its origin's", m.LSN, m.Dataset).
			WithHint("varve clone makes another dataset of it")
	}
	im, err := e.imageAt(d, m.LSN)
	if err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.Rollback, Client: e.client(c), Dataset: d.id, At: m.LSN}
	return e.turnTo(op, im, func() error {
		if e.names[m.Dataset] != d {
			return fail.New(fail.NotFound, "%s is gone", m.Dataset)
		}
		if err := d.busy(); err != nil {
			return err
		}
		if !d.kept(m.LSN) {
			return errForgotten(m)
		}
		op.Name = d.guardName("before-rollback-")
		return nil
	})
}

// turnTo logs an operation that makes im the head of a dataset. judge may refuse,
// as where a client may write, and names the guard.
func (e *Engine) turnTo(op *oplog.Op, im *overlay, judge func() error) (Done, error) {
	e.clients.Lock()
	err := e.begin(op, true, func() (*prepared, error) { return &prepared{im: im}, judge() })
	e.clients.Unlock()
	if err != nil {
		if op.LSN == 0 {
			im.close()
		}
		return Done{}, err
	}
	done, err := e.finish(op)
	done.Guard = op.Name
	e.wakeCheckpoint()
	return done, err
}

// guardName returns a free name for the snapshot of what a rollback or an undo
// leaves.
func (d *dataset) guardName(prefix string) string {
	n := len(d.lines)
	for {
		name := prefix + itoa(n)
		if !slices.ContainsFunc(d.snaps, func(s *snapshot) bool { return s.name == name }) {
			return name
		}
		n++
	}
}
