package engine

import (
	"time"

	"varve/internal/oplog"
)

// recentFrames bounds how far Recent reads back. Of a frame it reads header and
// summary, so this is quick.
const recentFrames = 64 << 10

// Recent visits the operations of the last while, as the log has it, that
// clients may send again, and that were not given up: for duplicate request caches. op
// is valid during the call only.
func (e *Engine) Recent(since time.Duration, fn func(op *oplog.Op)) error {
	e.gate.RLock()
	cs := e.checkpoints
	e.gate.RUnlock()
	last, err := e.timeOf(cs, e.log.LastLSN()) // and not of a checkpoint: nobody was served since
	if err != nil {
		return err
	}
	from := last - int64(since)
	i := len(cs) - 1
	for i > 0 && cs[i].time > from && cs[len(cs)-1].pos.Seq-cs[i].pos.Seq < recentFrames {
		i--
	}
	if i < 0 {
		return nil
	}
	lost := e.losses()
	return e.scanFrom(cs[i], e.log.LastLSN(), func(op *oplog.Op) bool {
		if op.Request != nil && op.Time >= from && !lost.has(op) && e.there(op.Dataset) {
			fn(op)
		}
		return true
	})
}

// there reports whether a dataset is: a clone that was given up never was.
func (e *Engine) there(dataset uint64) bool {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return e.datasets[dataset] != nil
}
