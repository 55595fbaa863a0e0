package engine

import (
	"sync"

	"varve/internal/segment"
)

// logReads are the positions from which somebody reads the log at this moment:
// records behind them stay until that is over, also when history moves on.
type logReads struct {
	mu   sync.Mutex
	from map[*segment.Position]struct{}
}

// begin notes a read from a position on; the caller ends it with what it gets.
func (r *logReads) begin(p segment.Position) (end func()) {
	at := &p
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from == nil {
		r.from = make(map[*segment.Position]struct{})
	}
	r.from[at] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.from, at)
	}
}

// each calls fn for every position.
func (r *logReads) each(fn func(segment.Position)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.from {
		fn(*p)
	}
}
