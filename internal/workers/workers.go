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
// One of them has at most half of the workers: jobs may take long. While it has
// them it stands in no ring; whichever worker ends one of its jobs puts it there.
//
// Its mutex is a leaf.
type Pool[J Job] struct {
	max   int
	share int // jobs of one line that run at a time

	mu          sync.Mutex
	work        sync.Cond
	first, last *Line[J]
	waiting     int // lines with jobs, in the ring or not
	started     int
	idle        int // waiting, and not yet woken
	stopped     bool
}

// Line is one connection's place in the ring; its zero value is empty. A pool
// guards it.
type Line[J Job] struct {
	jobs    []J
	taken   int // jobs[:taken] have been
	running int
	next    *Line[J]
	queued  bool
}

// New returns a pool that runs at most limit jobs at a time.
func New[J Job](limit int) *Pool[J] {
	w := &Pool[J]{max: limit, share: max(1, limit/2)}
	w.work.L = &w.mu
	return w
}

// Submit queues j in l. It does not wait.
func (w *Pool[J]) Submit(l *Line[J], j J) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.shift()
	if l.taken == len(l.jobs) {
		w.waiting++
	}
	l.jobs = append(l.jobs, j)
	w.enqueue(l)
	switch {
	case !l.queued: // who ends one of its jobs goes on with it
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

// enqueue puts l in the ring, if it has jobs and may run one more.
func (w *Pool[J]) enqueue(l *Line[J]) {
	if l.queued || l.taken == len(l.jobs) || l.running == w.share {
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
		j, l := w.take()
		if l == nil {
			return
		}
		j.Run()
		w.mu.Lock()
		l.running--
		w.enqueue(l)
		w.mu.Unlock()
	}
}

// take waits for the next job, and returns its line; nil means that the workers
// stop.
func (w *Pool[J]) take() (j J, l *Line[J]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.first == nil {
		if w.stopped {
			return j, nil
		}
		w.idle++
		w.work.Wait()
	}
	l = w.first
	w.first, l.next, l.queued = l.next, nil, false
	var none J
	j, l.jobs[l.taken] = l.jobs[l.taken], none
	l.running++
	if l.taken++; l.taken == len(l.jobs) {
		l.jobs, l.taken = l.jobs[:0], 0
		w.waiting--
	}
	w.enqueue(l)
	return j, l
}

// Lines is how many connections have jobs that wait.
func (w *Pool[J]) Lines() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

// Stop ends the goroutines when the queued jobs are done.
func (w *Pool[J]) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Broadcast()
	w.mu.Unlock()
}
