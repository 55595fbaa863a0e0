package scsi

// args is what the commands of one shape have in common, parsed by Begin.
type args struct {
	lba    uint64
	blocks uint64
	alloc  int // allocation or parameter list length, bytes
	fua    bool
}

// class says how a command gets on with reservations of others (SPC-4 table 66,
// SBC-3 table 13).
type class uint8

const (
	always     class = iota // allowed whatever is reserved
	free                    // allowed, but for the reservation of RESERVE(6)
	readClass               // conflicts with exclusive access
	writeClass              // conflicts with both
	refined                 // it depends on the CDB: see refine
)

// refine classes the commands of which a part is harmless: starting a unit,
// allowing removal.
func refine(cdb []byte) class {
	if cdb[0] == 0x1b && cdb[4]&0xf3 == 0x01 || cdb[0] == 0x1e && cdb[4]&3 == 0 {
		return free
	}
	return writeClass
}

// Traits of operations.
const (
	despite   = 1 << iota // executed although a unit attention waits
	medium                // needs the medium: refused while stopped or on a port in standby
	modifies              // refused where the unit is write protected
	slow                  // never executed without wait
	sanitized             // allowed while SANITIZE runs
	anyPort               // allowed on a port that is unavailable
)

// operation is one command of the table.
type operation struct {
	opcode byte
	action int // service action, or none
	// usage is the CDB usage data of REPORT SUPPORTED OPERATION CODES: which bits
	// of the CDB are looked at; its length is the CDB's. Other bits must be 0.
	usage  []byte
	class  class
	traits uint
	begin  func(c *Command) sense // sets args, Dir, Length
	run    func(c *Command, in, out []byte, wait bool) bool
}

const none = -1

// Begin takes up a command of the nexus: c.LUN and c.CDB are set. It tells
// direction and length of the data. It does not wait.
func (n *Nexus) Begin(c *Command) {
	c.Dir, c.Length = NoData, 0
	c.Status, c.Sense, c.N, c.Total = Good, nil, 0, 0
	c.NeedsFlush, c.Aborted = false, false
	c.n, c.args, c.refused = n, args{}, sense{}
	c.cancel.Store(false)
	c.a = n.byLUN[c.LUN]
	if c.a != nil {
		c.epoch = c.a.epoch.Load()
	}
	c.op, c.refused = find(c.CDB)
	if c.op == nil || c.refused.is() {
		return
	}
	if c.a == nil && c.op.traits&despite == 0 {
		c.refused = senseLUN
		return
	}
	if c.refused = c.op.begin(c); c.refused.is() {
		c.Dir, c.Length = NoData, 0
	}
}

// Execute runs a command. in has room for data to the initiator: Length, or as
// much as the initiator expects if that is less. out is the data from the
// initiator, complete, likewise. Neither is kept. Without wait it does not wait
// for the disk: false means that it would have to, and nothing has happened.
//
// in is filled in place: a read lies there as it goes to the socket.
func (c *Command) Execute(in, out []byte, wait bool) bool {
	c.N, c.Total, c.Status, c.NeedsFlush = 0, 0, Good, false
	a := c.a
	if a == nil {
		return c.executeNowhere(in)
	}
	if !a.enter(c) {
		c.Aborted = true
		return true
	}
	done := c.execute(in, out, wait)
	if done && c.stopped() && c.Status != Good {
		c.Aborted = true // it gave up
	}
	a.leave(c)
	return done
}

func (c *Command) execute(in, out []byte, wait bool) bool {
	a := c.a
	if a.d.Size() != a.u.size.Load() {
		a.u.resized(a.d)
	}
	if a.pending.Load() && (c.op == nil || c.op.traits&despite == 0) {
		if x, ok := a.nextAttention(); ok {
			return c.fail(sense{key: keyUnitAttention, asc: x.asc, ascq: x.ascq})
		}
	}
	op := c.op
	if op == nil {
		return c.fail(c.refused)
	}
	gate := a.u.gate.Load()
	if gate&gateReserved != 0 {
		kept, known := c.keptOut(wait)
		if !known {
			return false
		}
		if kept {
			c.Status = ReservationConflict
			return true
		}
		gate = a.u.gate.Load() // it may have waited
	}
	if gate != 0 || a.n.cfg.Target.restricted.Load() {
		if s := c.barred(gate); s.is() {
			return c.fail(s)
		}
	}
	if c.refused.is() {
		return c.fail(c.refused)
	}
	if op.traits&modifies != 0 && a.d.ReadOnly() {
		return c.fail(senseProtected)
	}
	if !wait && op.traits&slow != 0 {
		return false
	}
	if !op.run(c, in, out, wait) {
		return false
	}
	if op.traits&modifies != 0 && gate&gateNoCache != 0 && c.Status == Good {
		c.NeedsFlush = true
	}
	return true
}

// barred looks at everything but reservations that may keep a command from a unit:
// states, protection.
func (c *Command) barred(gate uint32) sense {
	op, u := c.op, c.a.u
	if gate&gateSanitize != 0 && op.traits&sanitized == 0 {
		return u.sanitizing()
	}
	switch state := c.n.cfg.Target.stateOf(c.n.cfg.Port); {
	case state == unavailable && op.traits&anyPort == 0:
		return senseUnavailable
	case state == standby && op.traits&medium != 0:
		return senseStandby
	}
	if gate&gateStopped != 0 && op.traits&medium != 0 {
		return senseStopped
	}
	if gate&gateProtected != 0 && op.traits&modifies != 0 {
		return senseSoftProtect
	}
	return sense{}
}

// executeNowhere answers a command for a LUN that is not there.
func (c *Command) executeNowhere(in []byte) bool {
	if c.op == nil || c.refused.is() {
		return c.fail(c.refused)
	}
	return c.op.run(c, in, nil, true)
}

// fail ends a command with CHECK CONDITION.
func (c *Command) fail(s sense) bool {
	c.Status = CheckCondition
	c.N, c.NeedsFlush = 0, false
	descriptor := c.a != nil && c.a.u.descriptorSense.Load()
	c.Sense = c.buf[:s.encode(c.buf[:], descriptor)]
	return true
}

// end ends a command with what an operation of the disk returned.
func (c *Command) end(err error) bool {
	if err == nil {
		return true
	}
	return c.fail(of(err))
}

// Committed gives a command that NeedsFlush what the Flush returned.
func (c *Command) Committed(err error) {
	c.NeedsFlush = false
	if err != nil {
		c.fail(of(err))
	}
}

// reply ends a command with data, cut to the allocation length.
func (c *Command) reply(in, data []byte) bool {
	data = data[:min(len(data), c.args.alloc)]
	c.Total = int64(len(data))
	c.N = copy(in, data)
	return true
}

// dataIn is what the begin of commands with an allocation length returns.
func (c *Command) dataIn(alloc int) sense {
	c.args.alloc = min(alloc, MaxTransfer)
	c.Dir, c.Length = DataIn, int64(c.args.alloc)
	if alloc == 0 {
		c.Dir = NoData
	}
	return sense{}
}

// dataOut is what the begin of commands with a parameter list returns.
func (c *Command) dataOut(n int) sense {
	if n > maxList {
		return senseCDB
	}
	c.args.alloc = n
	c.Dir, c.Length = DataOut, int64(n)
	if n == 0 {
		c.Dir = NoData
	}
	return sense{}
}

// maxList bounds parameter lists: bytes.
const maxList = 64 << 10
