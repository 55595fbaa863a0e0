package poolclock

import (
	"testing"
	"time"
)

// sleeper is a machine that can be suspended: mono stands still then.
type sleeper struct{ mono, boot int64 }

func (s *sleeper) run(d time.Duration)   { s.mono, s.boot = s.mono+int64(d), s.boot+int64(d) }
func (s *sleeper) sleep(d time.Duration) { s.boot += int64(d) }

func TestSuspendCounts(t *testing.T) {
	s := &sleeper{0, int64(9 * day)}
	m := withSuspends(func() int64 { return s.mono }, func() int64 { return s.boot })
	check := func(exact bool, want time.Duration) {
		t.Helper()
		if got := time.Duration(m(0, exact)); got != want {
			t.Errorf("exact %v: elapsed %v, want %v", exact, got, want)
		}
	}
	check(false, 0)
	s.run(time.Millisecond)
	s.sleep(8 * time.Hour)
	check(false, time.Millisecond) // not looked at yet
	check(true, 8*time.Hour+time.Millisecond)
	s.sleep(time.Hour)
	s.run(time.Second)
	check(false, 9*time.Hour+time.Second+time.Millisecond)
}

// TestSuspendIsNoJump: the wall goes on while the machine sleeps, and so does
// the pool, at the first look after it.
func TestSuspendIsNoJump(t *testing.T) {
	s := &sleeper{}
	wall := begin
	c := New(Options{Wall: func() time.Time { return wall }, Elapsed: func() time.Duration { return 0 }, Last: begin.UnixNano()})
	c.elapsed = withSuspends(func() int64 { return s.mono }, func() int64 { return s.boot })
	for range 3 {
		s.run(time.Millisecond)
		s.sleep(8 * time.Hour)
		wall = wall.Add(8*time.Hour + time.Millisecond)
		want(t, c, wall, 0, false)
	}
	if got := c.Age(); got != 24*time.Hour+3*time.Millisecond {
		t.Errorf("age %v", got)
	}
	wall = wall.Add(8 * time.Hour) // awake: that is a jump
	want(t, c, wall.Add(-8*time.Hour), 8*time.Hour, true)
}

// TestStoppedBetweenReadings: a process that stands still between reading one
// clock and the other has not slept, and what it had slept before counts still.
func TestStoppedBetweenReadings(t *testing.T) {
	s := &sleeper{}
	stop := time.Duration(0)
	m := withSuspends(func() int64 { return s.mono }, func() int64 {
		s.run(stop)
		boot := s.boot
		s.run(stop)
		return boot
	})
	s.sleep(8 * time.Hour)
	for _, stop = range []time.Duration{0, time.Hour, 0} {
		if got := m(0, true); got != s.boot {
			t.Errorf("stopped for %v: elapsed %v, want %v", stop, time.Duration(got), time.Duration(s.boot))
		}
	}
}

func TestBoottime(t *testing.T) {
	a, m := boottime(), sinceNow()
	time.Sleep(time.Millisecond)
	if passed, b := m(), boottime(); a <= 0 || b-a < passed || passed < int64(time.Millisecond) {
		t.Errorf("boot time went from %d to %d in %d", a, b, passed)
	}
}

// TestRealClockIsRecognised: a wall that carries monotonic readings, even
// wrapped, is measured by the machine's own clock, not by itself.
func TestRealClockIsRecognised(t *testing.T) {
	var offset time.Duration
	c := New(Options{Wall: func() time.Time { return time.Now().Add(offset) }})
	offset = day
	if jump, suspect := c.Suspect(); !suspect || jump < day-time.Minute {
		t.Errorf("jump %v, suspect %v", jump, suspect)
	}
	if age := c.Age(); age > time.Hour {
		t.Errorf("age %v", age)
	}
}
