package engine

import (
	"encoding/binary"
	"time"

	"varve/internal/fail"
	"varve/internal/poolclock"
)

// startClock makes the clock that the pool goes by, from where the log ends.
func (e *Engine) startClock() {
	last := e.lastCkpt.Load().(checkpointRecord)
	e.clock = poolclock.New(poolclock.Options{
		Wall: e.opt.Now, Elapsed: e.opt.Elapsed, Last: max(last.time, e.lastTime.Load()), Age: e.opened, Behind: e.behind,
	})
	if jump, suspect := e.clock.Suspect(); suspect {
		e.logger.Warn("the machine's clock is not where it was left: nothing is forgotten until varve clock confirm", "jump", jump)
	}
}

// ConfirmClock accepts the machine's clock after a jump.
func (e *Engine) ConfirmClock(c Caller) (Done, error) {
	if err := e.writable(); err != nil {
		return Done{}, err
	}
	behind := e.clock.Confirm()
	e.gate.Lock()
	e.behind = behind
	e.record(itemKey(tagClock, 0, 0), binary.AppendVarint(nil, int64(behind)))
	e.gate.Unlock()
	e.moreToDo.Store(true)
	err := e.Checkpoint()
	e.wakeRetain()
	e.logger.Info("the machine's clock was confirmed", "client", c.Proto+" "+c.Addr, "behind", behind)
	return Done{LSN: e.lastLSN(), Time: time.Unix(0, e.poolTime()).UTC()}, err
}

func (e *Engine) readClock(v []byte) error {
	n, size := binary.Varint(v)
	if size != len(v) {
		return fail.New(fail.Corrupt, "the pool tree's record of the clock makes no sense")
	}
	e.behind = time.Duration(n)
	return nil
}
