package iscsi

import (
	"time"

	"varve/internal/scsi"
)

// sn is what the response to t has in place of its number until it departs.
func (t *task) sn() uint32 {
	if t.counted {
		return snFinish
	}
	return snUse
}

// respond answers a task that the reader has executed and that sends no data.
func (c *conn) respond(t *task) error {
	c.observe(t)
	err := c.say(opResponse, t.tag, t.sn(), 2+scsi.MaxSense, t.buildResponse)
	t.over()
	return err
}

// over gives back a task that the reader alone had.
func (t *task) over() {
	if b := t.buf; b != nil {
		t.buf = nil
		t.c.freeIn(b)
		t.c.tasks.goOn(t.c)
	}
	t.done()
}

// respondFull refuses a command for whose data there is no memory.
func (c *conn) respondFull(t *task) error {
	t.cmd.Status, t.cmd.Sense, t.cmd.N, t.cmd.Total = scsi.TaskSetFull, nil, 0, 0
	return c.respond(t)
}

// respondFailure answers that the command was not delivered: response code 1,
// target failure.
func (c *conn) respondFailure(t *task) error {
	err := c.say(opResponse, t.tag, t.sn(), 0, func(h header, _ []byte) int {
		h[2] = 1
		return 0
	})
	t.over()
	return err
}

// fails ends a task whose data went wrong: CHECK CONDITION, ABORTED COMMAND,
// DATA PHASE ERROR.
func (t *task) fails() {
	t.cmd.Status, t.cmd.N, t.cmd.Total = scsi.CheckCondition, 0, 0
	t.cmd.Sense = dataPhaseError
}

var dataPhaseError = []byte{0x70, 0, 0x0b, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x4b, 0, 0, 0, 0, 0}

// buildResponse is a SCSI response (RFC 7143, 11.4):
//
//	 1  flags | 2  response | 3  status
//	36  ExpDataSN | 44  residual count | 48  sense length 2, sense
func (t *task) buildResponse(h header, data []byte) int {
	h[3] = t.cmd.Status
	t.residual(h)
	h.put(36, t.lastData)
	if t.cmd.Status != scsi.CheckCondition || len(t.cmd.Sense) == 0 {
		return 0
	}
	be.PutUint16(data, uint16(len(t.cmd.Sense)))
	return 2 + copy(data[2:], t.cmd.Sense)
}

// residual sets flags and count of what was to be transferred and was not.
func (t *task) residual(h header) {
	switch total := t.cmd.Total; {
	case total > int64(t.edtl):
		h[1] |= overflowBit
		h.put(44, uint32(total-int64(t.edtl)))
	case total < int64(t.edtl):
		h[1] |= underflowBit
		h.put(44, uint32(int64(t.edtl)-total))
	}
}

// observe tells of a task that is over.
func (c *conn) observe(t *task) {
	if t.cmd.Status == scsi.Good {
		switch {
		case t.cmd.Dir == scsi.DataIn:
			c.bytesRead.Add(uint64(t.cmd.N))
		case t.cmd.Dir == scsi.DataOut:
			c.bytesWritten.Add(uint64(t.data.want))
		}
	}
	if f := c.srv.opt.Observe; f != nil {
		n := t.data.want
		if t.cmd.Dir == scsi.DataIn {
			n = t.cmd.N
		}
		f(opName(t.cdb[0]), time.Since(t.start), n, statusError(t.cmd.Status))
	}
}
