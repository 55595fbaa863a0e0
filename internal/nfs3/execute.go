package nfs3

import (
	"time"

	"varve/internal/fail"
)

const (
	// A call that took longer than slowCall is followed by slowCalls that the
	// reader gives to the workers, if there is more to do: many reads of a disk
	// at a time, and work for many processors. Then it tries itself again.
	slowCall  = 100 * time.Microsecond
	slowCalls = 64

	// sendAt is how many bytes of replies the reader collects before it sends
	// them although more calls are at hand: the client can go on meanwhile.
	sendAt = 64 << 10
)

// errPassed ends a goroutine that is no longer the reader.
var errPassed = fail.New(fail.Other, "the baton was passed on")

// serveCall answers one call, or hands it on. An error ends the reader.
func (c *conn) serveCall(p []byte, b *buffer) error {
	t := c.newTask(b)
	c.requests.Add(1)
	c.active.Store(t.start.UnixNano())
	if !t.parse(p) {
		t.end()
		return errNotACall
	}
	if t.refused != rpcSuccess {
		return c.answer(t)
	}
	if t.proc.once && !c.first(t) {
		t.end()
		return nil
	}
	if len(t.again) > 0 || t.proc.run == nil {
		return c.answer(t)
	}
	if c.slow > 0 {
		c.slow--
		if (c.in.len() > 0 || c.in.bulk) && c.giveAway(t) {
			return nil
		}
	}
	return c.execute(t)
}

// first reports whether t is to be answered: not if its request is being
// executed already.
func (c *conn) first(t *task) bool {
	var v verdict
	v, t.dup, t.again = c.srv.seen.begin(requestKey{c.ip, t.req}, t.start, t.again)
	if v == isLogged {
		t.redo = t.dup.logged
	}
	return v != isRunning
}

// execute runs a task in the reader, and gives it its reply or passes it on.
func (c *conn) execute(t *task) error {
	if t.proc.early {
		if err := c.place(t); err != nil {
			t.end()
			return err
		}
	}
	n := c.baton.begin(t)
	t.try = true
	t.run()
	t.try = false
	if !c.baton.end(n) {
		return c.lost(t)
	}
	if t.lent {
		c.reply, t.out = t.out, nil
	}
	if t.waits {
		return c.wait(t)
	}
	if time.Since(t.start) > slowCall {
		c.slow = slowCalls
	}
	if t.sync == syncNone {
		return c.answer(t)
	}
	return c.executeCommit(t)
}

// wait lets a worker run a task that has to wait for the disk, while the reader
// goes on; or runs it here if too much is in flight.
func (c *conn) wait(t *task) error {
	t.waits, t.lent, t.dst = false, false, nil
	if t.out != nil {
		c.Free(t.out)
		t.out = nil
	}
	if c.giveAway(t) {
		return nil
	}
	if err := c.place(t); err != nil {
		t.end()
		return err
	}
	n := c.baton.begin(t)
	t.run()
	if !c.baton.end(n) {
		return c.lost(t)
	}
	if t.lent {
		c.reply, t.out = t.out, nil
	}
	return c.answer(t)
}

// executeCommit sees to it that what a task has changed becomes durable. When
// no other call is at hand the reader may as well wait itself, which saves two
// wake-ups.
func (c *conn) executeCommit(t *task) error {
	alone := c.in.len() == 0 && c.commits.tryAlone()
	if !alone && c.tryFly() {
		c.commits.add(t)
		c.together = true
		return nil
	}
	c.flushReplies()
	n := c.baton.begin(t)
	t.commit()
	if alone {
		c.commits.endAlone()
	}
	if !c.baton.end(n) {
		return c.lost(t)
	}
	return c.answer(t)
}

// place finds memory for the reply of a task that needs it to run: behind the
// replies at hand, or, for a long one, a buffer of its own.
func (c *conn) place(t *task) error {
	n := t.room()
	if n > chunkSize {
		b, err := c.take(n)
		if err != nil {
			return err
		}
		t.out, t.dst = b, b.tail(n)
		return nil
	}
	p, err := c.room(n)
	if err != nil {
		return err
	}
	t.out, t.dst, t.lent = c.reply, p, true
	c.reply = nil
	return nil
}

// lost goes on with a task after its reader's baton was taken.
func (c *conn) lost(t *task) error {
	<-t.passed
	if t.waits {
		t.waits = false
		t.run()
	}
	c.goOn(t)
	return errPassed
}

