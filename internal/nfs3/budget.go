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
	if err := c.payLate(chargeOf(n)); err != nil {
		return nil, err
	}
	return c.paid(c.srv.buffers.get(n), chargeOf(n), false), nil
}

// tryTake is take for who does not wait: it returns nil instead.
func (c *conn) tryTake(n int) *buffer {
	ok, shared := c.pay(chargeOf(n))
	if !ok {
		return nil
	}
	return c.paid(c.srv.buffers.get(n), chargeOf(n), shared)
}

// takeLent is take of memory of the log, which that may take over, and returns
// where in it the n bytes begin: at, or the front of other memory if that of the
// log is too short. It is paid for until the call ends; what the log has taken
// is the log's to bound.
func (c *conn) takeLent(n, at int) (*buffer, int, error) {
	charge := chargeOf(n)
	ok, shared := c.pay(charge)
	if !ok {
		if err := c.payLate(charge); err != nil {
			return nil, 0, err
		}
	}
	m := c.srv.files.Lend()
	if len(m.Bytes()) < at+n {
		m.Return()
		return c.paid(c.srv.buffers.get(n), charge, shared), 0, nil
	}
	return c.paid(c.srv.buffers.shell(m), charge, shared), at, nil
}

// pay takes from a budget, if one has as much now.
func (c *conn) pay(charge int64) (ok, shared bool) {
	switch {
	case c.own.TryAcquire(charge):
		return true, false
	case !c.memory.TryAcquire(charge):
		return false, false
	case !c.srv.memory.TryAcquire(charge):
		c.memory.Release(charge)
		return false, false
	}
	return true, true
}

// payLate waits for the connection's own memory.
func (c *conn) payLate(charge int64) error {
	c.flushReplies()
	if c.own.Acquire(c.ctx, charge) != nil {
		return errCut
	}
	return nil
}

func chargeOf(n int) int64 { return 1 << classOf(n) }

func (c *conn) paid(b *buffer, charge int64, shared bool) *buffer {
	b.charge, b.shared = charge, shared
	return b
}

// Free takes back a buffer. It may be called by any goroutine.
func (c *conn) Free(b *buffer) {
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

// Awaited implements outbox.Owner: nobody waits for what another holds.
func (c *conn) Awaited() bool { return false }

// Depart implements outbox.Owner.
func (c *conn) Depart([]*buffer) {}

// release gives up a use of a buffer of calls.
func (c *conn) release(b *buffer) {
	if b.refs.Add(-1) == 0 {
		c.Free(b)
	}
}
