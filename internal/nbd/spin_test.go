package nbd

import (
	"testing"
	"time"

	"varve/internal/outbox"
)

func TestSpinner(t *testing.T) {
	const limit = 20 * time.Microsecond
	s := newSpinner()
	if s.window(limit) != 0 {
		t.Error("spins although nobody flushes")
	}
	for range 1000 { // a client that pays
		s.flushed()
		if s.window(limit) != limit {
			t.Fatal("does not spin although it pays")
		}
		s.result(outbox.Spinning)
	}
	if s.window(-1) != 0 {
		t.Error("spins although that is turned off")
	}
	s.flushed()
	spins := 0
	for range readsAfterFlush + 5 {
		if s.window(limit) > 0 {
			spins++
		}
	}
	if spins != readsAfterFlush {
		t.Errorf("%d reads spin after a flush, want %d", spins, readsAfterFlush)
	}
	misses := 0
	for range 10 * restFlushes { // a client that does not pay
		s.flushed()
		if s.window(limit) > 0 {
			s.result(outbox.Asleep)
			misses++
		}
	}
	if misses == 0 || misses > 50 {
		t.Errorf("%d of %d spins in vain", misses, 10*restFlushes)
	}
}
