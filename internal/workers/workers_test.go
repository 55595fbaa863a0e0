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

// One line has at most half of the workers, whatever it has to do: another is
// served at once. All its jobs run in the end.
func TestHalfForOne(t *testing.T) {
	w := New[job](4)
	defer w.Stop()
	var a, b Line[job]
	began, release, ended := make(chan int, 100), make(chan struct{}), make(chan struct{})
	const jobs = 20
	for i := range jobs {
		w.Submit(&a, func() { began <- i; <-release; ended <- struct{}{} })
	}
	<-began
	<-began
	served := make(chan struct{})
	w.Submit(&b, func() { close(served) })
	<-served
	if n := len(began); n > 0 {
		t.Errorf("%d jobs of one line run at a time", 2+n)
	}
	close(release)
	for range jobs {
		<-ended
	}
}
