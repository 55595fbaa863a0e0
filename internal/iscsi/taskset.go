package iscsi

import (
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/outbox"
	"varve/internal/scsi"
	"varve/internal/workers"
)

// taskSet has the tasks of one connection that its reader does not have in hand:
// those whose data is on its way, those that workers have, those that wait.
//
// The reader puts tasks in, and takes out those with a worker's part still to
// come or none; a worker takes out what it has executed. Who takes a task out
// owns it. An abort is the reader's: it takes out what no worker has, and marks
// the others, which then end without a response.
type taskSet struct {
	mu     sync.Mutex // a leaf, but for outbox and workers
	byTag  map[uint32]*task
	queue  []*task // ORDERED ones, and those behind them
	hungry []*task // whose data is asked for when there is memory
	line   workers.Line[workers.Job]
	queued atomic.Int32 // in the queue, and ORDERED ones under way
	left   sync.Cond    // a task left
}

func (s *taskSet) init() {
	s.byTag = make(map[uint32]*task)
	s.left.L = &s.mu
}

func (s *taskSet) has(tag uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byTag[tag] != nil
}

func (s *taskSet) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byTag) == 0
}

// enter puts t in, or changes its phase.
func (s *taskSet) enter(t *task, p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == phaseExecute && t.attr == attrOrdered {
		s.queued.Add(1)
	}
	if p == phaseData && t.since.IsZero() {
		t.since = time.Now()
	}
	t.phase = p
	s.byTag[t.tag] = t
}

// overdue reports whether the data of a task has been awaited for longer than it
// takes a peer that keeps pace to send all that it was asked for.
func (s *taskSet) overdue(patience time.Duration, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, oldest := 0, now
	for _, t := range s.byTag {
		if t.phase == phaseData && t.buf != nil {
			asked += max(t.data.want, t.data.most)
			if t.since.Before(oldest) {
				oldest = t.since
			}
		}
	}
	return now.Sub(oldest) > outbox.Longest(patience, asked)
}

// receiving returns the task of that tag if its data is on its way. It stays in.
func (s *taskSet) receiving(tag uint32) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.byTag[tag]; t != nil && t.phase == phaseData && t.buf != nil {
		return t
	}
	return nil
}

// take takes out a task that no worker has, if it is in.
func (s *taskSet) take(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(t)
}

// leave takes out a task that a worker has executed, and reports whether it is
// to be answered.
func (s *taskSet) leave(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(t)
	if t.attr == attrOrdered {
		s.queued.Add(-1)
	}
	return !t.aborted
}

func (s *taskSet) remove(t *task) {
	if s.byTag[t.tag] == t {
		delete(s.byTag, t.tag)
		s.left.Broadcast()
	}
}

// mustWait reports whether t has to wait for others.
func (s *taskSet) mustWait(t *task) bool {
	if s.queued.Load() > 0 {
		return true
	}
	return t.attr == attrOrdered && !s.idle()
}

// queueBehind queues t, whose data is kept until its turn comes.
func (c *conn) queueBehind(t *task, out []byte) error {
	switch {
	case t.buf != nil:
	case len(out) > 0:
		if t.buf = c.takeIn(len(out)); t.buf == nil {
			return c.respondFull(t)
		}
		t.data.want = copy(t.buf.Body(), out)
	case t.read && t.cmd.Dir == scsi.DataIn:
		t.in = min(t.edtl, int(t.cmd.Length))
		// Not takeOut: what this waits behind may be what the reader has to receive.
		if t.buf = c.tryOut(c.stagedSize(t.in)); t.buf == nil {
			return c.respondFull(t)
		}
	}
	s := &c.tasks
	s.mu.Lock()
	t.phase = phaseQueued
	s.byTag[t.tag] = t
	s.queue = append(s.queue, t)
	s.queued.Add(1)
	s.mu.Unlock()
	s.goOn(c)
	return nil
}

// goOn goes on with tasks that waited for one that is over, or for memory.
func (s *taskSet) goOn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		t := s.queue[0]
		ahead := len(s.byTag) - len(s.queue)
		if t.attr == attrOrdered && ahead > 0 || int(s.queued.Load()) > len(s.queue) {
			break
		}
		s.queue = s.queue[1:]
		if t.attr != attrOrdered {
			s.queued.Add(-1) // that of an ORDERED one counts until it leaves
		}
		t.phase = phaseExecute
		c.jobs.Add(1)
		c.srv.workers.Submit(&s.line, t)
	}
	for len(s.hungry) > 0 {
		t := s.hungry[0]
		if t.buf = c.takeIn(t.data.want); t.buf == nil {
			return
		}
		s.hungry, t.since = s.hungry[1:], time.Now()
		for t.mayAsk() {
			c.sayLate(opR2T, t.tag, snShow, 0, t.buildR2T)
		}
	}
}

// abort ends the tasks that match, without a response, and returns how many
// there were. The reader calls it.
func (s *taskSet) abort(c *conn, match func(*task) bool) int {
	defer s.goOn(c) // with those that waited for them, once the lock is free
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	keep := func(t *task) bool { return !t.aborted }
	for _, t := range s.byTag {
		if match(t) {
			t.aborted = true
			t.cmd.Cancel()
			n++
		}
	}
	s.queue, s.hungry = filter(s.queue, keep, &s.queued), filter(s.hungry, keep, nil)
	for tag, t := range s.byTag {
		if !t.aborted || t.phase == phaseExecute {
			continue
		}
		delete(s.byTag, tag)
		if t.counted {
			c.maxCmdSN.Add(1)
		}
		c.giveBackOf(t)
		t.done()
	}
	return n
}

// abortOne ends one task without a response. Where a worker has it running is
// true: it ends later.
func (s *taskSet) abortOne(c *conn, tag uint32, lun uint64) (aborted, running bool) {
	s.mu.Lock()
	t := s.byTag[tag]
	match := t != nil && t.cmd.LUN == lun
	running = match && t.phase == phaseExecute
	s.mu.Unlock()
	if !match {
		return false, false
	}
	s.abort(c, func(other *task) bool { return other == t })
	return true, running
}

// mark lets the tasks for a unit end without a response. Any goroutine may call
// it.
func (s *taskSet) mark(lun uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byTag {
		if t.cmd.LUN == lun {
			t.aborted = true
		}
	}
}

// filter returns the tasks of list that are to be kept.
func filter(list []*task, keep func(*task) bool, count *atomic.Int32) []*task {
	var out []*task
	for _, t := range list {
		if keep(t) {
			out = append(out, t)
		} else if count != nil {
			count.Add(-1)
		}
	}
	return out
}

// drop ends all tasks: the connection has ended.
func (s *taskSet) drop(c *conn) {
	s.abort(c, func(*task) bool { return true })
}

// waitGone returns when no task of that tag is under way.
func (s *taskSet) waitGone(tag uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.byTag[tag] != nil {
		s.left.Wait()
	}
}
