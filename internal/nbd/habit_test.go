package nbd

import (
	"testing"
	"time"

	"varve/internal/fail"
)

func TestHabit(t *testing.T) {
	var h habit
	round := func(changes int) (ahead bool) {
		for range changes {
			h.changed()
			ahead = h.due()
		}
		h.flushed()
		return ahead
	}
	until := func(changes, limit int) int {
		for i := range limit {
			if round(changes) {
				return i
			}
		}
		return limit
	}
	for changes := 1; changes <= maxUsual; changes++ {
		h = habit{}
		if n := until(changes, 100); n != habitual+1 {
			t.Errorf("%d changes, flush: a habit after %d rounds", changes, n)
		}
	}
	h = habit{}
	if until(maxUsual+1, 100) != 100 || until(0, 100) != 100 {
		t.Error("a habit of many changes, or of none")
	}
	for range 50 {
		if round(1) || round(2) {
			t.Fatal("a habit where there is none")
		}
	}
	h = habit{}
	until(1, 100)
	h.changed()
	if !h.due() || h.due() {
		t.Fatal("not due, or twice")
	}
	h.changed() // instead of the flush
	h.flushed()
	if n := until(1, 1000); n < habitBroken || n == 1000 {
		t.Errorf("flushes ahead again after %d rounds", n)
	}
}

// settles waits for what the server does after a reply.
func settles(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestFlushAhead(t *testing.T) {
	d := newMemDisk("d", 1<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c, other := connect(t, addr, "d", false), connect(t, addr, "d", false)
	block := pattern(blockSize, 1)
	write := func(c *client) {
		t.Helper()
		if a := c.do(request{cmd: cmdWrite, n: blockSize}, block); a.code != 0 {
			t.Fatalf("write: %+v", a)
		}
	}
	flush := func() uint32 { return c.do(request{cmd: cmdFlush}, nil).code }
	for range habitual + 1 {
		write(c)
		if flush() != 0 || d.volatile.Load() != 0 {
			t.Fatal("a flush failed, or did nothing")
		}
	}
	write(c)
	settles(t, "no flush ahead", func() bool { return d.volatile.Load() == 0 })
	write(other) // no flush ahead has heard of it
	if flush() != 0 || d.volatile.Load() != 0 {
		t.Error("a flush relied on the one ahead of it")
	}

	d.broken.Store(brokenOp{"flush", fail.New(fail.IO, "no disk")})
	failed := d.refused.Load()
	write(c)
	settles(t, "no flush ahead", func() bool { return d.refused.Load() > failed })
	d.broken.Store(brokenOp{})
	for range 2 {
		if flush() != nbdEIO {
			t.Error("nobody was told of a flush ahead that failed")
		}
	}
}
