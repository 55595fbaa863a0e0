package segment

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

// tapStore is a store in memory whose calls a test can hold or let fail.
type tapStore struct {
	*mem.Store
	mu      sync.Mutex
	tap     func(op string, seg uint64) error // called before each call
	writes  atomic.Int64
	durable atomic.Int64
	syncs   atomic.Int64
}

func newTap(segBlocks int64) *tapStore { return &tapStore{Store: mem.New(segBlocks*BlockSize, 0)} }

func (s *tapStore) set(tap func(op string, seg uint64) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tap = tap
}

func (s *tapStore) call(op string, seg uint64) error {
	s.mu.Lock()
	tap := s.tap
	s.mu.Unlock()
	if tap == nil {
		return nil
	}
	return tap(op, seg)
}

func (s *tapStore) ReadAt(n uint64, p []byte, off int64) error {
	if err := s.call("read", n); err != nil {
		return err
	}
	return s.Store.ReadAt(n, p, off)
}

func (s *tapStore) WriteAt(n uint64, p []byte, off int64) error {
	s.writes.Add(1)
	if err := s.call("write", n); err != nil {
		return err
	}
	return s.Store.WriteAt(n, p, off)
}

func (s *tapStore) WriteDurableAt(n uint64, p []byte, off int64) error {
	s.durable.Add(1)
	if err := s.call("durable", n); err != nil {
		return err
	}
	return s.Store.WriteDurableAt(n, p, off)
}

func (s *tapStore) Sync(n uint64) error {
	s.syncs.Add(1)
	if err := s.call("sync", n); err != nil {
		return err
	}
	return s.Store.Sync(n)
}

func (s *tapStore) Create(n uint64, c segstore.Content) error {
	if err := s.call("create", n); err != nil {
		return err
	}
	return s.Store.Create(n, c)
}

// hold makes the calls named wait until release.
func (s *tapStore) hold(ops ...string) (release func()) {
	gate := make(chan struct{})
	s.set(func(op string, _ uint64) error {
		if slices.Contains(ops, op) {
			<-gate
		}
		return nil
	})
	return func() {
		s.set(nil)
		close(gate)
	}
}

func TestCommittersShareASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(256)
		l := create(t, testOptions(s))
		rng := newRand(1)
		before := s.durable.Load() + s.syncs.Load()
		release := s.hold("durable", "sync")
		committed := make(chan uint64, 100)
		start := func() {
			lsn := appendOp(t, l, "", piece(rng, Data, 1))
			go func() {
				must(t, l.Commit(lsn))
				committed <- lsn
			}()
			synctest.Wait()
		}
		for range 30 { // the first leads, the others come while its sync runs
			start()
		}
		if n := len(committed); n != 0 || l.DurableLSN() != 0 {
			t.Fatalf("%d commits returned before any sync, durable lsn %d", n, l.DurableLSN())
		}
		release()
		synctest.Wait()
		if n := len(committed); n != 30 || l.DurableLSN() != 30 {
			t.Fatalf("%d commits returned, durable lsn %d", n, l.DurableLSN())
		}
		if n := s.durable.Load() + s.syncs.Load() - before; n != 2 {
			t.Errorf("30 commits took %d syncs, want one and one for all who waited", n)
		}
		must(t, l.Close())
	})
}

func TestAppendsGoOnDuringASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(1024)
		l := create(t, testOptions(s))
		rng := newRand(2)
		release := s.hold("durable", "sync")
		lsn := appendOp(t, l, "", piece(rng, Data, 1))
		done := make(chan error)
		go func() { done <- l.Commit(lsn) }()
		synctest.Wait()
		p := piece(rng, Data, 10)
		for range 40 {
			appendOp(t, l, "", p) // waits for nothing
		}
		synctest.Wait()
		if st := l.Stats(); st.Unwritten > 20*BlockSize || st.Unsynced < 400*BlockSize {
			t.Errorf("during the sync: %d bytes unwritten, %d unsynced", st.Unwritten, st.Unsynced)
		}
		release()
		must(t, <-done)
		must(t, l.Close())
	})
}

func TestAdmissionWaitsForPressure(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		synctest.Test(t, func(t *testing.T) {
			s := newTap(1024)
			o := testOptions(s)
			o.MaxUnwritten, o.MaxUnsynced = 64*BlockSize, 128*BlockSize
			l := create(t, o)
			release := s.hold(op)
			rng := newRand(3)
			p := piece(rng, Data, 10)
			var admitted atomic.Int64
			go func() {
				for range 100 {
					must(t, l.Admit(10, false))
					_, err := l.Append([]Piece{p}, nil)
					must(t, err)
					admitted.Add(10)
				}
			}()
			synctest.Wait()
			n := admitted.Load()
			if most := map[string]int64{"write": 64, "sync": 128}[op]; n > most || n < most/2 {
				t.Errorf("%s held: %d blocks appended, the limit is %d", op, n, most)
			}
			if l.TryAdmit(10) {
				t.Errorf("%s held: admitted by who must not wait", op)
			}
			release()
			synctest.Wait()
			if !l.TryAdmit(10) {
				t.Errorf("%s released: not admitted", op)
			}
			l.Release(10)
			if n := admitted.Load(); n != 1000 {
				t.Errorf("%s released: %d blocks appended", op, n)
			}
			must(t, l.Close())
		})
	}
}

func TestWhoHoldsBlocksMayAskForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions(newTap(1024))
		o.MaxUnwritten = 16 * BlockSize
		l := create(t, o)
		must(t, l.Admit(14, false))
		must(t, l.Admit(14, false))
		_, err := l.Append([]Piece{piece(newRand(4), Data, 5)}, nil)
		must(t, err)
		must(t, l.Admit(14, false)) // only the open frame could ease the pressure
		l.Release(14)
		l.Release(14)
		l.Release(9)
		if h := l.Stats().Held; h != 0 {
			t.Errorf("%d blocks held", h)
		}
		must(t, l.Close())
	})
}

func TestFailStop(t *testing.T) {
	cause := fail.New(fail.IO, "the disk is on fire")
	for _, op := range []string{"write", "durable", "sync"} {
		t.Run(op, func(t *testing.T) {
			s := newTap(256)
			l := create(t, testOptions(s))
			rng := newRand(5)
			good := appendOp(t, l, "", piece(rng, Data, 1))
			must(t, l.Commit(good))
			p := piece(rng, Data, 2)
			if op != "durable" { // more than one frame takes a write and a sync
				appendOp(t, l, "", piece(rng, Data, 10))
				l.Cut()
			}
			pieces := []Piece{p}
			must(t, l.Admit(2, false))
			lsn, err := l.Append(pieces, &note{})
			must(t, err)
			s.set(func(got string, _ uint64) error {
				if got == op {
					return cause
				}
				return nil
			})
			err = l.Commit(lsn)
			if !fail.Is(err, fail.FailStopped) || !errors.Is(err, cause) {
				t.Fatalf("commit: %v", err)
			}
			says(t, err, "stopped taking writes at lsn ", "the disk is on fire", "reads go on; see docs/operations.md#fail-stop")
			s.set(nil) // the disk recovers; the log must not believe it
			calls := s.durable.Load() + s.syncs.Load() + s.writes.Load()
			for name, call := range map[string]func() error{
				"Commit":    func() error { return l.Commit(lsn) },
				"CommitAll": l.CommitAll,
				"Admit":     func() error { return l.Admit(1, true) },
				"Append":    func() error { _, err := l.Append(nil, &note{}); return err },
				"Written":   func() error { return l.Written(l.Cut().Seq) },
				"SuperRoot": func() error { _, err := l.SuperRoot(nil); return err },
				"Retire":    func() error { return l.Retire(0) },
				"Err":       l.Err,
			} {
				if name == "Written" && op == "sync" {
					continue // those frames were written
				}
				if err := call(); !fail.Is(err, fail.FailStopped) {
					t.Errorf("%s after the failure: %v", name, err)
				}
			}
			must(t, l.Commit(good)) // that one is durable all the same
			b := make([]byte, 2*BlockSize)
			must(t, l.ReadAt(pieces[0].Addr, b))
			if !bytes.Equal(b, p.Data) {
				t.Error("a piece that was never synced reads back differently")
			}
			if n := s.durable.Load() + s.syncs.Load() + s.writes.Load(); n != calls {
				t.Errorf("%d calls of the store after the failure", n-calls)
			}
			if d := l.DurableLSN(); d != good {
				t.Errorf("durable lsn %d, want %d", d, good)
			}
			if err := l.Close(); !fail.Is(err, fail.FailStopped) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func says(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestFailureReleasesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(256)
		o := testOptions(s)
		o.MaxUnsynced = 32 * BlockSize
		l := create(t, o)
		gate := make(chan struct{})
		s.set(func(op string, _ uint64) error {
			if op == "durable" || op == "sync" {
				<-gate
				return fail.New(fail.IO, "gone")
			}
			return nil
		})
		errs := make(chan error, 10)
		for i := range 4 {
			lsn := appendOp(t, l, "", piece(newRand(uint64(i)), Data, 5))
			go func() { errs <- l.Commit(lsn) }()
			synctest.Wait()
		}
		go func() { errs <- l.Admit(20, false) }()
		go func() { _, err := l.SuperRoot(nil); errs <- err }()
		synctest.Wait()
		if len(errs) != 0 {
			t.Fatalf("returned early: %v", <-errs)
		}
		close(gate)
		for range 6 {
			if err := <-errs; !fail.Is(err, fail.FailStopped) {
				t.Errorf("a waiter got %v", err)
			}
		}
	})
}

func TestFailedSegmentIsNoFailure(t *testing.T) {
	s := newTap(64)
	l := create(t, testOptions(s))
	s.set(func(op string, _ uint64) error {
		if op == "create" {
			return fail.New(fail.NoSpace, "full")
		}
		return nil
	})
	rng := newRand(6)
	n := 0
	for {
		err := l.Admit(5, false)
		if fail.Is(err, fail.NoSpace) {
			break
		}
		must(t, err)
		_, err = l.Append([]Piece{piece(rng, Data, 5)}, nil)
		must(t, err)
		n++
	}
	if n == 0 || l.Err() != nil {
		t.Fatalf("%d appends, then %v", n, l.Err())
	}
	must(t, l.CommitAll())
	s.set(nil)
	must(t, l.Admit(5, false))
	must(t, l.Close())
}

// What was appended beyond all admission finds a segment too, or stops the log
// rather than half-happen.
func TestAppendBeyondAdmission(t *testing.T) {
	s := newTap(64)
	l := create(t, testOptions(s))
	from := l.Cut()
	p := piece(newRand(1), Data, 10)
	add := func() error {
		_, err := l.Append([]Piece{p}, &note{})
		return err
	}
	for range 50 {
		must(t, add())
	}
	must(t, l.CommitAll())
	s.set(func(op string, _ uint64) error {
		if op == "create" {
			return fail.New(fail.NoSpace, "full")
		}
		return nil
	})
	var err error
	n := 50
	for ; err == nil; n++ {
		err = add()
	}
	if !fail.Is(err, fail.FailStopped) || !fail.Is(l.Err(), fail.FailStopped) || n > 100 {
		t.Fatalf("after %d appends: %v", n, err)
	}
	l.Abort()
	ops, _, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	if len(ops) < 50 || len(ops) > n {
		t.Errorf("%d operations of %d", len(ops), n)
	}
}

func TestMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(256)
		o := testOptions(s)
		o.MarkerDelay = 50 * time.Millisecond
		l := create(t, o)
		start := l.Cut()
		rng := newRand(7)
		markers := func(want int64, when string) {
			t.Helper()
			synctest.Wait()
			if n := l.Stats().Markers; n != want {
				t.Fatalf("%s: %d markers, want %d", when, n, want)
			}
		}
		must(t, l.Commit(appendOp(t, l, "", piece(rng, Data, 1))))
		time.Sleep(49 * time.Millisecond)
		markers(0, "early")
		must(t, l.Commit(appendOp(t, l, "")))
		time.Sleep(49 * time.Millisecond)
		markers(0, "busy since")
		time.Sleep(2 * time.Millisecond)
		markers(1, "idle")
		time.Sleep(time.Minute)
		markers(1, "a marker follows no marker")
		lsn := appendOp(t, l, "")
		time.Sleep(time.Minute)
		markers(1, "something waits for a commit")
		must(t, l.Commit(lsn))
		time.Sleep(time.Minute)
		markers(2, "after the commit")
		must(t, l.Commit(appendOp(t, l, "")))
		must(t, l.Close())
		var last Frame
		_, err := Scan(s, testPool, start, ScanOptions{}, func(f *Frame) error { last = *f; return nil })
		must(t, err)
		if last.Kind != FrameMarker || last.Through != last.Position.Seq-1 {
			t.Fatalf("the closed log ends with %+v", last)
		}
	})
}

