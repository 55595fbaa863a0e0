package engine

import "maps"

// checks are those that run beside writers. What dies after one began is not
// the store's before it has ended: else it would be punched, or written over,
// under who verifies it. Writers who need room end a check. The gate is held for
// all methods.
type checks struct {
	running map[*checker]func() // and how to end it
	kept    map[uint64][]uint64 // what the store may have when none runs: see freeMap.hand
}

func (k *checks) begin(c *checker, end func()) {
	if k.running == nil {
		k.running = make(map[*checker]func())
	}
	k.running[c] = end
}

// hand is freeMap.hand, now or when no check runs any more.
func (k *checks) hand(m *freeMap, segs map[uint64][]uint64) {
	if len(k.running) == 0 {
		m.hand(segs)
		return
	}
	if k.kept == nil {
		k.kept = make(map[uint64][]uint64)
	}
	maps.Copy(k.kept, segs)
}

// ended hands over what was kept, if no check runs.
func (k *checks) ended(m *freeMap) {
	if len(k.running) == 0 {
		m.hand(k.kept)
		k.kept = nil
	}
}

// endCheck is called when a check has ended; false: it was ended before, and what
// it saw may have been gone.
func (e *Engine) endCheck(c *checker) (whole bool) {
	e.gate.Lock()
	defer e.gate.Unlock()
	_, whole = e.checks.running[c]
	delete(e.checks.running, c)
	e.checks.ended(&e.space)
	return whole
}

// endChecks ends those that run, because what they keep is needed.
func (e *Engine) endChecks() {
	e.gate.Lock()
	defer e.gate.Unlock()
	for _, end := range e.checks.running {
		end()
	}
	clear(e.checks.running)
	e.checks.ended(&e.space)
}
