package scsi

import "time"

// RESERVE(6) and RELEASE(6) (SPC-2): the unit belongs to one nexus until that
// releases it, ends, or a reset comes.

// holderLook is how often a command that waits for the holder looks again.
const holderLook = 10 * time.Millisecond

// keptOut reports whether a reservation keeps a command out. Where the holder of
// RESERVE(6) does not answer, that is known only when it has answered or its nexus
// has ended; without wait it is then not known.
func (c *Command) keptOut(wait bool) (kept, known bool) {
	for {
		kept, holder := c.a.u.conflicts(c)
		if holder == nil || holder.n.cfg.Silent == nil || !holder.n.cfg.Silent() {
			return kept, true
		}
		if !wait {
			return false, false
		}
		c.pause()
		time.Sleep(holderLook)
		c.resume()
		if c.stopped() {
			return true, true
		}
	}
}

// runReserve is refused while anybody is registered for persistent reservations, or
// is about to be.
func runReserve(c *Command, _, _ []byte, _ bool) bool {
	u := c.a.u
	if !c.lockSaving() {
		return c.fail(sense{key: keyAbortedCommand})
	}
	defer u.saving.Unlock()
	u.mu.Lock()
	if len(u.pr.registered) > 0 || u.holder != nil && u.holder != c.a {
		u.mu.Unlock()
		c.Status = ReservationConflict
		return true
	}
	u.holder = c.a
	u.setGate(gateReserved, true)
	u.mu.Unlock()
	c.pause()
	for _, a := range u.others(c.a) {
		a.drain()
	}
	c.resume()
	return true
}

// runRelease of what somebody else holds changes nothing, and is no error.
func runRelease(c *Command, _, _ []byte, _ bool) bool {
	u := c.a.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.pr.registered) > 0 {
		c.Status = ReservationConflict
		return true
	}
	u.releaseHolder(c.a)
	return true
}
