package engine

import (
	"fmt"
	"strings"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// giveUp decides about an operation of the log that cannot be repeated because a
// node of the dataset's tree is damaged. With AcceptLoss the dataset stays as it was
// before the operation: it loses the end of what was done, and nothing in between.
// The other datasets lose nothing. An I/O error is no damage.
func (e *Engine) giveUp(d *dataset, op *oplog.Op, err error) error {
	if !fail.Is(err, fail.Corrupt) {
		return err
	}
	if !e.opt.AcceptLoss {
		return fail.Wrap(fail.Corrupt, err, "%s", d.name).WithHint("--accept-loss gives up what follows lsn %d of %s", op.LSN-1, d.name)
	}
	d.givenUp, d.damage = op.LSN, err
	return nil
}

// givenUp reports whether an operation of the log belongs to what its dataset loses.
func (e *Engine) givenUp(op *oplog.Op) bool {
	d := e.datasets[op.Dataset]
	if d == nil || d.givenUp == 0 || !changesData(op.Kind) && op.Kind != oplog.Drain {
		return false
	}
	d.nextIno = max(d.nextIno, op.Ino+1)
	return true
}

// keepGivenUp lets the moments from now on of the datasets that lost something begin
// with what is left of them, at the end of the log, and says what it was.
func (e *Engine) keepGivenUp(lsn uint64, pos segment.Position) {
	told := []string{}
	if e.recovery.Discarded != "" {
		told = append(told, e.recovery.Discarded)
	}
	for _, d := range e.datasets {
		if d.givenUp == 0 {
			continue
		}
		told = append(told, fmt.Sprintf("what follows lsn %d of %s was given up: %v", d.givenUp-1, d.name, d.damage))
		d.mu.Lock()
		d.thaw()
		d.changed, d.givenUp, d.damage = lsn, 0, nil
		e.keep(d, d.addRoot(d.freeze(lsn, pos)))
		d.mu.Unlock()
		e.touch(d)
	}
	e.recovery.Discarded = strings.Join(told, "; ")
}
