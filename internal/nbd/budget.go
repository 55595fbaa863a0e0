package nbd

import "varve/internal/outbox"

// Where the memory for payloads and replies in flight comes from:
//
//	fixed   256 KiB of input and 256 KiB of replies, for each connection
//	own     connShare for each connection; never lent to another
//	shared  Options.Memory for all, of which one connection has at most
//	        connMemory
//
// What fits the own share is taken from it, or else from what is free of the
// shared memory, or else waits for the own share to be free again: for this
// client to take its replies, and never for another client. What does not fit
// waits for shared memory, and takes all that it needs at once: nobody waits
// for more while holding some in the reader, so holders do not wait for each
// other; a write in a connection's queue holds its memory until the log takes it, which
// needs none of this. A client that holds shared memory and dawdles is cut off when others
// wait for it; see outbox.Pace.
//
// Altogether: MaxConns * (512 KiB + connShare) + Memory.
const (
	// connShare suffices for a request of 1 MiB, and for 2048 commits.
	connShare = 1 << 20

	// connMemory bounds the shared memory of one connection.
	connMemory = 64 << 20
)

// take returns a buffer with room for n bytes, paid for. Before it waits, the
// replies at hand are sent.
func (c *conn) take(n int) (*outbox.Buffer, error) {
	charge := outbox.Charge(n)
	shared, err := c.charge(charge)
	if err != nil {
		return nil, err
	}
	b := c.srv.buffers.Get(n)
	b.Charge, b.Shared = charge, shared
	return b, nil
}

// Free takes back a buffer of take, or the fixed reply buffer. It may be
// called by any goroutine.
func (c *conn) Free(b *outbox.Buffer) {
	switch {
	case b.Charge == 0:
		b.From, b.To = b.Base, b.Base
		c.spare.Store(b)
		return
	case b.Shared:
		c.held.Add(-b.Charge)
		c.memory.Release(b.Charge)
		c.srv.memory.Release(b.Charge)
	default:
		c.own.Release(b.Charge)
	}
	c.srv.buffers.Put(b)
}

// charge takes n bytes from where there are some.
func (c *conn) charge(n int64) (shared bool, err error) {
	switch {
	case n <= connShare && c.own.TryAcquire(n):
		return false, nil
	case c.tryShared(n):
		return true, nil
	case n <= connShare:
		return false, c.chargeOwn(n)
	}
	return true, c.chargeShared(n)
}

func (c *conn) chargeOwn(n int64) error {
	if c.own.TryAcquire(n) {
		return nil
	}
	c.flushReplies()
	return c.own.Acquire(c.ctx, n)
}

// tryShared fails when others wait, even if n bytes are free.
func (c *conn) tryShared(n int64) bool {
	if !c.memory.TryAcquire(n) {
		return false
	}
	if !c.srv.memory.TryAcquire(n) {
		c.memory.Release(n)
		return false
	}
	c.held.Add(n)
	return true
}

func (c *conn) chargeShared(n int64) error {
	c.flushReplies()
	if err := c.memory.Acquire(c.ctx, n); err != nil {
		return err
	}
	c.srv.waiting.Add(1)
	err := c.srv.memory.Acquire(c.ctx, n)
	c.srv.waiting.Add(-1)
	if err != nil {
		c.memory.Release(n)
		return err
	}
	c.held.Add(n)
	return nil
}

// Awaited implements outbox.Owner.
func (c *conn) Awaited() bool { return c.held.Load() > 0 && c.srv.waiting.Load() > 0 }

// Depart implements outbox.Owner.
func (c *conn) Depart([]*outbox.Buffer) {}
