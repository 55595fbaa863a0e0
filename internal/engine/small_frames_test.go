package engine_test

import (
	"testing"
	"time"
)

// TestAgingSingleFrames overwrites a pool that is 70 % live ten times, each write
// in a frame of its own, whose header takes as much room as its payload: the
// cleaner has to give the headers back.
func TestAgingSingleFrames(t *testing.T) {
	const capacity, step = 40 << 20, 256 << 10
	times := 10
	if crashes() < 1000 { // under the race detector
		times = 1
	}
	t.Parallel()
	a := newAged(t, capacity, capacity*70/100/largeWrite*largeWrite, 1<<20)
	a.flushes = true
	a.set("history", "30m")
	a.set("keep", "none")
	for at := range a.now { // as much as 140 % of the capacity, with the headers
		a.write(at, 1)
		if at%(step/block) == 0 {
			a.clock.pass(45 * time.Minute)
			a.tend()
		}
	}
	before, filled := a.e.Cleaned(), a.e.Status()
	for range times * capacity / step {
		a.random(step, true)
		a.clock.pass(45 * time.Minute)
		a.tend()
	}
	a.end(before, filled, 2.3, 0) // what lives is moved once, out of its frames
}
