package nbd

import (
	"time"

	"varve/internal/outbox"
)

// A client that waits for each flush and then sends its next request at once is
// worth to be looked for, before a read sleeps: see outbox.Luck.
const (
	readsAfterFlush = 8   // may spin
	maxLuck         = 16  // see outbox.Luck
	missCost        = 3   // spinning pays when three of four spins hit
	restFlushes     = 256 // not spun after when luck is out
)

// spinner decides which reads spin.
type spinner struct {
	reads int // that may still spin
	luck  outbox.Luck
}

func newSpinner() spinner {
	return spinner{luck: outbox.Luck{Max: maxLuck, Cost: missCost, Rest: restFlushes}}
}

// flushed is told of every flush.
func (s *spinner) flushed() {
	if s.luck.Try() {
		s.reads = readsAfterFlush
	}
}

// window returns how long the next read may spin, at most limit.
func (s *spinner) window(limit time.Duration) time.Duration {
	if s.reads == 0 {
		return 0
	}
	s.reads--
	return max(limit, 0)
}

// result is told how a read with a window fared.
func (s *spinner) result(w outbox.Waited) {
	if !s.luck.Tell(w) {
		s.reads = 0
	}
}
