package nfs3

import (
	"sync/atomic"
	"time"
)

// patience is how long a call may keep the reader of its connection, give or
// take as much again.
const patience = time.Millisecond

// baton is the right to read from a connection. The reader executes calls
// itself, which saves waking somebody up: most take microseconds. But any may
// come to wait, for the disk, for room in the log, for a past moment to be
// rebuilt, and then the calls behind it must not. So it executes them in
// sections, and a timer takes the baton from a section that lasts too long and
// gives it to a new goroutine:
//
//	reader  | begin ... end | begin ..............(end: lost) its reply, the end
//	timer       look    look    look    look: still there
//	successor                                | reads on
//
// What lies between begin and end may touch its task and nothing else of what
// belongs to the reader.
type baton struct {
	section atomic.Uint64 // the number of the one that runs, 0: none
	armed   atomic.Bool
	timer   *time.Timer
	n       uint64 // the last section; the holder's
	running *task  // in it; the holder's, then the successor's
	seen    uint64 // the timer's
}

func (b *baton) init(look func()) {
	b.timer = time.AfterFunc(time.Hour, look)
	b.timer.Stop()
}

// begin begins a section and returns its number.
func (b *baton) begin(t *task) uint64 {
	b.n++
	n := b.n
	b.running = t
	b.section.Store(n)
	if !b.armed.Load() && b.armed.CompareAndSwap(false, true) {
		b.timer.Reset(patience)
	}
	return n
}

// end ends a section and reports whether the baton is still the caller's.
func (b *baton) end(n uint64) bool {
	if b.section.CompareAndSwap(n, 0) {
		b.running = nil
		return true
	}
	return false
}

// look is the timer's. It goes on while there are sections.
func (c *conn) look() {
	b := &c.baton
	n := b.section.Load()
	switch {
	case n == 0:
		b.armed.Store(false)
		if b.section.Load() == 0 || !b.armed.CompareAndSwap(false, true) {
			return
		}
	case n != b.seen:
		b.seen = n
	case c.tryFly():
		if b.section.CompareAndSwap(n, 0) {
			go c.succeed()
		} else {
			c.land()
		}
	}
	b.timer.Reset(patience)
}

// succeed takes over as reader from a task that keeps its goroutine. Replies
// that were at hand go out at once; those that lie before the task's own are
// copied.
func (c *conn) succeed() {
	t := c.baton.running
	c.baton.running = nil
	if b := t.out; b != nil && b.from < b.to {
		p := b.mem[b.from:b.to]
		earlier := c.srv.buffers.get(len(p))
		earlier.to = copy(earlier.mem, p)
		b.from = b.to
		c.out.Send(earlier)
	}
	c.flushReplies()
	c.slow = slowCalls
	t.passed <- struct{}{}
	c.lead()
}
