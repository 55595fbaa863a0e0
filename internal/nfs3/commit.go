package nfs3

import "sync"

// commits waits for the tasks of one connection to become durable while its
// reader goes on: each commit serves all tasks that came since the last began,
// because the log becomes durable in order. Their replies are encoded only
// then.
type commits struct {
	c *conn

	mu      sync.Mutex
	wake    sync.Cond
	waiting []*task
	running bool // the goroutine has been started
	busy    bool // it is in a commit
	alone   bool // a task commits on the reader's goroutine
	stopped bool
	done    chan struct{}
	batch   []*task // the goroutine's
}

func (m *commits) init(c *conn) {
	m.c = c
	m.wake.L = &m.mu
}

// tryAlone lets the caller commit a task itself, up to endAlone, if no other is
// on its way.
func (m *commits) tryAlone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy || m.alone || len(m.waiting) > 0 {
		return false
	}
	m.alone = true
	return true
}

func (m *commits) endAlone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alone = false
}

// add queues a task that flies, for when somebody wakes the goroutine. It does
// not wait.
func (m *commits) add(t *task) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, t)
}

// begin wakes the goroutine if there is something for it to do.
func (m *commits) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		return
	}
	if !m.running {
		m.running = true
		m.done = make(chan struct{})
		go m.run()
	}
	m.wake.Signal()
}

// stop ends the goroutine when what waits is answered.
func (m *commits) stop() {
	m.mu.Lock()
	m.stopped = true
	m.wake.Signal()
	running := m.running
	m.mu.Unlock()
	if running {
		<-m.done
	}
}

func (m *commits) run() {
	defer close(m.done)
	for m.take() {
		m.commit()
		m.answer()
	}
}

// take waits for tasks and makes them the batch.
func (m *commits) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	clear(m.batch)
	for len(m.waiting) == 0 {
		if m.stopped {
			return false
		}
		m.wake.Wait()
	}
	m.busy = true
	m.batch, m.waiting = m.waiting, m.batch[:0]
	return true
}

// commit makes the batch durable: by its last operation, or by a flush where
// one is asked for. Where that fails each task learns its own fate.
func (m *commits) commit() {
	last := m.batch[0]
	for _, t := range m.batch[1:] {
		if t.sync > last.sync || t.sync == last.sync && t.lsn > last.lsn {
			last = t
		}
	}
	last.commit()
	for _, t := range m.batch {
		switch {
		case t == last:
		case last.err == nil:
			t.committed(nil)
		default:
			t.commit()
		}
	}
}

// answer replies to the batch, in as few buffers as it takes. None of these
// replies has more than smallReply bytes.
func (m *commits) answer() {
	c := m.c
	for rest := m.batch; len(rest) > 0; {
		k := min(len(rest), chunkSize/smallReply)
		b := c.srv.buffers.get(k * smallReply)
		for _, t := range rest[:k] {
			b.to += len(t.encode(b.tail(smallReply)))
			c.done(t)
		}
		c.out.Send(b)
		for range k {
			c.land()
		}
		rest = rest[k:]
	}
}
