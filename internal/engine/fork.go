package engine

import (
	"slices"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// cloneAt makes a new dataset whose line forks from moment m.
func (e *Engine) cloneAt(c Caller, m Moment, name string) (Done, error) {
	op := &oplog.Op{Kind: oplog.Clone, Client: e.client(c), Name: name}
	if err := e.forkTo(op, m, true); err != nil {
		return Done{}, err
	}
	return e.finish(op)
}

// forkTo logs a Clone that forks from moment m; named: under a name that is free.
func (e *Engine) forkTo(op *oplog.Op, m Moment, named bool) error {
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
		if !named {
			return &prepared{im: im}, nil
		}
		return &prepared{im: im}, e.free(op.Name)
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
	e.clients.Lock()
	op := &oplog.Op{Kind: oplog.Rollback, Client: e.client(c), Dataset: d.id, At: m.LSN}
	err = e.begin(op, true, func() (*prepared, error) {
		if e.names[m.Dataset] != d {
			return nil, fail.New(fail.NotFound, "%s is gone", m.Dataset)
		}
		if err := d.busy(); err != nil {
			return nil, err
		}
		if !d.kept(m.LSN) {
			return nil, errForgotten(m)
		}
		op.Name = d.guardName("before-rollback-")
		return &prepared{im: im}, nil
	})
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

// guardName returns a free name for the snapshot of what a rollback leaves.
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
