package nbd

import "time"

// maxSkip is the longest payload of a refused WRITE that we skip. With a longer
// one the connection ends.
const maxSkip = 64 << 20

// loop serves requests until the client ends the connection, errDisconnect,
// or it breaks.
func (c *conn) loop() error {
	for {
		if err := c.fill(requestSize); err != nil {
			return err
		}
		r, ok := parseRequest(c.in.next(requestSize))
		if !ok {
			return errBadMagic
		}
		c.requests.Add(1)
		if err := c.execute(r); err != nil {
			return err
		}
	}
}

// execute serves one request or hands it on. An error ends the connection.
func (c *conn) execute(r request) error {
	if r.cmd == cmdDisc {
		return errDisconnect
	}
	start := c.clock()
	if err := c.judge(r); err != nil {
		return c.refuse(r, err, start)
	}
	switch r.cmd {
	case cmdRead:
		return c.read(r, start)
	case cmdCache:
		return c.cache(r, start)
	case cmdBlockStatus:
		return c.blockStatus(r, start)
	case cmdWrite:
		return c.write(r, start)
	}
	if queued, err := c.queued(r, start); queued || err != nil {
		return err
	}
	if r.cmd == cmdFlush {
		return c.commit(r, start)
	}
	return c.changed(r, c.empty(r), start)
}

// judge says what is wrong with a request, if anything is.
func (c *conn) judge(r request) error {
	var flags uint16 = flagFUA
	changes := false
	switch r.cmd {
	case cmdRead:
		if c.structured {
			flags |= flagDF
		}
	case cmdWrite, cmdTrim:
		changes = true
	case cmdWriteZeroes:
		changes = true
		flags |= flagNoHole | flagFastZero // ours are always fast
	case cmdBlockStatus:
		flags |= flagReqOne
	case cmdFlush, cmdCache:
	default:
		return errNotACommand
	}
	switch {
	case r.flags&^flags != 0:
		return errBadFlags
	case r.cmd == cmdFlush:
		return nil // its range means nothing
	case changes && c.export.ReadOnly:
		return errReadOnly
	case r.cmd == cmdBlockStatus && len(c.contexts) == 0:
		return errNoContext
	case r.n == 0:
		return errEmpty
	}
	if r.cmd == cmdRead || r.cmd == cmdWrite {
		if r.n > maxPayload && r.flags&flagDF != 0 {
			return errTooLongDF
		} else if r.n > maxPayload {
			return errTooLong
		}
	}
	if r.off <= c.export.Size && uint64(r.n) <= c.export.Size-r.off {
		return nil
	}
	if r.cmd == cmdWrite || r.cmd == cmdWriteZeroes {
		return errNoRoom
	}
	return errOutside
}

// refuse answers a request with an error. The payload of a WRITE is skipped
// first: clients take a reply to what they are still sending for a bug.
func (c *conn) refuse(r request, why error, start time.Time) error {
	skip := r.cmd == cmdWrite && r.n <= maxSkip
	if skip {
		if err := c.discard(int64(r.n)); err != nil {
			return err
		}
	}
	if err := c.answer(r, why, start); err != nil {
		return err
	}
	if r.cmd == cmdWrite && !skip {
		return errDistrust
	}
	return nil
}

// clock returns the time, if anyone wants to know.
func (c *conn) clock() (t time.Time) {
	if c.srv.opt.Observe != nil {
		t = time.Now()
	}
	return t
}

func (c *conn) observe(r request, start time.Time, err error) {
	if f := c.srv.opt.Observe; f != nil && int(r.cmd) < len(cmdNames) {
		n := int(r.n)
		if r.cmd == cmdFlush {
			n = 0
		}
		f(cmdNames[r.cmd], time.Since(start), n, err)
	}
}
