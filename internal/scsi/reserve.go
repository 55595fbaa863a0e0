package scsi

// RESERVE(6) and RELEASE(6) (SPC-2): the unit belongs to one nexus until that
// releases it, ends, or a reset comes.

// runReserve is refused while anybody is registered for persistent reservations.
func runReserve(c *Command, _, _ []byte, _ bool) bool {
	u := c.a.u
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
