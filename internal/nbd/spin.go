package nbd

import (
	"time"

	"varve/internal/outbox"
)

// A read may look for data for a while before it sleeps. That is worth it for
// a client that waits for each flush and then sends its next request at once:
// a look costs less than waking up. It is a waste when the client is busy
// elsewhere, or when there are fewer processors than work; so luck decides.
const (
	readsAfterFlush = 8   // may spin
	maxLuck         = 16  // in hits; a miss costs missCost of them
	missCost        = 3   // spinning pays when three of four spins hit
	restFlushes     = 256 // not spun after when luck is out
)

// spinner decides which reads spin.
type spinner struct {
	reads int // that may still spin
	luck  int
	rest  int // flushes to pass before the next try
}

func newSpinner() spinner { return spinner{luck: maxLuck} }

// flushed is told of every flush.
func (s *spinner) flushed() {
	if s.rest > 0 {
		s.rest--
		return
	}
	s.reads = readsAfterFlush
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
	switch w {
	case outbox.Spinning:
		s.luck = min(s.luck+1, maxLuck)
	case outbox.Asleep:
		if s.luck -= missCost; s.luck <= 0 {
			*s = spinner{luck: maxLuck / 2, rest: restFlushes}
		}
	}
}
