package iscsi

import (
	"varve/internal/scsi"
)

// Data-In PDUs lie one after another in a buffer. The data is read behind the
// place of its headers, and moved forward where there is more than one:
//
//	staged  | room for headers and digests | data ................... |
//	sent    | header | data, segment | header | data, segment | ...
//
// With one segment it lies right already.

// startIn executes a command with data-in: straight into the replies at hand, or
// if it is long into a buffer of its own.
func (c *conn) startIn(t *task) error {
	t.in = min(t.edtl, int(t.cmd.Length))
	size := c.stagedSize(t.in)
	if size > bufferSize {
		return c.startLong(t, size)
	}
	p, err := c.room(max(size, c.params.digests.size(2+scsi.MaxSense)))
	if err != nil {
		return err
	}
	if !t.cmd.Execute(c.stage(p, t.in), nil, false) {
		if t.buf, err = c.takeOut(size); err != nil {
			return err
		}
		c.delegate(t)
		return nil
	}
	if !t.dataGood() {
		return c.executed(t)
	}
	c.observe(t)
	c.said(c.putIn(p, t))
	t.done()
	return nil
}

// dataGood reports whether there is nothing left to do but to send data.
func (t *task) dataGood() bool {
	return !t.cmd.Aborted && !t.cmd.NeedsFlush && t.cmd.Status == scsi.Good && t.cmd.N > 0
}

func (c *conn) startLong(t *task, size int) error {
	b, err := c.takeOut(size)
	if err != nil {
		return err
	}
	if !t.cmd.Execute(c.stage(b.Body(), t.in), nil, false) {
		t.buf = b
		c.delegate(t)
		return nil
	}
	if !t.dataGood() {
		c.Free(b)
		return c.executed(t)
	}
	c.observe(t)
	b.To += c.putIn(b.Body(), t)
	c.flushReplies()
	c.out.Send(b)
	t.done()
	return nil
}

// perPDU bounds what a Data-In has beside its data.
func (d digests) perPDU() int { return d.size(0) + 3 + digestSize }

// segments bounds the Data-In PDUs of n bytes: one ends at each end of a segment
// and of a burst.
func (c *conn) segments(n int) int {
	n = max(n, 1) - 1
	return 1 + n/c.params.sendSegment + n/c.params.maxBurst
}

// staging is where in the buffer n bytes of data are read.
func (c *conn) staging(n int) int {
	return c.params.digests.head() + (c.segments(n)-1)*c.params.digests.perPDU()
}

// stagedSize is how large the buffer for n bytes of data has to be.
func (c *conn) stagedSize(n int) int { return c.staging(n) + n + 3 + digestSize }

func (c *conn) stage(p []byte, n int) []byte {
	at := c.staging(n)
	return p[at : at+n : at+n]
}

// putIn makes Data-In PDUs of the t.cmd.N bytes that are staged in p, the last
// with the status, and returns their length.
//
//	 1  flags: F at the end of each burst, S status, residual | 3 status
//	16  tag | 20  noTag | 36  DataSN | 40  buffer offset | 44  residual count
func (c *conn) putIn(p []byte, t *task) int {
	d, n := c.params.digests, t.cmd.N
	data := c.stage(p, t.in)[:n]
	end, burst := 0, 0
	for off, sn := 0, uint32(0); off < n; sn++ {
		k := min(n-off, c.params.sendSegment, c.params.maxBurst-burst)
		copy(p[end+d.head():], data[off:off+k])
		h := newHeader(p[end:], opDataIn, t.tag, snNone)
		h[1] = 0
		h.put(20, noTag)
		h.put(36, sn)
		h.put(40, uint32(off))
		off += k
		if burst += k; burst == c.params.maxBurst {
			h[1], burst = finalBit, 0
		}
		if off == n {
			h[1] = finalBit | statusBit
			h[3] = t.cmd.Status
			t.residual(h)
			h.put(24, t.sn())
		}
		end += d.finish(p[end:], k)
	}
	return end
}
