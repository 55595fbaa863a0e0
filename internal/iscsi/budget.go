package iscsi

import (
	"golang.org/x/sync/semaphore"

	"varve/internal/outbox"
)

// Where the memory for data in flight comes from:
//
//	fixed   256 KiB of input and 256 KiB of replies, for each connection
//	in      inShare for each connection: data of writes
//	out     outShare for each connection: data of reads
//	shared  Options.Memory for all, of which one connection has at most
//	        connMemory
//
// The reader of a connection waits for the memory of replies only, which comes
// back when this initiator takes them. A write that finds no memory for its data
// is not asked for it until some comes back; and where the data came unasked,
// the command is refused with TASK SET FULL. So nobody waits for memory that
// another holds, and the reader always reads on: what would release the memory
// of a write may be just what it has to read.
//
// Altogether: MaxConns * (512 KiB + inShare + outShare) + Memory, and for each command of a
// window a task and a response of less than 1 KiB.
const (
	inShare    = MaxTransfer
	outShare   = 2 * MaxTransfer // a buffer is a power of two, and has headers too
	connMemory = 64 << 20
)

// tryPay takes n bytes of p or of what is shared.
func (c *conn) tryPay(p *semaphore.Weighted, n int64) (ok, shared bool) {
	switch {
	case p.TryAcquire(n):
		return true, false
	case !c.memory.TryAcquire(n):
		return false, false
	case !c.srv.memory.TryAcquire(n):
		c.memory.Release(n)
		return false, false
	}
	return true, true
}

// takeOut returns a buffer for n bytes of replies, and waits for the initiator
// to take others if it must.
func (c *conn) takeOut(n int) (*outbox.Buffer, error) {
	charge := outbox.Charge(n)
	ok, shared := c.tryPay(c.outBytes, charge)
	if !ok {
		c.flushReplies()
		if err := c.outBytes.Acquire(c.ctx, charge); err != nil {
			return nil, errCut
		}
	}
	b := c.srv.buffers.Get(n)
	b.Charge, b.Shared = charge, shared
	return b, nil
}

// tryOut returns a buffer for n bytes of replies, or nil if there is no memory now.
func (c *conn) tryOut(n int) *outbox.Buffer { return c.tryTake(c.outBytes, n) }

// takeIn returns a buffer for n bytes of a write, or nil if there is no memory
// now.
func (c *conn) takeIn(n int) *outbox.Buffer { return c.tryTake(c.inBytes, n) }

func (c *conn) tryTake(own *semaphore.Weighted, n int) *outbox.Buffer {
	charge := outbox.Charge(n)
	ok, shared := c.tryPay(own, charge)
	if !ok {
		return nil
	}
	b := c.srv.buffers.Get(n)
	b.Charge, b.Shared = charge, shared
	return b
}

// Free implements outbox.Owner: it takes back a buffer of replies.
func (c *conn) Free(b *outbox.Buffer) { c.giveBack(b, c.outBytes) }

// freeIn takes back the buffer of a write.
func (c *conn) freeIn(b *outbox.Buffer) { c.giveBack(b, c.inBytes) }

func (c *conn) giveBack(b *outbox.Buffer, own *semaphore.Weighted) {
	switch {
	case b.Charge == 0 && b.Size() == bufferSize:
		b.From, b.To = b.Base, b.Base
		c.spare.Store(b)
		return
	case b.Charge == 0: // of sayLate
		if b.Counted {
			c.immediate.Add(-1)
		}
	case b.Shared:
		c.memory.Release(b.Charge)
		c.srv.memory.Release(b.Charge)
	default:
		own.Release(b.Charge)
	}
	c.srv.buffers.Put(b)
}

// Awaited implements outbox.Owner: nobody waits for what another holds.
func (c *conn) Awaited() bool { return false }
