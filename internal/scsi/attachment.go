package scsi

import (
	"sync"
	"sync/atomic"
)

// attachment is a unit at a LUN of a nexus: which of its commands run, and what
// the initiator is still to be told.
type attachment struct {
	n   *Nexus
	u   *unit
	lun uint64
	d   Disk

	users atomic.Int32 // of d: who is last closes it

	// pending is whether there is anything in attentions.
	pending atomic.Bool

	// draining serialises those who wait for running commands.
	draining sync.Mutex

	mu         sync.Mutex
	left       sync.Cond // a command has left
	epoch      atomic.Uint64
	closed     bool
	phase      int    // which counter entering commands use
	running    [2]int // commands in Execute
	attentions []attention

	preventing bool   // unit.mu: PREVENT ALLOW MEDIUM REMOVAL
	copies     copies // of EXTENDED COPY
}

func newAttachment(n *Nexus, u *unit, lun uint64, d Disk) *attachment {
	a := &attachment{n: n, u: u, lun: lun, d: d}
	a.users.Store(1)
	a.left.L = &a.mu
	return a
}

// done ends a use of the disk.
func (a *attachment) done() {
	if a.users.Add(-1) == 0 {
		a.d.Close()
	}
}

// enter counts a command as running, unless it was aborted.
func (a *attachment) enter(c *Command) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || c.cancel.Load() || c.epoch != a.epoch.Load() {
		return false
	}
	c.phase = a.phase
	c.inside = true
	a.running[c.phase]++
	return true
}

func (a *attachment) leave(c *Command) {
	a.mu.Lock()
	c.inside = false
	a.running[c.phase]--
	a.left.Broadcast()
	a.mu.Unlock()
}

// hold is enter for what is no command; letGo wants the phase.
func (a *attachment) hold() (phase int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, false
	}
	a.running[a.phase]++
	return a.phase, true
}

func (a *attachment) letGo(phase int) {
	a.mu.Lock()
	a.running[phase]--
	a.left.Broadcast()
	a.mu.Unlock()
}

// drain waits until the commands are done that run now; others may begin.
func (a *attachment) drain() {
	a.draining.Lock()
	defer a.draining.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.phase
	a.phase ^= 1
	for a.running[old] > 0 {
		a.left.Wait()
	}
}

// abort fences every command that was begun before, and returns when none of
// them runs. With end, nothing may begin any more.
func (a *attachment) abort(end bool) {
	a.fence(end)
	a.drain()
	if end {
		a.drain() // of the other counter: what ran in both is gone
	}
}

// fence is abort without waiting.
func (a *attachment) fence(end bool) {
	a.mu.Lock()
	a.epoch.Add(1)
	a.closed = a.closed || end
	a.mu.Unlock()
}

// lockSaving takes unit.saving for a running command. Whoever has it may wait for
// the commands that run, so this one does not count as one while it waits. Where
// it was aborted meanwhile the lock is not taken.
func (c *Command) lockSaving() bool {
	u := c.a.u
	c.pause()
	u.saving.Lock()
	c.resume()
	if c.stopped() {
		u.saving.Unlock()
		return false
	}
	return true
}

// stopped reports whether a running command should give up: it was aborted.
func (c *Command) stopped() bool {
	return c.cancel.Load() || c.epoch != c.a.epoch.Load()
}

// Cancel asks a command to give up, and does not wait until it has: it comes to
// Abort the sooner. Execute then tells Aborted, or that it was done before.
func (c *Command) Cancel() { c.cancel.Store(true) }

// Abort aborts one command (ABORT TASK): it returns when the command is not in
// Execute, and a later Execute of it touches nothing and tells Aborted. A
// command whose Execute had returned true is not changed by it.
func (c *Command) Abort() {
	a := c.a
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.cancel.Store(true)
	for c.inside {
		a.left.Wait()
	}
}

// pause takes a command out of the count of running ones while it waits for
// others: two that wait for each other would wait for ever. It must not touch the
// disk until resume, nor after an abort.
func (c *Command) pause() {
	a := c.a
	a.mu.Lock()
	a.running[c.phase]--
	a.left.Broadcast()
	a.mu.Unlock()
}

func (c *Command) resume() {
	a := c.a
	a.mu.Lock()
	c.phase = a.phase
	a.running[c.phase]++
	a.mu.Unlock()
}
