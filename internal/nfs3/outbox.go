package nfs3

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// outbox sends the replies of one connection in the order in which they were
// queued. Who finds it idle sets busy, and so owns the batch and the right to
// write until the queue is empty:
//
//	anyone   send(): writes as far as the socket takes it at once; what
//	         remains is left to the writer, with busy set
//	writer   run(): sleeps until busy is handed to it; may wait for the peer
//
// So a peer that does not read stalls its own writer and nobody else.
type outbox struct {
	c   *conn
	dst *stream

	mu     sync.Mutex
	wake   sync.Cond // handed or closed: the writer waits for it
	queue  []*buffer
	busy   bool
	handed bool // busy is the writer's
	closed bool
	err    error // of a write; nothing is sent after it

	batch []*buffer   // belongs to who is busy
	head  int         // batch[head:] is not yet sent
	vec   [][]byte    // the same for writev
	iov   net.Buffers // what writev has left of vec
}

func (o *outbox) init(c *conn) {
	o.c, o.dst = c, c.nc
	o.wake.L = &o.mu
}

// send queues b, and sends the queue as far as that goes without waiting.
func (o *outbox) send(b *buffer) {
	o.mu.Lock()
	o.queue = append(o.queue, b)
	if o.busy {
		o.mu.Unlock()
		return
	}
	o.busy = true
	o.mu.Unlock()
	for o.take() {
		for o.head < len(o.batch) {
			p := o.batch[o.head].unsent()
			n, err := o.dst.tryWrite(p)
			o.advance(int64(n))
			if err != nil {
				o.abandon(err)
			} else if n < len(p) {
				o.handOver()
				return
			}
		}
	}
}

// take makes the queue the batch of its owner. When there is nothing to take
// the owner is busy no longer.
func (o *outbox) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.batch)
	o.batch, o.queue, o.head = o.queue, o.batch[:0], 0
	if len(o.batch) > 0 {
		return true
	}
	o.busy = false
	return false
}

// advance gives back what n more bytes have completed.
func (o *outbox) advance(n int64) {
	for ; o.head < len(o.batch); o.head++ {
		b := o.batch[o.head]
		k := min(n, int64(b.to-b.from))
		b.from += int(k)
		n -= k
		if b.from < b.to {
			return
		}
		o.c.free(b)
	}
}

func (o *outbox) handOver() {
	o.mu.Lock()
	o.handed = true
	o.wake.Signal()
	o.mu.Unlock()
}

// run is the writer.
func (o *outbox) run() {
	for o.await() {
		for {
			o.sendBatch()
			if !o.take() {
				break
			}
		}
	}
}

// await sleeps until the writer is handed busy, or until the outbox closes.
func (o *outbox) await() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.handed && !o.closed {
		o.wake.Wait()
	}
	ok := o.handed
	o.handed = false
	return ok
}

// sendBatch sends all of the batch, waiting for the peer as long as it keeps
// pace.
func (o *outbox) sendBatch() {
	left := 0
	for _, b := range o.batch[o.head:] {
		left += b.to - b.from
	}
	pace := o.c.srv.newPace(left)
	for o.head < len(o.batch) {
		o.mu.Lock()
		err := o.err
		o.mu.Unlock()
		if err != nil {
			o.abandon(err)
			return
		}
		clear(o.vec)
		o.vec = o.vec[:0]
		for _, b := range o.batch[o.head:] {
			o.vec = append(o.vec, b.unsent())
		}
		o.iov = o.vec
		o.dst.SetWriteDeadline(pace.deadline())
		n, err := o.iov.WriteTo(o.dst.Conn)
		o.advance(n)
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			o.abandon(err)
		case n == 0 || !time.Now().Before(pace.end):
			o.abandon(errTooSlow)
		}
	}
	o.dst.SetWriteDeadline(time.Time{})
}

// abandon drops the batch, and whatever comes after it.
func (o *outbox) abandon(err error) {
	o.mu.Lock()
	first := o.err == nil
	if first {
		o.err = err
	}
	o.mu.Unlock()
	for ; o.head < len(o.batch); o.head++ {
		o.c.free(o.batch[o.head])
	}
	if first {
		o.c.hangup()
	}
}

// failure returns why nothing is sent any more, or nil.
func (o *outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// close lets run return when everything queued has been sent or has failed.
// Nothing may be sent afterwards.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.wake.Signal()
	o.mu.Unlock()
}
