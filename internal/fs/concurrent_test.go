package fs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
)

// steadyWorld is a world whose clock may be asked by many at a time.
func steadyWorld(t *testing.T) *world {
	w := newWorld(t)
	w.f.Close()
	w.ok(w.e.Close(t.Context()))
	var err error
	w.e, err = engine.Open(engine.Options{Store: w.store, CheckpointEvery: -1})
	w.ok(err)
	w.f = New(w.e, Options{Location: time.UTC})
	return w
}

// Many callers at once, over snapshots, checkpoints, views and rollbacks: no
// error but those that others' changes explain, and a pool that checks clean.
func TestConcurrent(t *testing.T) {
	w := steadyWorld(t)
	var wg sync.WaitGroup
	end := time.Now().Add(time.Second)
	var did atomic.Int64
	explained := []Code{CodeNone, CodeNoEnt, CodeExist, CodeNotDir, CodeIsDir, CodeNotEmpty, CodeInval, CodeStale, CodePerm, CodeNoData, CodeBusy}
	run := func(n int, fn func(rng *rand.Rand) error) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			for time.Now().Before(end) {
				err := fn(rng)
				if !slices.Contains(explained, CodeOf(err)) {
					t.Errorf("worker %d: %v", n, err)
					return
				}
				if err == nil {
					did.Add(1)
				}
			}
		})
	}
	for n := range 4 {
		x := &scripter{rng: rand.New(rand.NewPCG(uint64(n), 2)), who: []*Call{root}, modes: []uint32{0o755, 0o700}}
		run(n, func(*rand.Rand) error { return randomCall(w, x.step()) })
	}
	run(10, func(rng *rand.Rand) error {
		lsn := w.e.Status().LastLSN - rng.Uint64N(20)
		_, _, _, err := w.f.Readdir(root, at(w.root, max(lsn, 5)), 0, 50, true, nil)
		return err
	})
	run(11, func(rng *rand.Rand) error {
		time.Sleep(20 * time.Millisecond)
		if rng.IntN(3) > 0 {
			return w.e.Checkpoint()
		}
		_, err := w.e.Rollback(engine.Caller{}, "home", lsnSpec(w.e.Status().LastLSN-rng.Uint64N(30)), false)
		return err
	})
	wg.Wait()
	if n := did.Load(); n < 200 {
		t.Errorf("only %d calls did something", n)
	}
	report, err := w.e.Check(t.Context(), true, func(_, _ uint64) {})
	w.ok(err)
	if len(report.Damage) > 0 {
		t.Errorf("damage: %+v", report.Damage)
	}
}

// randomCall makes one call of a step, and returns its error; onVarve asks for
// more before it, which may have changed since.
func randomCall(w *world, s step) error {
	dir, name := w.root, s.a
	if i := len(s.a) - 1; i > 0 {
		h, _, err := w.f.Walk(root, "/home/"+s.a[:i-1])
		if err != nil {
			return err
		}
		dir, name = h, s.a[i:]
	}
	var err error
	switch s.do {
	case "mkdir":
		_, err = w.f.Mkdir(root, dir, name, mode(s.mode))
	case "rmdir":
		_, _, err = w.f.Rmdir(root, dir, name)
	case "remove":
		_, _, err = w.f.Remove(root, dir, name)
	case "rename":
		_, _, _, err = w.f.Rename(root, dir, name, w.root, s.b[:1])
	case "write":
		made, cerr := w.f.Create(root, dir, name, mode(s.mode), false, nil)
		if cerr != nil {
			return cerr
		}
		_, _, err = w.f.Write(root, made.Handle, s.content, s.off)
	case "truncate":
		h, _, _, lerr := w.f.Lookup(root, dir, name)
		if lerr != nil {
			return lerr
		}
		_, _, err = w.f.Setattr(root, h, SetAttr{Size: &s.off})
	case "list":
		_, _, _, err = w.f.Readdir(root, dir, 0, 50, true, nil)
	default:
		_, err = w.f.Create(root, dir, name, mode(s.mode), true, nil)
	}
	return err
}

// Who reads while a file is truncated, or removed, sees bytes that were in it,
// and no zeros.
func TestReadWhileItGoes(t *testing.T) {
	w := steadyWorld(t)
	full := bytes.Repeat([]byte("x"), 3*4096)
	for i := range 100 {
		name, half := fmt.Sprint("f", i), uint64(5000)
		f := w.file(w.root, name, string(full))
		var wg sync.WaitGroup
		var begun sync.WaitGroup
		begun.Add(2)
		for range 2 {
			wg.Go(func() {
				p := make([]byte, len(full))
				begun.Done()
				for {
					n, _, _, err := w.f.Read(root, f, p, 0)
					if CodeOf(err) == CodeStale {
						return
					}
					if err != nil || n != len(full) && n != int(half) || !bytes.Equal(p[:n], full[:n]) {
						t.Errorf("%d bytes, %v", n, err)
						return
					}
				}
			})
		}
		begun.Wait()
		if i%2 == 0 {
			_, _, err := w.f.Setattr(root, f, SetAttr{Size: &half})
			w.ok(err)
		}
		_, _, err := w.f.Remove(root, w.root, name)
		w.ok(err)
		wg.Wait()
	}
}

// A duplicate of an exclusive create, at the same time, finds the same file.
func TestExclusiveAtOnce(t *testing.T) {
	w := steadyWorld(t)
	for i := range 50 {
		name, v := fmt.Sprint("f", i), uint64(i)
		var handles [4]Handle
		var wg sync.WaitGroup
		for k := range handles {
			wg.Go(func() {
				made, err := w.f.Create(root, w.root, name, SetAttr{}, true, &v)
				if err != nil {
					t.Error(err)
				}
				handles[k] = made.Handle
			})
		}
		wg.Wait()
		for _, h := range handles {
			if h != handles[0] || h.Ino == 0 {
				t.Fatalf("made %+v", handles)
			}
		}
	}
}
