package nfs3

import (
	"sync"
	"sync/atomic"
)

// workers run the tasks that readers give away, at most max at a time. There is
// no queue: where all are busy a reader executes its tasks itself, so that the
// connections that keep the workers busy do not keep the others waiting.
type workers struct {
	max     int32
	started atomic.Int32
	tasks   chan *task // taken by those who are idle
	ended   sync.Once
}

func (w *workers) init(limit int) {
	w.max = int32(limit)
	w.tasks = make(chan *task)
}

// try gives t to a worker, if one is idle or may be started. It does not wait.
func (w *workers) try(t *task) bool {
	select {
	case w.tasks <- t:
		return true
	default:
	}
	if w.started.Add(1) > w.max {
		w.started.Add(-1)
		return false
	}
	go w.run(t)
	return true
}

func (w *workers) run(t *task) {
	for ok := true; ok; t, ok = <-w.tasks {
		t.c.work(t)
	}
}

// stop ends the workers. No task may be given to them any more.
func (w *workers) stop() { w.ended.Do(func() { close(w.tasks) }) }