func TestClosedLogRefuses(t *testing.T) {
	s := newTap(64)
	l := create(t, testOptions(s))
	must(t, l.Close())
	for name, err := range map[string]error{
		"Admit": l.Admit(1, true), "Close": l.Close(), "Err": l.Err(),
		"Append": func() error { _, err := l.Append(nil, &note{}); return err }(),
	} {
		if !fail.Is(err, fail.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.durable.Load() != 2 {
		t.Errorf("%d durable writes, want the opening frame and a marker", s.durable.Load())
	}
}

// A log that is aborted writes nothing, whatever is in flight.
func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(256)
		l := create(t, testOptions(s))
		release := s.hold("durable", "sync")
		errs := make(chan error, 3)
		for range 3 {
			lsn := appendOp(t, l, "", piece(newRand(8), Data, 1))
			go func() { errs <- l.Commit(lsn) }()
			synctest.Wait()
		}
		pieces := []Piece{piece(newRand(9), Data, 1)}
		_, err := l.Append(pieces, nil)
		must(t, err)
		go l.Abort()
		synctest.Wait()
		release()
		for range 3 {
			if err := <-errs; !fail.Is(err, fail.Canceled) {
				t.Errorf("commit: %v", err)
			}
		}
		synctest.Wait()
		if n := s.durable.Load() + s.writes.Load(); n != 2 {
			t.Errorf("%d writes, want the opening frame and one frame", n)
		}
		if err := l.ReadAt(pieces[0].Addr, make([]byte, BlockSize)); !fail.Is(err, fail.Canceled) {
			t.Errorf("reading what is lost: %v", err)
		}
	})
}
