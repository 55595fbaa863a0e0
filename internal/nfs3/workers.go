package nfs3

import "sync"

// workers run the tasks that readers give away, at most max at a time.
// Connections that have some stand in a ring and take turns, so that one with
// many does not keep the others waiting:
//
//	ring  A -> B -> C       take the first task of A, then
//	      B -> C -> A       A stands behind, if it has more
type workers struct {
	max int

	mu          sync.Mutex
	work        sync.Cond
	first, last *backlog
	started     int
	idle        int // waiting, and not yet woken
	stopped     bool
}

// backlog is one connection's place in the ring, guarded by workers.mu.
type backlog struct {
	first, last *task
	next        *backlog
	queued      bool
}

func (w *workers) init(limit int) {
	w.max = limit
	w.work.L = &w.mu
}

// submit queues t. It does not wait.
func (w *workers) submit(t *task) {
	l := &t.c.backlog
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.first == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
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
		t := w.take()
		if t == nil {
			return
		}
		t.c.work(t)
	}
}

// take waits for the next task; nil means that the workers stop.
func (w *workers) take() *task {
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
	t := l.first
	l.first, t.next = t.next, nil
	if l.first != nil {
		w.enqueue(l)
	}
	return t
}

// stop ends the goroutines when the queued tasks are done.
func (w *workers) stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Broadcast()
	w.mu.Unlock()
}
