// Package poolclock is the time of a pool: a clock that never falls, follows
// the machine's clock (the wall clock) while that is plausible, and goes by
// elapsed time alone when the wall clock jumped, until it is back or a person
// accepts it.
//
//	reference   goes by elapsed time, and nears the wall by 1/1000 of it at most
//	plausible   the wall is within Tolerance of the reference
//	own time    plausible: the wall; while that is behind, 9/10 of elapsed time
//	            suspect:   elapsed time
//	age         elapsed time, never the wall
//
// So steps of a few minutes are followed, but a row of them is not: what they
// sum up to in excess of 1/1000 of the elapsed time counts against Tolerance.
//
// A pool that is opened knows when it was used last, not how long the machine
// was off: until the wall was plausible once, it may be ahead by MaxDowntime.
// A machine without a clock of its own begins in the past: it is suspect, and
// no more when its clock is set. One that starts from a saved time is taken at
// its word, so there the server should start after the clock was set.
package poolclock

import (
	"sync"
	"time"
)

const (
	// Tolerance is by how much the wall clock may differ from where elapsed
	// time says it should be, beside the drift of 1/1000.
	Tolerance = 5 * time.Minute
	// MaxDowntime is how long a pool may have been out of use without doubt
	// about the clock of the machine that opens it.
	MaxDowntime = 400 * 24 * time.Hour

	drift    = 1000        // the rates of two clocks differ by less than one part of this
	slowness = 10          // own time loses one part of this while it waits for the wall
	settling = time.Second // how often the reference nears the wall
)

// Wall times are nanoseconds since 1970; those before or after are taken for
// the first or the last moment that every sum here can bear.
var lastTime = time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC).UnixNano()

// Options of a Clock. The zero value is a new pool on the machine's clock.
type Options struct {
	// Wall is the machine's clock. Nil means time.Now.
	Wall func() time.Time

	// Elapsed is a measure that nobody sets: it counts from anywhere, never
	// falls, and includes the time in which the machine was suspended. Nil
	// means CLOCK_BOOTTIME if Wall carries monotonic readings, as time.Now
	// does. Without these (the clock of a test; Round(0) strips them) it means
	// what the wall itself advanced: a step forward is elapsed time then and
	// never suspect, a step back is none.
	Elapsed func() time.Duration

	// Last is the latest time the pool knows, in nanoseconds since 1970: its
	// time goes on from there. 0 or less means a new pool, which believes the
	// wall.
	Last int64

	// Age is what Age begins with.
	Age time.Duration

	// Behind is by how much the wall was behind when Confirm accepted that;
	// without it a pool ahead of the wall is suspect whenever it is opened.
	Behind time.Duration
}

// Clock is the time of one pool. All methods may be called concurrently and
// are cheap enough for every operation.
type Clock struct {
	mu      sync.Mutex
	wall    func() time.Time
	elapsed measure

	seen    int64     // elapsed at the last look, from 0; never falls
	base    int64     // what Age adds
	own     int64     // the pool's time at the last look; never falls
	ref     reference // where the wall should be
	met     bool      // the wall was plausible once, so ref follows it
	behind  int64     // Options.Behind
	suspect bool
	jump    int64 // the wall minus own at the last look
}

// reference is a time of the wall and what had elapsed then.
type reference struct{ time, elapsed int64 }

// New starts the clock of a pool. Whether it is suspect from the beginning,
// Suspect says.
func New(o Options) *Clock {
	c := &Clock{wall: o.Wall, base: int64(o.Age), own: o.Last, behind: int64(max(0, o.Behind))}
	if c.wall == nil {
		c.wall = time.Now
	}
	first := c.wall()
	c.elapsed = newMeasure(o.Elapsed, first)
	if c.ref.time = c.own; c.own <= 0 {
		c.own = nanoseconds(first)
		c.ref.time, c.met = c.own, true
	}
	c.look()
	return c
}

// Now returns the pool's time, in UTC. It never falls.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	c.look()
	own := c.own
	c.mu.Unlock()
	return time.Unix(0, own).UTC()
}

// Age returns how long the pool has been open, in plausible elapsed time, plus
// Options.Age. Retention counts by it: no setting of the clock moves it, and
// it stands still while the pool is closed.
func (c *Clock) Age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return time.Duration(c.base + c.seen)
}

// Suspect reports whether the wall clock jumped, so that the pool goes by
// elapsed time. jump is the wall minus the pool's time in any case: what is
// left of it after Confirm is negative and shrinks.
func (c *Clock) Suspect() (jump time.Duration, suspect bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return time.Duration(c.jump), c.suspect
}

// Confirm accepts the wall clock as it is. If it is ahead the pool's time is
// the wall's at once. If it is behind, the pool's time goes on, a tenth slower
// than elapsed time, until the wall has caught up: behind says by how much, to
// be remembered as Options.Behind.
func (c *Clock) Confirm() (behind time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	wall := c.own + c.jump
	c.ref, c.met = reference{wall, c.seen}, true
	c.advance(wall, c.seen, true)
	return time.Duration(c.own - wall)
}

// look reads both clocks and moves the pool's time on.
func (c *Clock) look() {
	wall, elapsed := c.read(false)
	plausible := c.plausible(wall, elapsed)
	if !plausible {
		// The machine may have slept, or this process between the readings.
		wall, elapsed = c.read(true)
		plausible = c.plausible(wall, elapsed)
	}
	c.advance(wall, elapsed, plausible)
}

func (c *Clock) read(exact bool) (wall, elapsed int64) {
	wall = nanoseconds(c.wall())
	return wall, max(c.seen, c.elapsed(wall, exact))
}

func (c *Clock) plausible(wall, elapsed int64) bool {
	since := elapsed - c.ref.elapsed
	ahead := wall - add(c.ref.time, since)
	tolerance := int64(Tolerance) + since/drift
	if c.met {
		return -tolerance <= ahead && ahead <= tolerance
	}
	return -tolerance-c.behind <= ahead && ahead <= tolerance+int64(MaxDowntime)
}

func (c *Clock) advance(wall, elapsed int64, plausible bool) {
	step := elapsed - c.seen
	c.seen = elapsed
	if plausible {
		c.own = max(wall, add(c.own, step-step/slowness))
		c.settle(wall, elapsed)
	} else {
		c.own = add(c.own, step)
	}
	c.suspect = !plausible
	c.jump = wall - c.own
}

// settle moves the reference on, and nearer to a plausible wall.
func (c *Clock) settle(wall, elapsed int64) {
	since := elapsed - c.ref.elapsed
	switch {
	case !c.met:
		c.ref, c.met = reference{wall, elapsed}, true
	case since >= int64(settling):
		expected := add(c.ref.time, since)
		near := min(max(wall-expected, -since/drift), since/drift)
		c.ref = reference{expected + near, elapsed}
	}
}

// add returns t+d for d >= 0, and stops at the last moment there is.
func add(t, d int64) int64 {
	if d > lastTime-t {
		return max(t, lastTime)
	}
	return t + d
}

func nanoseconds(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= lastTime/int64(time.Second):
		return lastTime
	}
	return t.UnixNano()
}
