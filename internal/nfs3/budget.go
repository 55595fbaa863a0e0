package nfs3

// Where the memory for calls and replies in flight comes from:
//
//	fixed   256 KiB of input and 256 KiB of replies, for each connection
//	own     connShare for each connection; never lent to another
//	shared  Options.Memory for all, of which one connection has at most
//	        connMemory
//
// Nobody waits for shared memory: what does not find it free waits for the
// connection's own, which comes back when this client takes its replies. What
// the reader of a connection holds while it waits (a call of 1 MiB or the
// reply to a READ, a second buffer of calls, a second one of replies) fits its
// own share together. So a client that dawdles harms no other.
//
// Beside that, each request in flight has a task and a reply of less than
// 2 KiB (READLINK: 8 KiB); their number is bounded, see maxInFlight and
// Options.MaxRequests.
//
// Altogether: MaxConns * (512 KiB + connShare) + Memory + MaxRequests * 8 KiB.
const (
	connShare  = 2 << 20
	connMemory = 16 << 20

	// maxInFlight bounds the requests of one connection that are executed, or
	// wait to be durable, beside its reader.
	maxInFlight = 128
)

// take returns a buffer for n bytes, paid for. Before it waits, the replies at
// hand are sent.
func (c *conn) take(n int) (*buffer, error) {
	if b := c.tryTake(n); b != nil {
		return b, nil
	}
	charge := chargeOf(n)
	c.flushReplies()
	if err := c.own.Acquire(c.ctx, charge); err != nil {
		return nil, errCut
	}
	return c.paid(n, charge, false), nil
}

// tryTake is take for who does not wait: it returns nil instead.
func (c *conn) tryTake(n int) *buffer {
	charge := chargeOf(n)
	switch {
	case c.own.TryAcquire(charge):
		return c.paid(n, charge, false)
	case !c.memory.TryAcquire(charge):
		return nil
	case !c.srv.memory.TryAcquire(charge):
		c.memory.Release(charge)
		return nil
	}
	return c.paid(n, charge, true)
}

func chargeOf(n int) int64 { return 1 << classOf(n) }

func (c *conn) paid(n int, charge int64, shared bool) *buffer {
	b := c.srv.buffers.get(n)
	b.charge, b.shared = charge, shared
	return b
}

// free takes back a buffer. It may be called by any goroutine.
func (c *conn) free(b *buffer) {
	switch {
	case b.fixed:
		b.from, b.to = 0, 0
		c.spare.Store(b)
		return
	case b.charge == 0:
	case b.shared:
		c.memory.Release(b.charge)
		c.srv.memory.Release(b.charge)
	default:
		c.own.Release(b.charge)
	}
	c.srv.buffers.put(b)
}

// release gives up a use of a buffer of calls.
func (c *conn) release(b *buffer) {
	if b.refs.Add(-1) == 0 {
		c.free(b)
	}
}