// giveAway gives t to a worker. It does not wait: where none is idle, or there
// is no room for more in flight, it returns false.
func (c *conn) giveAway(t *task) bool {
	if !c.tryFly() {
		return false
	}
	if t.proc.early {
		n := t.room()
		if t.out = c.tryTake(n); t.out == nil {
			c.land()
			return false
		}
		t.dst = t.out.tail(n)
	}
	if c.srv.workers.try(t) {
		return true
	}
	if t.out != nil {
		c.Free(t.out)
		t.out, t.dst = nil, nil
	}
	c.land()
	return false
}

// work is what a worker does with a task.
func (c *conn) work(t *task) {
	if c.ctx.Err() == nil || t.proc.once {
		t.run()
	} else {
		t.refuse(errJukebox) // nobody hears it
	}
	c.goOn(t)
}

// goOn brings a task to its end that has been run and is not the reader's.
func (c *conn) goOn(t *task) {
	if t.sync != syncNone {
		c.commits.add(t)
		c.commits.begin()
		return
	}
	if t.out == nil {
		n := t.room()
		t.out = c.srv.buffers.get(n)
		t.dst = t.out.tail(n)
	}
	b := t.out
	b.to += len(t.encode(t.dst))
	c.done(t)
	c.out.Send(b)
	c.land()
}

// tryFly takes a place among the tasks that are not the reader's. It does not
// wait.
func (c *conn) tryFly() bool {
	if !c.flying.TryAcquire(1) {
		return false
	}
	if !c.srv.flying.TryAcquire(1) {
		c.flying.Release(1)
		return false
	}
	return true
}

// land gives back the place of a task.
func (c *conn) land() {
	c.srv.flying.Release(1)
	c.flying.Release(1)
}

// answer puts the reply of a task of the reader behind those at hand.
func (c *conn) answer(t *task) error {
	if t.out != nil {
		b := t.out
		b.to += len(t.encode(t.dst))
		c.done(t)
		c.flushReplies()
		c.out.Send(b)
		return nil
	}
	if t.dup != nil {
		return c.answerOnce(t)
	}
	if !t.lent {
		p, err := c.room(t.room())
		if err != nil {
			t.end()
			return err
		}
		t.dst = p
	}
	c.reply.to += len(t.encode(t.dst))
	c.done(t)
	c.sendMany()
	return nil
}

// answerOnce is answer for what must not be executed again. The reply is made,
// and so remembered, before there is any wait for memory: the client may end
// that by cutting the connection, and ask again on another.
func (c *conn) answerOnce(t *task) error {
	b := c.srv.buffers.get(smallReply)
	defer c.srv.buffers.put(b)
	p := t.encode(b.tail(smallReply))
	c.done(t)
	dst, err := c.room(len(p))
	if err != nil {
		return err
	}
	c.reply.to += len(append(dst, p...))
	c.sendMany()
	return nil
}

// sendMany sends the replies at hand if they are many.
func (c *conn) sendMany() {
	if c.reply.to-c.reply.from >= sendAt {
		c.flushReplies()
	}
}

// done ends a task of which the reply is encoded.
func (c *conn) done(t *task) {
	if f := c.srv.opt.Observe; f != nil && t.proc != nil {
		f(t.proc.name, time.Since(t.start), t.n, t.err)
	}
	t.end()
}

// room returns memory for n bytes, at most chunkSize, at the end of the
// replies at hand.
func (c *conn) room(n int) ([]byte, error) {
	if c.reply != nil && c.reply.room() < n {
		c.flushReplies()
	}
	if c.reply == nil {
		if err := c.newReply(); err != nil {
			return nil, err
		}
	}
	return c.reply.tail(n), nil
}

// newReply gets the fixed buffer, or one from the budget while the writer
// still has that.
func (c *conn) newReply() (err error) {
	if c.reply = c.spare.Swap(nil); c.reply != nil {
		return nil
	}
	if c.fixed {
		c.reply, err = c.take(chunkSize)
		return err
	}
	c.fixed = true
	c.reply = c.srv.buffers.get(chunkSize)
	c.reply.fixed = true
	return nil
}

// flushReplies sends the replies at hand, as far as that goes without waiting,
// and lets the commits begin that the calls at hand have come to: one for all.
// The reader calls it before whatever may wait.
func (c *conn) flushReplies() {
	if c.together {
		c.together = false
		c.commits.begin()
	}
	b := c.reply
	switch {
	case b == nil:
	case b.from < b.to:
		c.reply = nil
		c.out.Send(b)
	case !b.fixed: // unused, and its memory may be wanted
		c.reply = nil
		c.Free(b)
	}
}
