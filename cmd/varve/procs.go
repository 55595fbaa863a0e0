package main

import (
	"os"
	"runtime"
)

// schedulers is how many processors of Go's scheduler a server has for each of
// the machine. A goroutine whose system call waits for the disk keeps its one
// until the runtime's monitor takes it away, tens of microseconds later, and
// where all are in use so the monitor never rests: some 7,000 times a second it
// interrupts who works. With as many more, somebody finds one free.
const schedulers = 2

// widenScheduler gives a server its processors, unless the environment says
// how many (GOMAXPROCS), and returns how many the machine has for it, as far as
// Go or that environment knows.
func widenScheduler() int {
	n := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(schedulers * n)
	}
	return n
}
