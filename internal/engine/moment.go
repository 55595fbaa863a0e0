package engine

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/when"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Resolve turns words into a moment of a dataset. NotFound, OutsideHistory.
func (e *Engine) Resolve(dataset string, w when.Spec) (Moment, error) {
	e.gate.RLock()
	d, err := e.find(dataset)
	if err != nil {
		e.gate.RUnlock()
		return Moment{}, err
	}
	oldest, last := e.oldest(d), e.log.LastLSN()
	snap := d.snapshot(w.Name)
	if w.Kind == when.LSN {
		snap = d.snapshotOf(w.LSN)
	}
	names := d.snapshotNames(8)
	checkpoints := e.checkpoints
	e.gate.RUnlock()

	var at stamp
	switch w.Kind {
	case when.Now:
		at = stamp{last, e.lastTime.Load()}
	case when.LSN:
		if at.lsn = w.LSN; snap != nil { // the records of its time may have gone
			at.time = snap.at
		}
	case when.Snapshot:
		if snap == nil {
			return Moment{}, fail.New(fail.NotFound, "no snapshot %s@%s", dataset, w.Name).WithHint("varve list -t snapshot %s shows them", dataset)
		}
		at = stamp{snap.lsn, snap.at}
	case when.Checkpoint:
		i := sort.Search(len(checkpoints), func(i int) bool { return checkpoints[i].number >= w.Checkpoint })
		switch {
		case i == 0 && len(checkpoints) > 0 && w.Checkpoint > 0 && w.Checkpoint < checkpoints[0].number: // forgotten: outside history, as lsn 0 is
		case i == len(checkpoints) || checkpoints[i].number != w.Checkpoint:
			return Moment{}, fail.New(fail.NotFound, "no checkpoint %d", w.Checkpoint)
		default:
			at = stamp{checkpoints[i].cut, checkpoints[i].time}
		}
	case when.Time, when.Ago:
		t := w.Time
		if w.Kind == when.Ago {
			t = time.Unix(0, e.poolTime()).Add(-w.Ago)
		}
		if now := e.poolTime(); t.UnixNano() > now {
			return Moment{}, fail.New(fail.OutsideHistory, "%s has not come yet; it is %s", w, time.Unix(0, now).UTC().Format(time.RFC3339))
		}
		if at, err = e.lastBefore(checkpoints, t.UnixNano()); err != nil {
			return Moment{}, err
		}
	}
	if at.lsn > last {
		return Moment{}, fail.New(fail.OutsideHistory, "%s has not come yet; the last operation is lsn %d", w, last)
	}
	if !e.keeps(d, at.lsn) {
		return Moment{}, outside(w, oldest, names)
	}
	if at.time == 0 {
		if at.time, err = e.timeOf(checkpoints, at.lsn); err != nil {
			return Moment{}, err
		}
	}
	if at.time == 0 { // of before the log: nothing has happened to the dataset since
		at.time = oldest.time
	}
	return Moment{Dataset: dataset, LSN: at.lsn, Time: at.wall(), Spec: w.String()}, nil
}

// keeps reports whether a moment of d can still be reached.
func (e *Engine) keeps(d *dataset, lsn uint64) bool {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return d.kept(lsn)
}

func outside(w when.Spec, oldest stamp, snapshots []string) error {
	err := fail.New(fail.OutsideHistory, "%s is outside history; oldest moment %s (lsn %d)", w, oldest.wall().Format(time.RFC3339), oldest.lsn)
	if len(snapshots) > 0 {
		err = err.WithHint("snapshots: %s", strings.Join(snapshots, ", "))
	}
	return err
}

// poolTime is the time by the clock, but never before what happened already.
func (e *Engine) poolTime() int64 {
	last := e.lastCkpt.Load().(checkpointRecord)
	return max(last.time, e.lastTime.Load(), e.clock.Now().UnixNano())
}

