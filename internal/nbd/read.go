package nbd

import (
	"time"

	"varve/internal/fail"
	"varve/internal/outbox"
	"varve/internal/workers"
)

// maxSpansKept bounds the memory for maps of reads that is kept for reuse.
const maxSpansKept = 1024

// errCut answers jobs of a connection that was cut; nobody hears it.
var errCut = fail.New(fail.Canceled, "the connection was cut")

// readHead is the length of what comes before the data in the reply to a READ.
func (c *conn) readHead() int {
	if c.structured {
		return dataHead
	}
	return simpleSize
}

// wantsMap clears the map of the read before and returns where that of r shall
// go: nil where nobody needs it.
func (c *conn) wantsMap(r request, spans *[]Span) *[]Span {
	*spans = (*spans)[:0]
	if !c.structured || r.flags&flagDF != 0 {
		return nil
	}
	return spans
}

// read serves a READ at once, if the disk can, straight into the replies at
// hand or, if it is long, into a buffer of its own; else by a worker.
func (c *conn) read(r request, start time.Time) error {
	head, n := c.readHead(), int(r.n)
	if head+n > bufferSize {
		return c.readLong(r, start)
	}
	p, err := c.room(head + n)
	if err != nil {
		return err
	}
	ok, err := c.disk.TryReadAt(p[head:], r.off, c.wantsMap(r, &c.spans))
	if ok && err == nil {
		c.said(c.putRead(p, r, c.spans))
		c.observe(r, start, nil)
		return nil
	}
	if ok {
		return c.answer(r, err, start)
	}
	b, err := c.take(n)
	if err != nil {
		return err
	}
	c.delegate(r, start, b)
	return nil
}

func (c *conn) readLong(r request, start time.Time) error {
	b, err := c.take(int(r.n))
	if err != nil {
		return err
	}
	head := c.readHead()
	p := b.Framed(head, int(r.n))
	ok, err := c.disk.TryReadAt(p[head:], r.off, c.wantsMap(r, &c.spans))
	switch {
	case !ok:
		c.delegate(r, start, b)
		return nil
	case err != nil:
		c.Free(b)
		return c.answer(r, err, start)
	}
	b.From = b.Base - head
	b.To = b.From + c.putRead(p, r, c.spans)
	c.flushReplies()
	c.out.Send(b)
	c.observe(r, start, nil)
	return nil
}

// putRead encodes the reply of a read that lies in p after room for the head,
// and returns its length.
func (c *conn) putRead(p []byte, r request, spans []Span) int {
	c.bytesRead.Add(uint64(r.n))
	if !c.structured {
		putSimple(p, r.cookie, nbdOK)
		return len(p)
	}
	return packRead(p, r.cookie, r.off, spans)
}

// cache serves a CACHE by a worker.
func (c *conn) cache(r request, start time.Time) error {
	b, err := c.take(maxErrorSize)
	if err != nil {
		return err
	}
	c.delegate(r, start, b)
	return nil
}

// delegate gives a request to the workers. b has room for the reply.
func (c *conn) delegate(r request, start time.Time, b *outbox.Buffer) {
	c.submit(c.srv.workers, &c.backlog, r, start, b)
}

func (c *conn) submit(to *workers.Pool[*job], line *workers.Line[*job], r request, start time.Time, b *outbox.Buffer) {
	j := c.srv.newJob()
	j.c, j.req, j.start, j.buf = c, r, start, b
	c.jobs.Add(1)
	to.Submit(line, j)
}

// work does a job, on a worker's goroutine.
func (c *conn) work(j *job) {
	defer c.jobs.Done()
	b, r := j.buf, j.req
	err := c.ctx.Err()
	switch {
	case err != nil:
		err = errCut // for ever: what comes behind a change is not done without it
	case r.cmd == cmdRead:
		head := c.readHead()
		p := b.Framed(head, int(r.n))
		if err = c.disk.ReadAt(p[head:], r.off, c.wantsMap(r, &j.spans)); err == nil {
			b.From = b.Base - head
			b.To = b.From + c.putRead(p, r, j.spans)
		}
	case r.cmd == cmdBlockStatus:
		var n int
		n, err = c.putStatus(b.Body(), r)
		b.To += n
	case r.cmd == cmdCache:
		err = c.disk.Cache(r.off, uint64(r.n))
	default:
		err = c.carryOut(r, b.Body()[:min(int(r.n), len(b.Body()))])
	}
	if b.From == b.To {
		b.To += c.putAnswer(b.Body(), r.cookie, err)
	}
	c.out.Add(b)
	c.observe(r, j.start, err)
}
