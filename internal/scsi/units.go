package scsi

func beginReportLUNs(c *Command) sense {
	alloc := be.Uint32(c.CDB[6:])
	if alloc < 16 {
		return senseCDB.atByte(6)
	}
	if c.CDB[2] > 2 {
		return senseCDB.atByte(2)
	}
	return c.dataIn(clamp(alloc))
}

// runReportLUNs lists the units of the nexus; there are no well-known ones.
func runReportLUNs(c *Command, in, _ []byte, _ bool) bool {
	p := make([]byte, 8, 8+8*len(c.n.luns))
	if c.CDB[2] != 1 {
		for _, lun := range c.n.luns {
			p = be.AppendUint64(p, lun)
		}
	}
	be.PutUint32(p, uint32(len(p)-8))
	return c.reply(in, p)
}

func beginRequestSense(c *Command) sense { return c.dataIn(int(c.CDB[4])) }

// runRequestSense gives a unit attention that waits, or the unit's state, as data
// (SPC-4 6.39).
func runRequestSense(c *Command, in, _ []byte, _ bool) bool {
	s := senseLUN
	if a := c.a; a != nil {
		if x, ok := a.nextAttention(); ok {
			s = sense{key: keyUnitAttention, asc: x.asc, ascq: x.ascq}
		} else {
			s = a.u.condition()
		}
	}
	var p [MaxSense]byte
	return c.reply(in, p[:s.encode(p[:], c.CDB[1]&1 != 0)])
}

// condition is what keeps the unit from being ready, or nothing.
func (u *unit) condition() sense {
	gate := u.gate.Load()
	switch {
	case gate&gateSanitize != 0:
		return u.sanitizing()
	case gate&gateStopped != 0:
		return senseStopped
	}
	return sense{}
}

// beginStartStop is for START STOP UNIT: START is bit 0, LOEJ bit 1, the power
// condition the upper half of byte 4.
func beginStartStop(c *Command) sense {
	if c.CDB[4]>>4 > 0xb {
		return senseCDB.atByte(4)
	}
	return sense{}
}

// runStartStop stops and starts the unit (SBC-3 5.25): a disk is not ejected.
// Power conditions are accepted, and change nothing.
func runStartStop(c *Command, _, _ []byte, _ bool) bool {
	b := c.CDB[4]
	if b>>4 != 0 {
		return true
	}
	u := c.a.u
	start := b&1 != 0
	if b&2 != 0 && !start { // eject: not removable
		return c.fail(senseCDB.atByte(4))
	}
	u.mu.Lock()
	u.setGate(gateStopped, !start)
	u.mu.Unlock()
	if !start {
		c.NeedsFlush = b&4 == 0 // NO_FLUSH
	}
	return true
}

// runPrevent notes PREVENT ALLOW MEDIUM REMOVAL; there is nothing to remove.
func runPrevent(c *Command, _, _ []byte, _ bool) bool {
	c.a.u.mu.Lock()
	c.a.preventing = c.CDB[4]&1 != 0
	c.a.u.mu.Unlock()
	return true
}

// beginDefects is for READ DEFECT DATA (10 and 12).
func beginDefects10(c *Command) sense { return c.dataIn(int(be.Uint16(c.CDB[7:]))) }

func runDefects10(c *Command, in, _ []byte, _ bool) bool {
	return c.reply(in, []byte{0, c.CDB[2] & 0x1f, 0, 0})
}

func runDefects12(c *Command, in, _ []byte, _ bool) bool {
	return c.reply(in, []byte{0, c.CDB[1] & 0x1f, 0, 0, 0, 0, 0, 0})
}
