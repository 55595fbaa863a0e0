package iscsi

// Task management functions, and responses to them (RFC 7143, 11.5, 11.6).
const (
	tmfAbortTask    = 1
	tmfAbortTaskSet = 2
	tmfClearACA     = 3
	tmfClearTaskSet = 4
	tmfUnitReset    = 5
	tmfWarmReset    = 6
	tmfColdReset    = 7
	tmfReassign     = 8

	tmfComplete     = 0
	tmfNoTask       = 1
	tmfNoLUN        = 2
	tmfNoReassign   = 4
	tmfNotSupported = 5
)

// A cold reset does not end the sessions, as RFC 7143 (11.5.1) has it: every
// initiator is told of a power on, and the disks of those that are booted from one
// stay. Other targets do the same.

// management is a task management function on its way. Tasks of its own session
// that no worker has end at once, by the reader; a worker waits for the others
// and tells the unit.
type management struct {
	c         *conn
	function  byte
	tag       uint32
	lun       uint64
	reference uint32
	cmdSN     uint32
	sn        uint32
	response  byte
}

// manage serves a task management request.
func (c *conn) manage(h header) error {
	m := &management{c: c, function: h[1] & 0x7f, tag: h.tag(), lun: h.lun(), reference: h.word20(), cmdSN: h.cmdSN(), sn: snFinish}
	if h.immediate() {
		m.sn = snUse
	}
	if err := c.skip(h.dataLen()); err != nil {
		return err
	}
	of, units := func(lun uint64) bool { return lun == m.lun }, []uint64{m.lun}
	switch m.function {
	case tmfAbortTask:
		return c.abortTask(m)
	case tmfAbortTaskSet, tmfClearTaskSet, tmfUnitReset:
		if !c.hasLUN(m.lun) {
			m.response = tmfNoLUN
			return c.managed(m)
		}
	case tmfWarmReset, tmfColdReset:
		of, units = func(uint64) bool { return true }, c.nexus.LUNs()
	case tmfReassign:
		m.response = tmfNoReassign
		return c.managed(m)
	default:
		m.response = tmfNotSupported
		return c.managed(m)
	}
	for _, lun := range units {
		c.nexus.Fence(lun) // here: the worker comes to it when others have begun
	}
	c.tasks.abort(c, func(t *task) bool { return of(t.cmd.LUN) })
	c.abortHeld(m.cmdSN, func(h header) bool { return of(h.lun()) })
	c.submit(m)
	return nil
}

// abortTask serves ABORT TASK.
func (c *conn) abortTask(m *management) error {
	aborted, running := c.tasks.abortOne(c, m.reference, m.lun)
	switch {
	case running:
		c.submit(m)
		return nil
	case !aborted && !c.abortHeld(m.cmdSN, func(h header) bool { return h.tag() == m.reference && h.lun() == m.lun }):
		m.response = tmfNoTask
	}
	return c.managed(m)
}

func (c *conn) submit(m *management) {
	if m.sn == snUse {
		c.immediate.Add(1)
	}
	c.jobs.Add(1)
	c.srv.workers.Submit(&c.tasks.line, m)
}

func (c *conn) managed(m *management) error {
	return c.say(opTaskRsp, m.tag, m.sn, 0, m.build)
}

func (m *management) build(h header, _ []byte) int {
	h[2] = m.response
	return 0
}

// Run is a worker's.
func (m *management) Run() {
	c := m.c
	defer c.jobs.Done()
	switch m.function {
	case tmfAbortTask:
		c.tasks.waitGone(m.reference)
	case tmfAbortTaskSet:
		c.nexus.AbortTaskSet(m.lun)
	case tmfClearTaskSet:
		c.nexus.ClearTaskSet(m.lun)
	case tmfUnitReset:
		c.nexus.ResetUnit(m.lun)
	case tmfWarmReset, tmfColdReset:
		c.nexus.ResetTarget(m.function == tmfColdReset)
	}
	c.sayLate(opTaskRsp, m.tag, m.sn, 0, m.build)
	if m.sn == snUse { // now its response is counted
		c.immediate.Add(-1)
	}
}

func (c *conn) hasLUN(lun uint64) bool {
	for _, l := range c.nexus.LUNs() {
		if l == lun {
			return true
		}
	}
	return false
}
