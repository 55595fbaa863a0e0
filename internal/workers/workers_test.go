package workers

import (
	"testing"
)

type job func()

func (j job) Run() { j() }

// A line that is never empty has room for what waits, not for all that was.
func TestSteadyLine(t *testing.T) {
	w := New[job](1)
	defer w.Stop()
	var l Line[job]
	const rounds = 10000
	began := make(chan int)
	submit := func(i int) { w.Submit(&l, func() { began <- i }) }
	submit(0)
	for i := range rounds {
		submit(i + 1) // before the one at work can end
		if got := <-began; got != i {
			t.Fatalf("job %d at the turn of %d", got, i)
		}
	}
	<-began
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := cap(l.jobs); n > 1024 {
		t.Errorf("room for %d jobs after %d of which two waited", n, rounds)
	}
}
