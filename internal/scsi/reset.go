package scsi

// Task management (SAM-5 7). Each function returns when it is done: no task that
// it concerns runs, nor will run. Tasks of the nexus itself: the transport drops
// them and answers none. Those of others: it is told by NexusConfig.Aborted.

// Fence begins one of these functions for a unit: it aborts the commands of this
// nexus that were begun before, and does not wait. Whoever receives the commands
// calls it in its place among them, and the function itself, which may wait, at
// any time after: so no command that came later is aborted.
func (n *Nexus) Fence(lun uint64) {
	if a := n.byLUN[lun]; a != nil {
		a.fence(false)
	}
}

// AbortTaskSet is ABORT TASK SET, after Fence: it waits for the commands of this
// nexus for a unit. It returns false where there is no such unit.
func (n *Nexus) AbortTaskSet(lun uint64) bool {
	a := n.byLUN[lun]
	if a == nil {
		return false
	}
	a.drain()
	return true
}

// ClearTaskSet is CLEAR TASK SET: since every nexus has a task set of its own,
// the same as AbortTaskSet.
func (n *Nexus) ClearTaskSet(lun uint64) bool { return n.AbortTaskSet(lun) }

// ResetUnit is LOGICAL UNIT RESET, after Fence: it aborts the commands of every
// other nexus, waits for those of this one too, ends a reservation of RESERVE(6), sets the mode pages back, and tells every nexus.
func (n *Nexus) ResetUnit(lun uint64) bool {
	a := n.byLUN[lun]
	if a == nil {
		return false
	}
	a.u.reset(a, attnDeviceReset)
	return true
}

// ResetTarget is TARGET WARM RESET, or with cold TARGET COLD RESET: ResetUnit for
// every unit of the nexus, each after its Fence.
func (n *Nexus) ResetTarget(cold bool) {
	x := attnBusReset
	if cold {
		x = attnPowerOn
	}
	for _, lun := range n.luns {
		a := n.byLUN[lun]
		a.u.reset(a, x)
	}
}

// reset brings a unit to what it was at power on, but for what persists.
func (u *unit) reset(by *attachment, x attention) {
	for _, a := range u.others(nil) {
		if a == by {
			a.drain()
			continue
		}
		if a.n.cfg.Aborted != nil {
			a.n.cfg.Aborted(a.lun)
		}
		a.abort(false)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.holder = nil
	u.setGate(gateReserved, u.pr.kind != 0)
	u.setGate(gateStopped, false)
	u.adopt(u.defaults)
	for a := range u.attached {
		a.preventing = false
		a.attend(x)
	}
}

// others lists the attachments but one.
func (u *unit) others(but *attachment) []*attachment {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]*attachment, 0, len(u.attached))
	for a := range u.attached {
		if a != but {
			list = append(list, a)
		}
	}
	return list
}
