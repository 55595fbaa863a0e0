package redo_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/fs"
	"varve/internal/redo"
)

// What happens while an undo runs is repeated, and nothing of it is lost.
func TestUndoUnderWriters(t *testing.T) {
	for i := range 10 { // in some of them something happens just before the pause
		t.Run(fmt.Sprint(i), undoUnderWriter)
	}
}

func undoUnderWriter(t *testing.T) {
	w := newWorld(t)
	one, two := scene(w, 3)
	begin := w.last()
	for range 100 {
		one.step()
	}
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				ended <- n
				return
			default:
				mode := uint32(0o666)
				m, err := w.f.Create(two.c, two.dirs[0], fmt.Sprint("f", n), fs.SetAttr{Mode: &mode}, true, nil)
				if err == nil {
					_, _, err = w.f.Write(two.c, m.Handle, []byte(fmt.Sprint(n)), 5)
				}
				if err != nil {
					t.Error(err)
				}
				n++
			}
		}
	}()
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one")})
	close(stop)
	n := <-ended
	if r.Partial {
		t.Errorf("%+v", r)
	}
	paths := w.paths("home", w.last())
	for i := range n {
		if s := paths[fmt.Sprint("/three/f", i)]; !strings.Contains(s, fmt.Sprint(" size ", 5+len(fmt.Sprint(i)))) {
			t.Fatalf("file %d of %d is %q", i, n, s)
		}
	}
	for path := range paths {
		if strings.HasPrefix(path, "/one/") {
			t.Fatalf("%s is there", path)
		}
	}
}

// Clients that are faster than what is repeated do not keep an undo from ending, nor
// does it keep them waiting until it has: they take turns.
func TestUndoUnderFasterWriters(t *testing.T) {
	w := newWorld(t)
	one, _ := scene(w, 3)
	begin := w.last()
	for range 1000 {
		one.step()
	}
	var stop atomic.Bool
	var files atomic.Int64
	var writers sync.WaitGroup
	for hand := range 3 {
		writers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if _, err := w.f.Create(by("three"), w.root, fmt.Sprintf("h%d-%d", hand, n), fs.SetAttr{}, true, nil); err != nil {
					t.Error(err)
					return
				}
				files.Add(1)
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	grow := func(was, by int64, within time.Duration) bool {
		for begun := time.Now(); files.Load() < was+by; time.Sleep(time.Millisecond) {
			if time.Since(begun) > within {
				return false
			}
		}
		return true
	}
	// While 256 operations are repeated the clients do 600, but where they wait.
	waits, most, last := 0, 0, int64(0)
	tell := func(redo.Advance) {
		was := files.Load()
		switch waits++; {
		case grow(was, 1, 20*time.Millisecond):
			waits = 0
			grow(was, 600, 400*time.Millisecond)
		case was > last:
			waits = 1
		}
		most, last = max(most, waits), files.Load()
	}
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{Tell: tell}})
	stop.Store(true)
	writers.Wait()
	if most > 22 || r.Waited == 0 {
		t.Errorf("%d times 256 operations were repeated while clients waited, in %.3f s", most, r.Waited)
	}
	n := 0
	for path := range w.paths("home", w.last()) {
		if strings.HasPrefix(path, "/one/") {
			t.Fatalf("%s is there", path)
		}
		if strings.HasPrefix(path, "/h") {
			n++
		}
	}
	if t.Logf("%d files, in %.1f s; clients waited for %.3f s at most", n, r.Took, r.Waited); r.Partial || int64(n) != files.Load() {
		t.Errorf("%d of %d files: %+v", n, files.Load(), r)
	}
}
