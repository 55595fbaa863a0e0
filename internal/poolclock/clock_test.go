package poolclock

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

var begin = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// machine has a wall clock that can be set and a measure that cannot.
type machine struct {
	wall    time.Time
	elapsed time.Duration
}

func (m *machine) pass(d time.Duration) { m.wall, m.elapsed = m.wall.Add(d), m.elapsed+d }
func (m *machine) jump(d time.Duration) { m.wall = m.wall.Add(d) }

func (m *machine) open(last time.Time, behind time.Duration) *Clock {
	return New(Options{
		Wall:    func() time.Time { return m.wall },
		Elapsed: func() time.Duration { return m.elapsed },
		Last:    last.UnixNano(), Age: time.Hour, Behind: behind,
	})
}

func opened() (*machine, *Clock) {
	m := &machine{begin, 77 * time.Hour}
	return m, m.open(begin, 0)
}

// want checks the time, what is suspect and by how much the wall differs.
func want(t *testing.T, c *Clock, now time.Time, jump time.Duration, suspect bool) {
	t.Helper()
	if got := c.Now(); !got.Equal(now) {
		t.Errorf("the pool's time is %v, want %v", got, now)
	}
	if j, s := c.Suspect(); j != jump || s != suspect {
		t.Errorf("jump %v, suspect %v; want %v, %v", j, s, jump, suspect)
	}
}

func TestFollowsTheWall(t *testing.T) {
	m, c := opened()
	want(t, c, begin, 0, false)
	m.pass(time.Hour)
	want(t, c, begin.Add(time.Hour), 0, false)
	m.jump(4 * time.Minute)
	want(t, c, m.wall, 0, false)
	if got := c.Age(); got != 2*time.Hour {
		t.Errorf("age %v, want 2h", got)
	}
	if loc := c.Now().Location(); loc != time.UTC {
		t.Errorf("the time is in %v", loc)
	}
}

func TestSlowsForASmallStepBack(t *testing.T) {
	m, c := opened()
	m.jump(-4 * time.Minute)
	want(t, c, begin, -4*time.Minute, false)
	m.pass(10 * time.Minute)
	want(t, c, begin.Add(9*time.Minute), -3*time.Minute, false)
	m.pass(30 * time.Minute)
	want(t, c, m.wall, 0, false)
}

func TestJumps(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, day, 10 * year, -10 * time.Minute, -day, -10 * year} {
		m, c := opened()
		m.jump(jump)
		want(t, c, begin, jump, true)
		m.pass(time.Hour)
		want(t, c, begin.Add(time.Hour), jump, true)
		m.jump(-jump)
		want(t, c, begin.Add(time.Hour), 0, false)

		m.jump(jump)
		want(t, c, begin.Add(time.Hour), jump, true)
		m.pass(time.Hour)
		if got := c.Confirm(); got != max(0, -jump) {
			t.Errorf("jump %v: %v behind when it was confirmed", jump, got)
		}
		want(t, c, begin.Add(2*time.Hour+max(0, jump)), min(0, jump), false)
		if got := c.Age(); got != 3*time.Hour {
			t.Errorf("jump %v: age %v", jump, got)
		}
	}
}

func TestTolerance(t *testing.T) {
	for _, step := range []time.Duration{Tolerance, -Tolerance, Tolerance + 1, -Tolerance - 1} {
		m, c := opened()
		m.jump(step)
		if _, suspect := c.Suspect(); suspect != (step.Abs() > Tolerance) {
			t.Errorf("a step of %v: suspect %v", step, suspect)
		}
	}
	m, c := opened()
	m.pass(1000 * time.Minute) // unobserved: a drift of one minute is plausible
	m.jump(Tolerance + time.Minute)
	if _, suspect := c.Suspect(); suspect {
		t.Error("drift is suspect")
	}
	m, c = opened()
	m.pass(1000 * time.Minute)
	m.jump(Tolerance + time.Minute + 1)
	if _, suspect := c.Suspect(); !suspect {
		t.Error("more than drift is not suspect")
	}
}

// TestManySmallSteps: what no single step shows, their sum does.
func TestManySmallSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Second, -time.Second} {
		m, c := opened()
		suspect, steps := false, 0
		for ; !suspect && steps < 1000; steps++ {
			m.pass(time.Second)
			m.jump(step)
			_, suspect = c.Suspect()
		}
		if steps != 301 {
			t.Errorf("steps of %v: %d until it was suspect", step, steps)
		}
	}
	m, c := opened()
	for range 100000 { // a clock that runs wrong by less than 1/1000
		m.pass(10 * time.Second)
		m.jump(9 * time.Millisecond)
		if _, suspect := c.Suspect(); suspect {
			t.Fatal("drift is suspect")
		}
	}
}

