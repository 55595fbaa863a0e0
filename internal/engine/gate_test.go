package engine_test

import (
	"sync"

	"varve/internal/engine"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
)

// gatedStore can hold up whatever makes things durable, so that a checkpoint
// stands still between its cut and its super root while a script goes on.
type gatedStore struct {
	segstore.Store
	mu      sync.Mutex
	open    chan struct{} // nil: nothing is held up
	arrived chan struct{}
}

// shut holds up every sync until the returned function is called. arrived gets
// a value when one waits.
func (g *gatedStore) shut() (arrived <-chan struct{}, open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.arrived = make(chan struct{}), make(chan struct{}, 1)
	return g.arrived, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.open)
		g.open = nil
	}
}

func (g *gatedStore) pass() {
	g.mu.Lock()
	open, arrived := g.open, g.arrived
	g.mu.Unlock()
	if open == nil {
		return
	}
	select {
	case arrived <- struct{}{}:
	default:
	}
	<-open
}

func (g *gatedStore) Sync(n uint64) error {
	g.pass()
	return g.Store.Sync(n)
}

func (g *gatedStore) WriteDurableAt(n uint64, p []byte, off int64) error {
	g.pass()
	return g.Store.WriteDurableAt(n, p, off)
}

// checkpointUnder takes a checkpoint, and writes between its cut and its super
// root.
func (s *sim) checkpointUnder(g *gatedStore) {
	names := liveNames(s.m.now())
	if len(names) == 0 {
		return
	}
	s.flush() // else a write below could wait for a sync
	arrived, open := g.shut()
	done, e := make(chan error, 1), s.e
	go func() { done <- e.Checkpoint() }()
	s.beside = done
	select {
	case <-arrived:
		func() {
			defer open()
			for range 1 + s.knob.IntN(3) {
				if s.conf.cache > 0 && s.e.Status().DirtyBytes > s.conf.cache/2 {
					return // a change could have to wait for a checkpoint
				}
				s.changeQuickly(names[s.knob.IntN(len(names))])
			}
		}()
	case err := <-done: // there was nothing to write
		s.beside = nil
		open()
		s.must("checkpoint", err)
		return
	}
	s.joinCheckpoint()
}

// changeQuickly changes a dataset in memory.
func (s *sim) changeQuickly(name string) {
	sc := s.scribe(name)
	if !sc.d.isShare() {
		s.write(name)
		return
	}
	sc.quick = true
	sc.small()
}

func (s *sim) openEngine() {
	s.e, s.beside = nil, nil
	var store segstore.Store = s.store
	if s.conf.moves {
		var err error
		store, err = compact.Open(s.store)
		s.must("open", err)
	}
	e, err := engine.Open(s.conf.options(store, s.clock))
	s.must("open", err)
	s.e = e
}
