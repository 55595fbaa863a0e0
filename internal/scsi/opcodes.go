package scsi

// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35), from the table itself.

func beginOpcodes(c *Command) sense {
	if c.CDB[2]&7 > 3 {
		return senseCDB.atByte(2)
	}
	return beginAlloc6(c)
}

func runOpcodes(c *Command, in, _ []byte, _ bool) bool {
	timeouts := c.CDB[2]&0x80 != 0
	if option := c.CDB[2] & 7; option != 0 {
		return c.reportOne(in, int(option), timeouts)
	}
	p := []byte{0, 0, 0, 0}
	for _, op := range table {
		flags := bit(timeouts, 2)
		action := uint16(0)
		if op.action != none {
			flags, action = flags|1, uint16(op.action)
		}
		p = append(p, op.opcode, 0)
		p = be.AppendUint16(p, action)
		p = append(p, 0, flags)
		p = be.AppendUint16(p, uint16(len(op.usage)))
		if timeouts {
			p = append(p, noTimeouts...)
		}
	}
	be.PutUint32(p, uint32(len(p)-4))
	return c.reply(in, p)
}

// noTimeouts is a command timeouts descriptor that indicates none.
var noTimeouts = []byte{0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// How a command is asked for: by opcode, by service action, by either.
const (
	byOpcodeAlone = 1
	byAction      = 2
	byEither      = 3
)

func (c *Command) reportOne(in []byte, option int, timeouts bool) bool {
	list, action := byOpcode[c.CDB[3]], int(be.Uint16(c.CDB[4:]))
	if len(list) > 0 {
		actions := list[0].action != none
		if actions && option == byOpcodeAlone || !actions && option == byAction {
			return c.fail(senseCDB.atByte(2))
		}
	}
	for _, op := range list {
		if op.action != none && op.action != action || op.action == none && option == byEither && action != 0 {
			continue
		}
		p := []byte{0, 3 | bit(timeouts, 0x80)}
		p = be.AppendUint16(p, uint16(len(op.usage)))
		p = append(p, op.usageData()...)
		if timeouts {
			p = append(p, noTimeouts...)
		}
		return c.reply(in, p)
	}
	return c.reply(in, []byte{0, 1, 0, 0})
}

// usageData is the CDB usage map: the opcode and the service action as they are.
func (op *operation) usageData() []byte {
	p := append([]byte(nil), op.usage...)
	p[0] = op.opcode
	if op.action != none {
		p[1] = p[1]&^0x1f | byte(op.action)
	}
	return p
}

func beginTaskFunctions(c *Command) sense {
	if be.Uint32(c.CDB[6:]) < 4 {
		return senseCDB.atByte(6)
	}
	return beginAlloc6(c)
}

// runTaskFunctions is REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36).
func runTaskFunctions(c *Command, in, _ []byte, _ bool) bool {
	p := make([]byte, 4, 16)
	p[0] = 0x80 | 0x40 | 0x10 | 0x08 | 0x02 // ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LUN RESET, TARGET RESET
	if c.CDB[2]&0x80 != 0 {
		p[3] = 12
		p = p[:16]
	}
	return c.reply(in, p)
}
