package engine

import (
	"time"

	"varve/internal/oplog"
)

// recentFrames bounds how far Recent reads back. Of a frame it reads header and
// summary, so this is quick.
const recentFrames = 64 << 10

// Recent visits the operations of the last while, as the log has it, that
// clients may send again: for duplicate request caches. op is valid during the
// call only.
func (e *Engine) Recent(since time.Duration, fn func(op *oplog.Op)) error {
	if e.gaveUp { // not all that the log has was done
		return nil
	}
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
	return e.scanFrom(cs[i], e.log.LastLSN(), func(op *oplog.Op) bool {
		if op.Request != nil && op.Time >= from {
			fn(op)
		}
		return true
	})
}