func TestConfirmBehind(t *testing.T) {
	m, c := opened()
	m.jump(-100 * time.Hour)
	want(t, c, begin, -100*time.Hour, true)
	if behind := c.Confirm(); behind != 100*time.Hour {
		t.Errorf("behind %v", behind)
	}
	want(t, c, begin, -100*time.Hour, false)
	m.pass(10 * time.Hour)
	want(t, c, begin.Add(9*time.Hour), -99*time.Hour, false)

	// Opened again, the pool remembers that, or is suspect.
	last := c.Now()
	want(t, m.open(last, 100*time.Hour), last, -99*time.Hour, false)
	want(t, m.open(last, 0), last, -99*time.Hour, true)

	m.pass(991 * time.Hour)
	want(t, c, m.wall, 0, false)
	m.jump(-100 * time.Hour)
	if _, suspect := c.Suspect(); !suspect {
		t.Error("the next jump back is not suspect")
	}
}

func TestOpened(t *testing.T) {
	for _, c := range []struct {
		wall    time.Duration // after last
		suspect bool
	}{
		{0, false}, {time.Second, false}, {day, false}, {MaxDowntime + Tolerance, false},
		{MaxDowntime + Tolerance + 1, true}, {30 * year, true},
		{-time.Second, false}, {-Tolerance, false}, {-Tolerance - 1, true}, {-30 * year, true},
	} {
		m := &machine{begin.Add(c.wall), 0}
		clock := m.open(begin, 0)
		now := begin
		if !c.suspect {
			now = begin.Add(max(0, c.wall))
		}
		want(t, clock, now, m.wall.Sub(now), c.suspect)
		m.pass(900) // too little for drift
		if got := clock.Now(); c.suspect && !got.Equal(now.Add(900)) {
			t.Errorf("opened %v after last: %v after 900 ns", c.wall, got)
		}
	}
}

// TestSetAfterBoot: a machine without a clock of its own begins in 1970. When
// its clock is set days after last, all is well, but from then on a jump is one.
func TestSetAfterBoot(t *testing.T) {
	m := &machine{time.Unix(5, 0), 0}
	c := m.open(begin, 0)
	m.pass(time.Minute)
	if _, suspect := c.Suspect(); !suspect {
		t.Error("1970 is plausible")
	}
	m.wall = begin.Add(3 * day)
	want(t, c, m.wall, 0, false)
	m.jump(3 * day)
	want(t, c, begin.Add(3*day), 3*day, true)
}

func TestNewPool(t *testing.T) {
	for _, wall := range []time.Time{time.Unix(0, 0), begin, begin.Add(100 * year)} {
		m := &machine{wall, 0}
		c := New(Options{Wall: func() time.Time { return m.wall }, Elapsed: func() time.Duration { return m.elapsed }})
		want(t, c, wall, 0, false)
		m.jump(day)
		want(t, c, wall, day, true)
	}
}

