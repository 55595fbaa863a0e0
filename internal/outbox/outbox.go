// Package outbox sends what a server has to say to one peer: in order, in few
// system calls, without a goroutine waiting for the peer but the one that is
// there for it, and with a bound on how slow the peer may be.
package outbox

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Message is something to be sent.
type Message interface {
	comparable

	// Unsent appends what is still to be sent to vec: one piece or more.
	Unsent(vec [][]byte) [][]byte

	// Sent counts n of these bytes, or all if there are fewer, as sent. It
	// returns how many it counted, and whether nothing is left.
	Sent(n int64) (counted int64, done bool)

	// Len is how many bytes are unsent.
	Len() int
}

// Owner is the connection that an outbox sends for. Its methods are called
// without locks held, by whichever goroutine sends.
type Owner[M Message] interface {
	// Free takes back a message that was sent, or given up.
	Free(m M)

	// Hangup cuts the connection, upon an error of sending.
	Hangup()

	// Awaited reports whether the peer keeps memory that others wait for.
	Awaited() bool

	// Depart is told of messages that will be sent now, in this order, before
	// any byte of them is: it may still change them. No message departs twice.
	Depart(batch []M)
}

// Outbox sends the messages of one connection in the order in which they were
// queued. Whoever sets busy owns the batch and the right to write, until the
// queue is empty:
//
//	anyone   Send(): writes as far as the socket takes it at once; what
//	         remains is left to the writer, with busy set
//	anyone   Add(): only queues, and wakes the writer if nobody is busy
//	writer   Run(): sleeps until it is handed busy; may wait for the peer
//
// So a peer that does not read stalls its own writer and nobody else. The mutex
// is a leaf.
type Outbox[M Message] struct {
	owner    Owner[M]
	dst      *Stream
	patience time.Duration

	mu     sync.Mutex
	wake   sync.Cond // handed or closed: the writer waits for it
	queue  []M
	busy   bool
	handed bool // busy is the writer's
	closed bool
	err    error // of a write; nothing is sent after it

	batch []M         // belongs to who is busy
	head  int         // batch[head:] is not yet sent
	vec   [][]byte    // the same as pieces
	iov   net.Buffers // what writev has left of vec
}

// Init makes o ready to send to dst for its owner; see NewPace for patience.
func (o *Outbox[M]) Init(owner Owner[M], dst *Stream, patience time.Duration) {
	o.owner, o.dst, o.patience = owner, dst, patience
	o.wake.L = &o.mu
}

// Add queues m for the writer. It does not wait.
func (o *Outbox[M]) Add(m M) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, m)
	if !o.busy {
		o.busy, o.handed = true, true
		o.wake.Signal()
	}
}

// Send queues m, and sends the queue as far as that goes without waiting.
func (o *Outbox[M]) Send(m M) {
	o.mu.Lock()
	o.queue = append(o.queue, m)
	if o.busy {
		o.mu.Unlock()
		return
	}
	o.busy = true
	o.mu.Unlock()
	for o.take() {
		for o.head < len(o.batch) {
			left := o.pieces()
			n, err := o.dst.TryWrite(o.vec)
			o.advance(int64(n))
			if err != nil {
				o.abandon(err)
			} else if n < left {
				o.handOver()
				return
			}
		}
	}
}

// take makes the queue the batch of its owner. When there is nothing to take
// the owner is busy no longer.
func (o *Outbox[M]) take() bool {
	o.mu.Lock()
	clear(o.batch)
	o.batch, o.queue, o.head = o.queue, o.batch[:0], 0
	if len(o.batch) == 0 {
		o.busy = false
		o.mu.Unlock()
		return false
	}
	o.mu.Unlock()
	o.owner.Depart(o.batch)
	return true
}

// pieces makes vec the first pieces of what is left, and returns their bytes.
func (o *Outbox[M]) pieces() (left int) {
	clear(o.vec)
	o.vec = o.vec[:0]
	for _, m := range o.batch[o.head:] {
		if len(o.vec) > 0 && len(o.vec) >= maxVec-1 {
			break
		}
		o.vec = m.Unsent(o.vec)
	}
	o.vec = o.vec[:min(len(o.vec), maxVec)]
	for _, p := range o.vec {
		left += len(p)
	}
	return left
}

// advance gives back what n more bytes have completed.
func (o *Outbox[M]) advance(n int64) {
	for ; o.head < len(o.batch); o.head++ {
		m := o.batch[o.head]
		k, done := m.Sent(n)
		n -= k
		if !done {
			return
		}
		o.owner.Free(m)
	}
}

func (o *Outbox[M]) handOver() {
	o.mu.Lock()
	o.handed = true
	o.wake.Signal()
	o.mu.Unlock()
}

// Run is the writer.
func (o *Outbox[M]) Run() {
	for o.await() {
		for {
			o.sendBatch()
			if !o.take() {
				break
			}
		}
	}
}

// await sleeps until the writer is handed busy, or until the outbox closes. Of
// what Add handed over there is no batch yet.
func (o *Outbox[M]) await() bool {
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
func (o *Outbox[M]) sendBatch() {
	left := 0
	for _, m := range o.batch[o.head:] {
		left += m.Len()
	}
	pace := NewPace(o.patience, left)
	for o.head < len(o.batch) {
		if err := o.Err(); err != nil {
			o.abandon(err)
			return
		}
		o.pieces()
		o.iov = o.vec
		o.dst.SetWriteDeadline(pace.Deadline())
		n, err := o.iov.WriteTo(o.dst.Conn)
		o.advance(n)
		pace.Moved(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = pace.Judge(o.owner.Awaited())
		}
		if err != nil {
			o.abandon(err)
		}
	}
	o.dst.SetWriteDeadline(time.Time{})
}

// abandon drops the batch, and whatever comes after it.
func (o *Outbox[M]) abandon(err error) {
	o.mu.Lock()
	first := o.err == nil
	if first {
		o.err = err
	}
	o.mu.Unlock()
	for ; o.head < len(o.batch); o.head++ {
		o.owner.Free(o.batch[o.head])
	}
	if first {
		o.owner.Hangup()
	}
}

// Err returns why nothing is sent any more, or nil.
func (o *Outbox[M]) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Busy reports whether there is something that the socket has not yet taken.
func (o *Outbox[M]) Busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.busy
}

// Close lets Run return when everything queued has been sent or has failed.
// Nothing may be added afterwards.
func (o *Outbox[M]) Close() {
	o.mu.Lock()
	o.closed = true
	o.wake.Signal()
	o.mu.Unlock()
}
