package iscsi

// transfer is the data-out of a task. It comes in order:
//
//	| immediate | unsolicited, up to FirstBurst | burst 0 | burst 1 ...  | want
//	                                            base      each asked for by an R2T
//
// DataSN counts from 0 in the unsolicited data and in each burst. What an
// initiator sends unasked beyond want is received and let go.
type transfer struct {
	want        int  // bytes that will be executed: of EDTL and the CDB the less
	got         int  // bytes that came
	unsolicited bool // more comes unasked
	most        int  // of what comes unasked, the end
	base        int
	asked       int // R2Ts sent
	dataSN      uint32
}

// receiveOut serves a command with data-out: n bytes of it came along.
func (c *conn) receiveOut(t *task, final bool, n int) error {
	d := &t.data
	d.want = min(t.edtl, int(t.cmd.Length))
	if final && n >= d.want && n <= inPlace {
		p, err := c.data(n)
		if err != nil {
			return err
		}
		d.got = n
		return c.start(t, p[:d.want])
	}
	d.unsolicited, d.most = !final, n
	if !final {
		d.most = min(c.params.firstBurst, t.edtl)
	}
	if n > 0 || !final { // it comes, whether there is room or not
		if t.buf = c.takeIn(max(d.want, d.most)); t.buf == nil {
			if err := c.skip(n); err != nil {
				return err
			}
			return c.respondFull(t)
		}
		if err := c.dataInto(t.buf.Body()[:n]); err != nil {
			c.giveBackOf(t) // it is in no set from which the end of the connection would take it
			return err
		}
		d.got = n
	}
	return c.arrived(t)
}

// arrived goes on with a task of which a part of the data has come: it asks for
// more, waits for more, or executes it.
func (c *conn) arrived(t *task) error {
	d := &t.data
	switch {
	case d.unsolicited:
		c.tasks.enter(t, phaseData)
		return nil
	case d.got >= d.want:
		c.tasks.take(t)
		return c.start(t, t.buf.Body()[:d.want])
	}
	d.base = d.got
	if t.buf == nil && !c.tasks.feed(c, t) {
		return nil // asked for when there is memory
	}
	c.tasks.enter(t, phaseData)
	for t.mayAsk() {
		if err := c.say(opR2T, t.tag, snShow, 0, t.buildR2T); err != nil {
			return err
		}
	}
	return nil
}

// mayAsk reports whether another R2T may be sent.
func (t *task) mayAsk() bool {
	d, p := &t.data, &t.c.params
	done := (d.got - d.base) / p.maxBurst
	return d.base+d.asked*p.maxBurst < d.want && d.asked-done < p.maxOutstanding
}

// buildR2T asks for the next burst:
//
//	8  LUN | 20  target tag: the number of the R2T | 36  R2TSN | 40  buffer offset | 44  length
func (t *task) buildR2T(h header, _ []byte) int {
	d := &t.data
	from := d.base + d.asked*t.c.params.maxBurst
	be.PutUint64(h[8:], t.cmd.LUN)
	h.put(20, uint32(d.asked))
	h.put(36, uint32(d.asked))
	h.put(40, uint32(from))
	h.put(44, uint32(min(d.want-from, t.c.params.maxBurst)))
	d.asked++
	t.lastData = uint32(d.asked)
	return 0
}

// dataOut serves a Data-Out. That of a task that is over is let go.
func (c *conn) dataOut(h header) error {
	n := h.dataLen()
	t := c.tasks.receiving(h.tag())
	if t == nil {
		return c.skip(n)
	}
	end, ok := t.fits(h, n)
	final := h.final()
	if !ok {
		if err := c.skip(n); err != nil {
			return err
		}
		c.tasks.take(t)
		t.fails()
		return c.respond(t)
	}
	if err := c.intoTask(t, n); err != nil {
		return err
	}
	d := &t.data
	d.got += n
	d.dataSN++
	if !final {
		return nil
	}
	d.dataSN = 0
	switch {
	case d.unsolicited:
		d.unsolicited = false
		return c.arrived(t)
	case end >= d.want:
		c.tasks.take(t)
		return c.start(t, t.buf.Body()[:d.want])
	}
	for t.mayAsk() {
		if err := c.say(opR2T, t.tag, snShow, 0, t.buildR2T); err != nil {
			return err
		}
	}
	return nil
}

// fits judges a Data-Out by what is expected next. end is where its burst ends.
func (t *task) fits(h header, n int) (end int, ok bool) {
	d, p := &t.data, &t.c.params
	if h.word20() == noTag {
		end = d.most
		ok = d.unsolicited
	} else {
		burst := (d.got - d.base) / p.maxBurst
		end = min(d.base+(burst+1)*p.maxBurst, d.want)
		ok = !d.unsolicited && burst < d.asked && h.word20() == uint32(burst) && h.final() == (d.got+n == end)
	}
	sn, off := be.Uint32(h[36:]), be.Uint32(h[40:])
	return end, ok && sn == d.dataSN && off == uint32(d.got) && d.got+n <= end
}

// intoTask receives n bytes of data where they belong.
func (c *conn) intoTask(t *task, n int) error {
	dst := t.buf.Body()[t.data.got : t.data.got+n]
	if n <= inPlace && c.in.len() >= c.dataSize(n) {
		p, err := c.data(n)
		copy(dst, p)
		return err
	}
	return c.dataInto(dst)
}

// feed gives t memory for its data and reports whether there is some; else t
// waits for it in the set.
func (s *taskSet) feed(c *conn, t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hungry) == 0 {
		if t.buf = c.takeIn(t.data.want); t.buf != nil {
			return true
		}
	}
	t.phase = phaseData
	s.byTag[t.tag] = t
	s.hungry = append(s.hungry, t)
	return false
}
