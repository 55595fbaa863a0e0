package nbd

import (
	"sync"
	"time"
)

// commitCharge is what a waiting commit takes of the connection's own share, in
// bytes: its place in the list and its reply, which is at most half of this.
const commitCharge = 512

// commits answers the requests of one connection that wait for a Flush while
// the reader goes on: each Flush serves all that came since the last began.
type commits struct {
	c *conn

	mu      sync.Mutex
	wake    sync.Cond
	waiting []commit
	running bool // the goroutine has been started
	busy    bool // it is in a Flush
	stopped bool
	done    chan struct{}
	batch   []commit // the goroutine's
}

type commit struct {
	req   request
	start time.Time
}

func (m *commits) init(c *conn) {
	m.c = c
	m.wake.L = &m.mu
}

// commit makes everything durable that the connection has done so far, and
// then answers r. When no other request is at hand the reader may as well wait
// itself, which saves two wake-ups.
func (c *conn) commit(r request, start time.Time) error {
	c.spin.flushed()
	if c.in.len() == 0 && c.commits.isIdle() {
		c.flushReplies()
		return c.answer(r, c.disk.Flush(), start)
	}
	if err := c.chargeOwn(commitCharge); err != nil {
		return err
	}
	c.commits.add(commit{r, start})
	return nil
}

func (m *commits) isIdle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.busy && len(m.waiting) == 0
}

// add queues a commit that is paid for. It does not wait.
func (m *commits) add(w commit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, w)
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
		err := m.c.disk.Flush()
		m.answer(err)
	}
}

// take waits for commits and makes them the batch.
func (m *commits) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
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

// answer replies to the batch, in as few buffers as it takes.
func (m *commits) answer(err error) {
	c := m.c
	rest := m.batch
	for len(rest) > 0 {
		k := min(len(rest), bufferSize/maxErrorSize)
		b := c.srv.buffers.Get(k * maxErrorSize)
		b.Charge = int64(k) * commitCharge
		for _, w := range rest[:k] {
			b.To += c.putAnswer(b.Tail(maxErrorSize), w.req.cookie, err)
			c.observe(w.req, w.start, err)
		}
		c.out.Add(b)
		rest = rest[k:]
	}
}
