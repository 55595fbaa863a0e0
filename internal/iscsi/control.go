package iscsi

import (
	"time"

	"varve/internal/fail"
	"varve/internal/outbox"
)

// maxHeld bounds what is kept of commands that came before their turn: bytes.
const maxHeld = 1 << 20

// heldPDUs are those whose number is not the next, by it; nil: a command that was
// aborted. On a connection that delivers in order there are none; an initiator may
// send them so all the same.
type heldPDUs struct {
	bySN  map[uint32][]byte
	bytes int
}

// serveOne serves one PDU, of which the data is still to be received. An error
// ends the connection.
func (c *conn) serveOne(h header) error {
	op := h.opcode()
	if op == opDataOut {
		return c.dataOut(h)
	}
	if c.nexus == nil && op != opText && op != opLogout && op != opNopOut {
		return fail.Wrap(fail.Invalid, errProtocol, "opcode %#x in a discovery session", op)
	}
	if op == opSNACK {
		return c.reject(h, rejectUnsupported)
	}
	if h.immediate() {
		if (op == opCommand || op == opTask) && c.immediate.Load() >= maxImmediate {
			return c.reject(h, rejectImmediate)
		}
		return c.dispatch(h)
	}
	switch sn, next := h.cmdSN(), c.expCmdSN.Load(); {
	case before(sn, next) || before(c.maxCmdSN.Load(), sn):
		return c.skip(h.dataLen()) // outside the window: ignored, silently
	case sn != next:
		return c.hold(h)
	}
	c.expCmdSN.Add(1)
	if err := c.dispatch(h); err != nil {
		return err
	}
	if len(c.held.bySN) > 0 {
		return c.serveHeld()
	}
	return nil
}

// dispatch serves a PDU whose turn it is.
func (c *conn) dispatch(h header) error {
	switch h.opcode() {
	case opCommand:
		return c.command(h)
	case opNopOut:
		return c.nopOut(h)
	case opTask:
		return c.manage(h)
	case opText:
		return c.textRequest(h)
	case opLogout:
		return c.logout(h)
	case opLogin:
		return fail.Wrap(fail.Invalid, errProtocol, "a login in a session")
	}
	return c.reject(h, rejectUnsupported)
}

// hold keeps a PDU until those before it have come.
func (c *conn) hold(h header) error {
	sn, n := h.cmdSN(), h.dataLen()
	whole := append([]byte(nil), h...)
	p, err := c.data(n)
	if err != nil {
		return err
	}
	if _, twice := c.held.bySN[sn]; twice {
		return nil
	}
	c.held.bytes += n
	if c.held.bytes > maxHeld {
		return fail.Wrap(fail.TooBig, errProtocol, "more than %d bytes out of order", maxHeld)
	}
	if c.held.bySN == nil {
		c.held.bySN = make(map[uint32][]byte)
	}
	c.held.bySN[sn] = append(whole, p...)
	return nil
}

// serveHeld serves those of the kept PDUs whose turn has come: as if they came
// now, in front of what is in the input buffer.
func (c *conn) serveHeld() error {
	for {
		next := c.expCmdSN.Load()
		p, ok := c.held.bySN[next]
		if !ok {
			return nil
		}
		delete(c.held.bySN, next)
		c.expCmdSN.Add(1)
		if p == nil { // aborted
			c.maxCmdSN.Add(1)
			continue
		}
		c.held.bytes -= len(p) - headerSize
		if err := c.replay(p); err != nil {
			return err
		}
	}
}

// abortHeld drops the kept commands before a number that match, and reports whether
// there were any. Their numbers count when their turn comes.
func (c *conn) abortHeld(end uint32, match func(header) bool) (any bool) {
	for sn, p := range c.held.bySN {
		if p == nil || !before(sn, end) {
			continue
		}
		if h := header(p); h.opcode() == opCommand && match(h) {
			c.held.bySN[sn], any = nil, true
			c.held.bytes -= len(p) - headerSize
		}
	}
	return any
}

// replay serves a kept PDU. Its data takes the place of the input meanwhile.
func (c *conn) replay(whole []byte) error {
	in := c.in
	b := c.srv.buffers.Get(bufferSize)
	n := copy(b.Body(), whole[headerSize:])
	c.in = input{buf: b, w: padded(n)}
	clear(b.Body()[n:c.in.w])
	err := c.dispatch(header(whole[:headerSize]))
	c.in = in
	c.srv.buffers.Put(b)
	return err
}

