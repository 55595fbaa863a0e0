package iscsi

import (
	"time"

	"varve/internal/fail"
	"varve/internal/outbox"
	"varve/internal/scsi"
)

// MaxTransfer bounds the data of one command: bytes.
const MaxTransfer = scsi.MaxTransfer

// Task attributes.
const (
	attrSimple  = 1
	attrOrdered = 2
	attrHead    = 3
)

var errProtocol = fail.New(fail.Invalid, "iSCSI: a PDU against the rules")

// phase is where a task is.
type phase uint8

const (
	phaseData    phase = iota // its data is on the way, or asked for, or waits for memory to be asked for
	phaseQueued               // it waits for those before it
	phaseExecute              // a worker has it, or soon will
)

// task is one SCSI command on its way:
//
//	reader   Begin; all data here? Execute without waiting; respond
//	         else: receive data into buf; Execute when the last is here
//	worker   Execute, Flush, respond
//
// The reader alone has it until it is in the task set; see taskSet.
type task struct {
	c       *conn
	tag     uint32
	counted bool // in the window
	read    bool
	write   bool
	attr    byte
	edtl    int // bytes that the initiator expects to transfer
	start   time.Time
	cmd     scsi.Command
	cdb     [scsi.MaxCDB]byte

	data transfer
	buf  *outbox.Buffer // of data-out, or for the reply with data-in
	in   int            // bytes of data-in that there is room for

	since    time.Time // when its data was first expected, while it is in phaseData and has a buffer
	phase    phase     // this and the rest: guarded by taskSet.mu once it is in the set
	flush    bool      // it was executed and is to be flushed
	aborted  bool      // no response
	lastData uint32
}

func (c *conn) newTask(h header) *task {
	t, ok := c.srv.tasks.Get().(*task)
	if !ok {
		t = new(task)
	}
	t.c, t.tag, t.counted = c, h.tag(), !h.immediate()
	if !t.counted {
		c.immediate.Add(1)
	}
	t.read, t.write, t.attr = h[1]&readBit != 0, h[1]&writeBit != 0, h[1]&7
	t.edtl = int(h.word20())
	t.start = c.clock()
	n := copy(t.cdb[:], h.cdb())
	t.cmd.LUN, t.cmd.CDB, t.cmd.Expected = h.lun(), t.cdb[:n], 0
	if t.write {
		t.cmd.Expected = int64(t.edtl)
	}
	return t
}

// done gives t back.
func (t *task) done() {
	pool := &t.c.srv.tasks
	if !t.counted {
		t.c.immediate.Add(-1)
	}
	*t = task{}
	pool.Put(t)
}

// command serves a SCSI command, of which dataLen bytes of immediate data are
// still to be received.
func (c *conn) command(h header) error {
	n := h.dataLen()
	t := c.newTask(h)
	if err := t.check(h, n); err != nil {
		return err
	}
	c.commands.Add(1)
	if c.tasks.has(t.tag) {
		return fail.Wrap(fail.Invalid, errProtocol, "task tag %#x is in use", t.tag)
	}
	c.nexus.Begin(&t.cmd)
	switch {
	case t.wrongWay():
		if err := c.skip(n); err != nil {
			return err
		}
		return c.respondFailure(t)
	case t.cmd.Dir == scsi.DataOut && t.write:
		return c.receiveOut(t, h.final(), n)
	}
	if err := c.skip(n); err != nil { // what follows unsolicited nobody wants either: see dataOut
		return err
	}
	return c.start(t, nil)
}

// wrongWay reports whether the initiator expects data to go another way than the
// command says, which then must not end well: none is moved. No command that we
// know is bidirectional.
func (t *task) wrongWay() bool {
	return t.read && t.write || t.edtl > 0 &&
		(t.cmd.Dir == scsi.DataOut && !t.write || t.cmd.Dir == scsi.DataIn && !t.read)
}

