// Package workers runs what a server's connections must not wait for, with a
// bound on how much at a time, and fairly among them.
package workers

import "sync"

// Job is something to do.
type Job interface{ Run() }

// Pool runs the jobs of all connections, at most max at a time. Connections
// that have jobs stand in a ring and take turns, so that one with many does not
// keep the others waiting:
//
//	ring  A -> B -> C       take the first job of A, then
//	      B -> C -> A       A stands behind, if it has more
//
// Its mutex is a leaf.
type Pool[J Job] struct {
	max int

	mu          sync.Mutex
	work        sync.Cond
	first, last *Line[J]
	started     int
	idle        int // waiting, and not yet woken
	stopped     bool
}

// Line is one connection's place in the ring; its zero value is empty. A pool
// guards it.
type Line[J Job] struct {
	jobs   []J
	taken  int // jobs[:taken] have been
	next   *Line[J]
	queued bool
}

// New returns a pool that runs at most limit jobs at a time.
func New[J Job](limit int) *Pool[J] {
	w := &Pool[J]{max: limit}
	w.work.L = &w.mu
	return w
}

// Submit queues j in l. It does not wait.
func (w *Pool[J]) Submit(l *Line[J], j J) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.shift()
	l.jobs = append(l.jobs, j)
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

// shift moves the jobs that wait to the beginning, where at least as many have
// been: a line that is never empty does not grow for ever.
func (l *Line[J]) shift() {
	if l.taken >= 64 && 2*l.taken >= len(l.jobs) {
		n := copy(l.jobs, l.jobs[l.taken:])
		clear(l.jobs[n:])
		l.jobs, l.taken = l.jobs[:n], 0
	}
}

func (w *Pool[J]) enqueue(l *Line[J]) {
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

func (w *Pool[J]) run() {
	for {
		j, ok := w.take()
		if !ok {
			return
		}
		j.Run()
	}
}

// take waits for the next job; false means that the workers stop.
func (w *Pool[J]) take() (j J, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.first == nil {
		if w.stopped {
			return j, false
		}
		w.idle++
		w.work.Wait()
	}
	l := w.first
	w.first, l.next, l.queued = l.next, nil, false
	var none J
	j, l.jobs[l.taken] = l.jobs[l.taken], none
	if l.taken++; l.taken == len(l.jobs) {
		l.jobs, l.taken = l.jobs[:0], 0
	} else {
		w.enqueue(l)
	}
	return j, true
}

// Lines is how many connections have jobs that wait.
func (w *Pool[J]) Lines() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := w.first; l != nil; l = l.next {
		n++
	}
	return n
}

// Stop ends the goroutines when the queued jobs are done.
func (w *Pool[J]) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Broadcast()
	w.mu.Unlock()
}
