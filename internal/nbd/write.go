package nbd

import (
	"sync/atomic"
	"time"

	"varve/internal/outbox"
	"varve/internal/workers"
)

// queue executes what changes the disk, and would wait, on a goroutine of its own
// while the reader goes on: reads that need no room in the log do not wait for it.
//
// It is one line: everything that changes the disk or makes it durable and comes while
// something waits here waits behind it. So changes happen in the order in which they
// came, as they do in the reader, and a FLUSH covers all that came before it.
type queue struct {
	line workers.Line[*job]
	pool *workers.Pool[*job] // of one, started when it is needed first

	waiting atomic.Int64 // requests that were put here, and are not yet carried out
}

func (q *queue) init() { q.pool = workers.New[*job](1) }

// write serves a WRITE at once, if the disk can, or else behind others that wait.
func (c *conn) write(r request, start time.Time) error {
	p, b, err := c.payload(int(r.n))
	if err != nil {
		return err
	}
	if c.queue.waiting.Load() == 0 && c.disk.TryWriteAt(p, r.off) {
		if b != nil {
			c.Free(b)
		}
		c.bytesWritten.Add(uint64(r.n))
		return c.changed(r, nil, start)
	}
	if b == nil { // what lies in the input buffer is gone with the next request
		if b, err = c.take(max(len(p), maxErrorSize)); err != nil {
			return err
		}
		copy(b.Body(), p)
	}
	c.change(r, start, b)
	return nil
}

// changed answers a request that has changed the disk, or not.
func (c *conn) changed(r request, err error, start time.Time) error {
	if err == nil && r.flags&flagFUA != 0 {
		return c.commit(r, start)
	}
	return c.answer(r, err, start)
}

// empty carries out a TRIM or a WRITE_ZEROES.
func (c *conn) empty(r request) error {
	if r.cmd == cmdTrim {
		return c.disk.Trim(r.off, uint64(r.n))
	}
	return c.disk.Zero(r.off, uint64(r.n), r.flags&flagNoHole != 0)
}

// queued puts a request without data behind those that wait, if any do.
func (c *conn) queued(r request, start time.Time) (bool, error) {
	if c.queue.waiting.Load() == 0 {
		return false, nil
	}
	b, err := c.take(maxErrorSize)
	if err != nil {
		return false, err
	}
	c.change(r, start, b)
	return true, nil
}

// change executes a request when its turn comes. b has the data of a WRITE, and room for
// the reply.
func (c *conn) change(r request, start time.Time, b *outbox.Buffer) {
	c.queue.waiting.Add(1)
	c.submit(c.queue.pool, &c.queue.line, r, start, b)
}

// carryOut does what a request asks that waited for its turn, until it may be answered.
func (c *conn) carryOut(r request, data []byte) error {
	defer c.queue.waiting.Add(-1)
	var err error
	switch r.cmd {
	case cmdWrite:
		if err = c.disk.WriteAt(data, r.off); err == nil {
			c.bytesWritten.Add(uint64(r.n))
		}
	case cmdTrim, cmdWriteZeroes:
		err = c.empty(r)
	}
	if err == nil && (r.cmd == cmdFlush || r.flags&flagFUA != 0) {
		err = c.disk.Flush()
	}
	return err
}
