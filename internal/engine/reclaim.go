package engine

import (
	"slices"
	"time"

	"varve/internal/fail"
)

// freeDrops frees the nodes of the pool tree that the last super root named as
// dropped.
func (e *Engine) freeDrops() error {
	died := e.died
	e.died = nil
	for _, x := range died {
		if err := e.space.add(x.Addr, 1); err != nil {
			e.stop(err)
			return err
		}
	}
	return nil
}

// handOver lets the store have what the checkpoint before c freed: c is durable,
// so neither of the last two super roots leads there. The gate is held.
func (e *Engine) handOver(c *cut) {
	e.space.hand(e.freed)
	e.freed = c.freed
	e.floors[0], e.floors[1] = e.floors[1], c.floor
}

// retireDead gives segments that are dead as a whole back to the log, and
// returns how many.
func (e *Engine) retireDead() (n int, err error) {
	e.gate.RLock()
	floor := e.floors[0].Addr.Segment()
	e.gate.RUnlock()
	for _, seg := range e.space.dead(floor) {
		if err := e.log.Retire(seg); err != nil {
			if fail.Is(err, fail.Busy) {
				continue
			}
			return n, err
		}
		e.gate.Lock()
		e.space.drop(seg, e.records)
		e.gate.Unlock()
		n++
	}
	return n, nil
}

// dead returns the segments below floor without a payload block that anybody
// needs.
func (m *freeMap) dead(floor uint64) (out []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, s := range m.segs {
		if n < floor && s.dead == s.payload {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// age is how long the pool has been served, ever: what history is measured by.
// No jump of a clock changes it.
func (e *Engine) age() time.Duration { return e.opened + e.opt.Elapsed() - e.elapsed0 }

// clockSuspect reports whether the machine's clock jumped.
func (e *Engine) clockSuspect() bool { return false }

// reclaim gives back what is free: see the package's docs.
func (e *Engine) reclaim(force bool) error {
	_, err := e.retireDead()
	return err
}
