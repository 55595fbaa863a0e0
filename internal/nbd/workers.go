package nbd

import (
	"sync"
	"time"

	"varve/internal/outbox"
)

// job is a request that has to wait for the disk. It owns the buffer of its
// reply, so that a worker never waits for memory nor for a socket.
type job struct {
	c     *conn
	req   request
	start time.Time
	buf   *outbox.Buffer
	spans []Span
	next  *job
}

// workers run the jobs of all connections, at most max at a time. Connections
// that have jobs stand in a ring and take turns, so that one with many does
// not keep the others waiting:
//
//	ring  A -> B -> C       take the first job of A, then
//	      B -> C -> A       A stands behind, if it has more
type workers struct {
	max int

	mu          sync.Mutex
	work        sync.Cond
	first, last *backlog
	started     int
	idle        int // waiting, and not yet woken
	stopped     bool
	jobs        sync.Pool
}

// backlog is one connection's place in the ring, guarded by workers.mu.
type backlog struct {
	first, last *job
	next        *backlog
	queued      bool
}

func newWorkers(limit int) *workers {
	w := &workers{max: limit}
	w.work.L = &w.mu
	w.jobs.New = func() any { return new(job) }
	return w
}

// newJob returns a job for submit.
func (w *workers) newJob() *job { return w.jobs.Get().(*job) }

// submit queues j. It does not wait.
func (w *workers) submit(j *job) {
	l := &j.c.backlog
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.first == nil {
		l.first = j
	} else {
		l.last.next = j
	}
	l.last = j
	w.enqueue(l)
	switch {
	case w.idle > 0:
		w.idle-- // here, for the worker itself runs only later
		w.work.Signal()
	case w.started < w.max:
		w.started++
		go w.run()
	}
}

func (w *workers) enqueue(l *backlog) {
	if l.queued {
		return
	}
	l.queued = true
	if w.first == nil {
		w.first = l
	} else {
		w.last.next = l
	}
	w.last = l
}

func (w *workers) run() {
	for {
		j := w.take()
		if j == nil {
			return
		}
		j.c.work(j)
		spans := j.spans[:0]
		if cap(spans) > maxSpansKept {
			spans = nil
		}
		*j = job{spans: spans}
		w.jobs.Put(j)
	}
}

// take waits for the next job; nil means that the workers stop.
func (w *workers) take() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.first == nil {
		if w.stopped {
			return nil
		}
		w.idle++
		w.work.Wait()
	}
	l := w.first
	w.first, l.next, l.queued = l.next, nil, false
	j := l.first
	l.first, j.next = j.next, nil
	if l.first != nil {
		w.enqueue(l)
	}
	return j
}

// stop ends the goroutines when the queued jobs are done.
func (w *workers) stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Broadcast()
	w.mu.Unlock()
}