// nopOut answers a ping, or notes the answer to ours.
func (c *conn) nopOut(h header) error {
	tag, lun, n := h.tag(), h.lun(), h.dataLen()
	sn := uint32(snFinish)
	if h.immediate() {
		sn = snUse
	}
	size := min(n, c.params.sendSegment)
	head := func(h header) int {
		be.PutUint64(h[8:], lun)
		h.put(20, noTag)
		return size
	}
	switch {
	case tag == noTag:
		if sn == snFinish {
			c.maxCmdSN.Add(1) // no answer gives its place back
		}
		return c.skip(n)
	case n > inPlace:
		return c.longPing(tag, sn, n, head)
	}
	p, err := c.data(n)
	if err != nil {
		return err
	}
	return c.say(opNopIn, tag, sn, size, func(h header, data []byte) int {
		copy(data[:size], p)
		return head(h)
	})
}

// longPing answers a ping with n bytes of data, received where they are sent from.
func (c *conn) longPing(tag, sn uint32, n int, head func(h header) int) error {
	d := c.params.digests
	b, err := c.takeOut(d.size(n))
	if err != nil {
		return err
	}
	p := b.Body()
	if err := c.dataInto(p[d.head() : d.head()+n]); err != nil {
		c.Free(b)
		return err
	}
	b.To += c.put(p, opNopIn, tag, sn, func(h header, _ []byte) int { return head(h) })
	c.flushReplies()
	c.out.Send(b)
	return nil
}

// reject answers a PDU that cannot be served; its header comes back.
func (c *conn) reject(h header, reason byte) error {
	bad := append([]byte(nil), h...)
	sn := uint32(snUse)
	if !h.immediate() && h.opcode() != opSNACK { // it had a number, and gives its place back
		sn = snFinish
	}
	if err := c.skip(header(bad).dataLen()); err != nil {
		return err
	}
	return c.say(opReject, noTag, sn, headerSize, func(h header, data []byte) int {
		h[2] = reason
		return copy(data, bad)
	})
}

// Reasons of a logout.
const (
	logoutSession    = 0
	logoutConnection = 1
	logoutRecovery   = 2
)

// Responses to a logout.
const (
	logoutDone       = 0
	logoutNoCID      = 1
	logoutNoRecovery = 2
)

// logout ends the session. The answer leaves when the commands before it have ended,
// and the session after them: who hears it counts on what that held being free. One
// that is for something else than this connection changes nothing.
func (c *conn) logout(h header) error {
	tag, reason, response := h.tag(), h[1]&0x7f, byte(logoutDone)
	switch {
	case reason > logoutRecovery:
		return c.reject(h, rejectInvalid)
	case reason == logoutRecovery:
		response = logoutNoRecovery
	case reason == logoutConnection && be.Uint16(h[20:]) != c.session.cid:
		response = logoutNoCID
	}
	sn := uint32(snFinish)
	if h.immediate() {
		sn = snUse
	}
	if err := c.skip(h.dataLen()); err != nil {
		return err
	}
	if response == logoutDone {
		c.flushReplies() // the response stays behind: so few are not sent before the session has ended
	}
	err := c.say(opLogoutR, tag, sn, 0, func(h header, _ []byte) int {
		h[2] = response
		return 0
	})
	if err == nil && response == logoutDone {
		err = errLogout
	}
	return err
}

const (
	// pingAfter is how long an initiator may be silent before it is asked whether
	// it is there, and how long it has to answer.
	pingAfter = 20 * time.Second

	// discoveryTime is how long a discovery session, which needs no rights, may
	// last, whatever it answers.
	discoveryTime = time.Minute

	asyncDropConnection = 2
)

// pinger is what the server's clock remembers of a connection.
type pinger struct {
	seen  uint64 // PDUs, when it looked last
	quiet int    // looks without any
}

// look is called once in pingAfter, by one goroutine: a silent initiator is
// asked, and cut off if it does not answer. So is one that does not send the data
// for which it was given memory, whatever else it says.
func (c *conn) look() {
	n := c.pdus.Load()
	who := c.info.Load()
	switch {
	case who != nil && who.Target == "" && time.Since(c.since) > discoveryTime:
		c.cut(errDiscovered)
		return
	case c.tasks.overdue(c.srv.opt.StallTimeout, time.Now()):
		c.cut(outbox.ErrTooSlow)
		return
	case n != c.ping.seen:
		c.ping = pinger{seen: n}
		return
	case c.ping.quiet > 1:
		c.cut(errSilent)
		return
	}
	c.ping.quiet++
	c.ask()
}

// ask sends a ping.
func (c *conn) ask() {
	if c.live.Load() {
		c.sayLate(opNopIn, noTag, snShow, 0, func(h header, _ []byte) int {
			h.put(20, 1)
			return 0
		})
	}
}

// sayDropping tells that the connection ends, and that the initiator may come
// back at once.
func (c *conn) sayDropping() {
	c.say(opAsync, noTag, snUse, 0, func(h header, _ []byte) int {
		h[36] = asyncDropConnection
		be.PutUint16(h[38:], c.session.cid)
		be.PutUint16(h[40:], uint16(c.params.timeToWait))
		return 0
	})
	c.flushReplies()
}