// check judges the head of a command against what was negotiated.
func (t *task) check(h header, n int) error {
	p := &t.c.params
	switch {
	case n > 0 && (!t.write || !p.immediateData || n > p.firstBurst || n > t.edtl):
		return fail.Wrap(fail.Invalid, errProtocol, "immediate data of %d bytes", n)
	case !h.final() && (p.initialR2T || !t.write || t.edtl == 0):
		return fail.Wrap(fail.Invalid, errProtocol, "unsolicited data that was not agreed upon")
	case t.tag == noTag:
		return fail.Wrap(fail.Invalid, errProtocol, "a command without a tag")
	}
	return nil
}

// start executes a task whose data-out is here: at once if it can, else by a
// worker.
func (c *conn) start(t *task, out []byte) error {
	if t.attr != attrHead && c.tasks.mustWait(t) {
		return c.queueBehind(t, out)
	}
	if t.cmd.Dir == scsi.DataIn && t.read {
		return c.startIn(t)
	}
	if !t.cmd.Execute(nil, out, false) {
		return c.delegateOut(t, out)
	}
	return c.executed(t)
}

// executed goes on with a task that the reader has executed.
func (c *conn) executed(t *task) error {
	switch {
	case t.cmd.Aborted:
		c.endAborted(t)
		return nil
	case t.cmd.NeedsFlush:
		if t.buf != nil { // its data is written
			c.freeIn(t.buf)
			t.buf = nil
		}
		t.flush = true
		c.delegate(t)
		return nil
	}
	return c.respond(t)
}

// delegateOut gives a task to the workers. Data that lies in the input buffer
// is copied.
func (c *conn) delegateOut(t *task, out []byte) error {
	if t.buf == nil && len(out) > 0 {
		if t.buf = c.takeIn(len(out)); t.buf == nil {
			return c.respondFull(t)
		}
		t.data.want = copy(t.buf.Body(), out)
	}
	c.delegate(t)
	return nil
}

// delegate gives a task to the workers.
func (c *conn) delegate(t *task) {
	c.tasks.enter(t, phaseExecute)
	c.jobs.Add(1)
	c.srv.workers.Submit(&c.tasks.line, t)
}

// Run is a worker's.
func (t *task) Run() {
	c := t.c
	defer c.jobs.Done()
	if !t.flush {
		var in, out []byte
		switch {
		case t.buf == nil:
		case t.cmd.Dir == scsi.DataIn:
			in = c.stage(t.buf.Body(), t.in)
		default:
			out = t.buf.Body()[:t.data.want]
		}
		t.cmd.Execute(in, out, true)
	}
	if !t.cmd.Aborted && t.cmd.NeedsFlush {
		t.cmd.Committed(c.nexus.Flush(t.cmd.LUN))
	}
	c.finishLate(t)
}

// finishLate responds to a task from a worker, unless it was aborted.
func (c *conn) finishLate(t *task) {
	if !c.tasks.leave(t) || t.cmd.Aborted {
		c.endAborted(t)
		return
	}
	c.observe(t)
	if b := t.buf; b != nil && t.cmd.Dir == scsi.DataIn && t.cmd.Status == scsi.Good && t.cmd.N > 0 {
		t.buf = nil
		b.To += c.putIn(b.Body(), t)
		c.out.Add(b)
	} else {
		c.sayLate(opResponse, t.tag, t.sn(), 2+scsi.MaxSense, t.buildResponse)
	}
	c.settle(t)
}

// settle gives back what a task has that is over, and goes on with those that
// waited for it.
func (c *conn) settle(t *task) {
	c.giveBackOf(t)
	t.done()
	c.tasks.goOn(c)
}

func (c *conn) giveBackOf(t *task) {
	b := t.buf
	t.buf = nil
	switch {
	case b == nil:
	case t.cmd.Dir == scsi.DataIn:
		c.Free(b)
	default:
		c.freeIn(b)
	}
}

// endAborted ends a task without a response.
func (c *conn) endAborted(t *task) {
	if t.counted {
		c.maxCmdSN.Add(1)
	}
	c.settle(t)
}

// clock returns the time, if anyone wants to know.
func (c *conn) clock() (t time.Time) {
	if c.srv.opt.Observe != nil {
		t = time.Now()
	}
	return t
}