// TestEndsOfTime: walls that nanoseconds cannot hold neither wrap nor move a
// pool's time back.
func TestEndsOfTime(t *testing.T) {
	m, c := opened()
	for _, wall := range []time.Time{{}, time.Unix(-1, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(1<<61, 0)} {
		m.wall = wall
		m.elapsed += time.Hour
		before := c.Now()
		m.elapsed += time.Hour
		if got := c.Now(); got.Sub(before) != time.Hour {
			t.Errorf("wall %v: %v, then %v", wall, before, got)
		}
		if _, suspect := c.Suspect(); !suspect {
			t.Errorf("wall %v is plausible", wall)
		}
	}
	c.Confirm()
	last := time.Unix(0, lastTime)
	want(t, c, last.UTC(), 0, false)
	m.elapsed += 200 * year
	want(t, c, last.UTC(), 0, false)
}

func TestNanoseconds(t *testing.T) {
	for _, c := range []struct {
		t    time.Time
		want int64
	}{
		{time.Time{}, 0}, {time.Unix(-1, 0), 0}, {time.Unix(0, 7), 7}, {begin, begin.UnixNano()},
		{time.Unix(0, lastTime-1), lastTime - 1}, {time.Unix(0, lastTime+1), lastTime}, {time.Unix(1<<61, 0), lastTime},
	} {
		if got := nanoseconds(c.t); got != c.want {
			t.Errorf("%v is %d, want %d", c.t, got, c.want)
		}
	}
}

func TestElapsedThatFalls(t *testing.T) {
	m, c := opened()
	m.pass(time.Hour)
	c.Now()
	m.elapsed -= 30 * time.Minute
	want(t, c, begin.Add(time.Hour), 0, false)
	if got := c.Age(); got != 2*time.Hour {
		t.Errorf("age %v", got)
	}
}

// TestWallAlone: with a wall and nothing else, what it advances is elapsed.
func TestWallAlone(t *testing.T) {
	m := &machine{wall: begin}
	c := New(Options{Wall: func() time.Time { return m.wall }, Last: begin.UnixNano()})
	m.jump(10 * year)
	want(t, c, begin.Add(10*year), 0, false)
	m.jump(-year)
	want(t, c, begin.Add(10*year), -year, true)
	m.jump(day)
	want(t, c, begin.Add(10*year+day), -year, true)
	if got := c.Age(); got != 10*year+day {
		t.Errorf("age %v", got)
	}
}

// TestProperties: whatever the wall does, time never falls, age is what
// elapsed, and a wall that agrees with it is never suspect.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{begin, 0}
		honest := rapid.Bool().Draw(t, "honest")
		offset := time.Duration(0)
		if !honest {
			offset = time.Duration(rapid.Int64Range(-int64(20*year), int64(20*year)).Draw(t, "opened after last"))
		}
		c := m.open(begin.Add(-offset), time.Duration(rapid.Int64Range(0, int64(year)).Draw(t, "behind")))
		last, age := c.Now(), c.Age()
		if last.Before(begin.Add(-offset)) {
			t.Fatalf("opened at %v", last)
		}
		passes := rapid.SampledFrom([]time.Duration{0, 1, 99, time.Millisecond, time.Second, 7 * time.Minute, day, year})
		jumps := rapid.SampledFrom([]time.Duration{1, -1, time.Minute, -time.Minute, Tolerance, -Tolerance, day, -day, 10 * year, -10 * year})
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			passed := passes.Draw(t, "pass")
			m.pass(passed)
			if !honest && rapid.Bool().Draw(t, "jumps") {
				m.jump(jumps.Draw(t, "jump"))
			}
			if !honest && rapid.IntRange(0, 9).Draw(t, "confirm") == 0 {
				if c.Confirm() < 0 {
					t.Fatal("the pool's time is behind a wall that was confirmed")
				}
				if _, suspect := c.Suspect(); suspect {
					t.Fatal("suspect after it was confirmed")
				}
			}
			now := c.Now()
			jump, suspect := c.Suspect()
			switch {
			case now.Before(last):
				t.Fatalf("time fell from %v to %v", last, now)
			case c.Age() != age+passed:
				t.Fatalf("age went from %v to %v in %v", age, c.Age(), passed)
			case honest && (suspect || !now.Equal(m.wall)):
				t.Fatalf("suspect %v, %v where the wall is %v", suspect, now, m.wall)
			case !suspect && jump > 0:
				t.Fatalf("the pool's time is %v behind a plausible wall", jump)
			case suspect && now.Sub(last) > passed:
				t.Fatalf("suspect, and %v passed in %v", now.Sub(last), passed)
			}
			last, age = now, age+passed
		}
	})
}

// TestTheMachine: the clock of this machine, from several threads at once.
func TestTheMachine(t *testing.T) {
	c := New(Options{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			last, age := c.Now(), c.Age()
			for range 10000 {
				now, a := c.Now(), c.Age()
				if now.Before(last) || a < age {
					t.Errorf("time went from %v to %v, age from %v to %v", last, now, age, a)
					return
				}
				last, age = now, a
			}
		})
	}
	group.Wait()
	if jump, suspect := c.Suspect(); suspect || jump > time.Second || jump < -time.Second {
		t.Errorf("jump %v, suspect %v", jump, suspect)
	}
	if age := c.Age(); age <= 0 || age > time.Hour {
		t.Errorf("age %v", age)
	}
}

func BenchmarkNow(b *testing.B) {
	c := New(Options{})
	for b.Loop() {
		c.Now()
	}
}

func BenchmarkNowParallel(b *testing.B) {
	c := New(Options{})
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			c.Now()
		}
	})
}
