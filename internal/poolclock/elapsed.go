package poolclock

import (
	"time"

	"golang.org/x/sys/unix"
)

// measure returns the nanoseconds elapsed since it was made. It may be behind
// by what the machine slept since a second ago, but not if exact. Calls are
// serialised.
type measure func(wall int64, exact bool) int64

func newMeasure(given func() time.Duration, first time.Time) measure {
	switch {
	case given != nil:
		start := given()
		return func(int64, bool) int64 { return int64(given() - start) }
	case first != first.Round(0): // it carries a monotonic reading
		return withSuspends(sinceNow(), boottime)
	}
	return byWall(nanoseconds(first))
}

// withSuspends is mono, a clock that is cheap to read but stands still while
// the machine is suspended, with what boot, which costs a system call, says
// was slept. At the start mono is read first, later boot: so the sleep found is
// never too long, however long this process stood still between the two.
func withSuspends(mono, boot func() int64) measure {
	read := mono()
	start := boot() - read
	var slept int64
	return func(_ int64, exact bool) int64 {
		now := mono()
		if exact || now-read >= int64(time.Second) {
			asleep := boot() - start
			now = mono()
			slept, read = max(slept, asleep-now), now
		}
		return now + slept
	}
}

// byWall takes what the wall advanced for elapsed, and its steps back for none.
func byWall(last int64) measure {
	var sum int64
	return func(wall int64, _ bool) int64 {
		sum += max(0, wall-last)
		last = wall
		return sum
	}
}

// sinceNow is the runtime's monotonic clock, from now on.
func sinceNow() func() int64 {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }
}

// boottime reads CLOCK_BOOTTIME: what passed since the machine booted,
// suspended or not. Linux has had it since 2.6.39; without it no sleep is seen.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}