// snapshotOf returns a snapshot of a moment, or nil. The gate is held.
func (d *dataset) snapshotOf(lsn uint64) *snapshot {
	i := slices.IndexFunc(d.snaps, func(s *snapshot) bool { return s.lsn == lsn })
	if i < 0 {
		return nil
	}
	return d.snaps[i]
}

// snapshotNames returns up to n names, the newest first.
func (d *dataset) snapshotNames(n int) []string {
	var out []string
	for i := len(d.snaps) - 1; i >= 0 && len(out) < n; i-- {
		out = append(out, d.snaps[i].name)
	}
	return out
}

// lastBefore finds the last operation at or before a time: the newest
// checkpoint before it, then the operations since.
func (e *Engine) lastBefore(cs []checkpointRecord, t int64) (stamp, error) {
	at := stamp{}
	i := sort.Search(len(cs), func(i int) bool { return cs[i].time > t })
	if i == 0 {
		return at, nil
	}
	err := e.scanFrom(cs[i-1], e.log.LastLSN(), func(op *oplog.Op) bool {
		if op.Time > t {
			return false
		}
		at = stamp{op.LSN, op.Time}
		return true
	})
	if at.lsn == 0 {
		at.lsn = cs[i-1].cut
	}
	return at, err
}

// timeOf returns when operation lsn happened; 0 if the log does not reach back to
// it.
func (e *Engine) timeOf(cs []checkpointRecord, lsn uint64) (int64, error) {
	i := sort.Search(len(cs), func(i int) bool { return cs[i].cut >= lsn })
	if i == 0 {
		return 0, nil
	}
	t := cs[i-1].time
	err := e.scanFrom(cs[i-1], lsn, func(op *oplog.Op) bool {
		t = op.Time
		return op.LSN < lsn
	})
	return t, err
}

var errEnough = fail.New(fail.Other, "enough")

// scanFrom visits the operations after a checkpoint's cut up to lsn, until fn
// returns false.
func (e *Engine) scanFrom(c checkpointRecord, lsn uint64, fn func(*oplog.Op) bool) error {
	if lsn <= c.cut {
		return nil
	}
	if err := e.storeHas(lsn); err != nil {
		return err
	}
	defer e.reads.begin(c.pos)()
	var dec oplog.Decoder
	var op oplog.Op
	err := segment.Read(e.store, e.super.pool, c.pos, lsn, func(f *segment.Frame) error {
		dec.Reset()
		for n, rec := range f.Records() {
			if err := dec.Decode(rec, n, &op); err != nil {
				return err
			}
			if n > c.cut && n <= lsn && !fn(&op) {
				return errEnough
			}
		}
		return nil
	})
	if err == errEnough {
		return nil
	}
	return err
}

// Clone makes a new dataset whose line forks from a moment of src, with properties
// if also says so.
func (e *Engine) Clone(c Caller, src string, w when.Spec, name string, also ...Also) (Done, error) {
	m, err := e.Resolve(src, w)
	if err != nil {
		return Done{}, err
	}
	done, err := e.cloneAt(c, m, name, only(also))
	done.Moment = &m
	return done, err
}

// Rollback makes a past moment of a dataset its present again. Nothing is
// lost: what it leaves stays as a guard snapshot, and in history. It is Busy
// while a client may write, unless force disconnects it first.
func (e *Engine) Rollback(c Caller, dataset string, w when.Spec, force bool) (Done, error) {
	m, err := e.Resolve(dataset, w)
	if err != nil {
		return Done{}, err
	}
	if force {
		unfence, err := e.expel(dataset)
		if err != nil {
			return Done{}, err
		}
		defer unfence()
	}
	done, err := e.rollbackTo(c, m)
	if fail.Is(err, fail.Busy) && !force {
		if f, ok := err.(*fail.Error); ok {
			err = f.WithHint("--force disconnects it")
		}
	}
	done.Moment = &m
	return done, err
}
