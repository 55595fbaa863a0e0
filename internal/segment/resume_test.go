package segment

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
)

// A process that was killed while it wrote a super root may leave it whole but
// not durable: Resume has to sync it, though it is whole.
func TestFoundSuperRootIsMadeDurable(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	from := l.Cut()
	appendOp(t, l, "op")
	_, err := l.SuperRoot(from.Append(nil))
	must(t, err)
	l.Abort()
	must(t, s.SetHint(nil)) // the process did not get that far
	root, err := FindSuperRoot(s, testPool)
	must(t, err)
	tail, err := Scan(s, testPool, from, ScanOptions{Attested: root.Seq}, func(*Frame) error { return nil })
	must(t, err)
	if tail.Position != root.Position || !slices.Equal(tail.unsynced, []uint64{root.Addr.Segment()}) {
		t.Fatalf("tail %+v after super root %+v", tail, root.Position)
	}
	tap := &tapStore{Store: s}
	l, err = Resume(testOptions(tap), tail)
	must(t, err)
	if tap.syncs.Load() != 1 {
		t.Errorf("%d syncs in Resume", tap.syncs.Load())
	}
	l.Abort()
}

// While a super root is on its way to the disk, later frames may be written,
// into later segments too. Their headers name the one before.
func TestNewestSuperRootIsFoundBehindLaterFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(64)
		l := create(t, testOptions(s))
		_, err := l.SuperRoot([]byte("first"))
		must(t, err)
		release := s.hold("durable")
		done := make(chan Addr)
		go func() {
			a, err := l.SuperRoot([]byte("second"))
			must(t, err)
			done <- a
		}()
		synctest.Wait()
		for range 30 {
			appendOp(t, l, "", piece(newRand(1), Data, 5))
		}
		must(t, l.Commit(0))
		l.Cut()
		synctest.Wait() // all but the super root is written
		release()
		a := <-done
		l.Abort()
		must(t, s.SetHint(nil))
		last := l.last.Addr.Segment()
		if last < a.Segment()+2 {
			t.Fatalf("the log is in segment %d, the super root at %v", last, a)
		}
		r, err := FindSuperRoot(s, testPool)
		must(t, err)
		if r.Addr != a || !bytes.HasPrefix(r.Payload, []byte("second\x00")) {
			t.Errorf("found %q at %v, not the one at %v", bytes.TrimRight(r.Payload, "\x00"), r.Addr, a)
		}
	})
}

// A round may make more durable than it set out to. The waiter who was woken to
// lead the next round then has nothing to do, and must wake another.
func TestTheTokenIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(256)
		o := testOptions(s)
		o.MaxFrame = 64
		l := create(t, o)
		gate := make(chan struct{})
		var held atomic.Bool
		s.set(func(op string, _ uint64) error {
			if op == "write" && held.CompareAndSwap(false, true) {
				<-gate
			}
			return nil
		})
		done := make(chan uint64, 3)
		commit := func(lsn uint64) {
			go func() {
				must(t, l.Commit(lsn))
				done <- lsn
			}()
			synctest.Wait()
		}
		commit(appendOp(t, l, "long", piece(newRand(1), Data, 30), piece(newRand(1), Data, 30))) // leads; its write is held
		second := appendOp(t, l, "written meanwhile")
		l.Cut()
		commit(second)
		commit(appendOp(t, l, "still open"))
		if len(done) != 0 {
			t.Fatal("a commit returned early")
		}
		close(gate)
		synctest.Wait()
		if len(done) != 3 {
			t.Errorf("%d of 3 commits returned", len(done))
		}
		l.Abort()
	})
}

func TestResumeClearsWhatLiesBeyond(t *testing.T) {
	const size = 64 * BlockSize
	s := mem.New(size, 0)
	l := create(t, testOptions(s))
	from := l.Cut()
	appendOp(t, l, "kept", piece(newRand(1), Data, 3))
	must(t, l.Close())
	for _, n := range []uint64{50, 51, 60} { // made ready, never used
		must(t, s.Create(n, segstore.Zeros))
	}
	s.SetCapacity(4 * size) // full: there is no room for another
	ops, tail, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	if !slices.Equal(tail.Leftover, []uint64{50, 51, 60}) {
		t.Fatalf("leftover %v", tail.Leftover)
	}
	l, err = Resume(testOptions(s), tail)
	must(t, err)
	if p := l.Cut(); p.Addr != MakeAddr(61, 0) || p.Seq != tail.Seq+1 || p.LastLSN != 1 {
		t.Errorf("the log goes on with %+v", p)
	}
	var left []uint64
	list, err := s.List()
	must(t, err)
	for _, seg := range list {
		left = append(left, seg.Number)
	}
	if !slices.Equal(left, []uint64{1, 61}) {
		t.Errorf("segments %v are left", left)
	}
	if lsn := appendOp(t, l, "more"); lsn != 2 {
		t.Errorf("next lsn %d", lsn)
	}
	must(t, l.Close())
	again, _, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	if len(ops) != 1 || len(again) != 2 {
		t.Errorf("%d operations before, %d after", len(ops), len(again))
	}
}

// What a recovery has discarded stays discarded, also where the block that was
// missing can be read again.
func TestDiscardedFrameStaysDiscarded(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	from := l.Cut()
	must(t, l.Commit(appendOp(t, l, "kept")))
	appendOp(t, l, "discarded", piece(newRand(1), Data, 3))
	must(t, l.Written(l.Cut().Seq+1))
	l.Abort()
	ops, _, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	if len(ops) != 2 {
		t.Fatalf("%d operations were written", len(ops))
	}
	at := ops[1].pieces[0].Addr
	block := make([]byte, BlockSize)
	must(t, s.ReadAt(at.Segment(), block, at.offset()))
	must(t, s.WriteAt(at.Segment(), make([]byte, BlockSize), at.offset()))
	_, tail, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	if tail.LastLSN != 1 || tail.Discarded == "" {
		t.Fatalf("a frame that is not whole counts: %+v", tail)
	}
	l, err = Resume(testOptions(s), tail)
	must(t, err)
	must(t, l.Commit(appendOp(t, l, "after")))
	l.Abort()
	must(t, s.WriteAt(at.Segment(), block, at.offset()))
	ops, _, err = readLog(t, s, from, ScanOptions{})
	must(t, err)
	if len(ops) != 2 || ops[1].text != "after" {
		t.Errorf("the log says %+v", ops)
	}
}

// An opening costs the pool a few blocks, not a segment.
func TestResumeGivesBackTheRest(t *testing.T) {
	disk := vfs.NewMem(1)
	must(t, dir.Make(disk, "p", 256*BlockSize, 1<<30))
	used := func() int64 {
		s, err := dir.Open(disk, "p", dir.Options{ReadOnly: true})
		must(t, err)
		defer s.Close()
		sp, err := s.Space()
		must(t, err)
		return sp.Used
	}
	open := func(first bool) {
		s, err := dir.Open(disk, "p", dir.Options{})
		must(t, err)
		defer s.Close()
		o := testOptions(s)
		var l *Log
		if first {
			l, err = Create(o)
		} else {
			root, ferr := FindSuperRoot(s, o.PoolID)
			must(t, ferr)
			tail, serr := Scan(s, o.PoolID, root.Position, ScanOptions{Attested: root.Seq}, func(*Frame) error { return nil })
			must(t, serr)
			l, err = Resume(o, tail)
		}
		must(t, err)
		_, err = l.SuperRoot([]byte("root"))
		must(t, err)
		must(t, l.Close())
	}
	open(true)
	open(false)
	before := used()
	for range 20 {
		open(false)
	}
	if grown := used() - before; grown > 20*16*BlockSize {
		t.Errorf("20 openings cost %d blocks", grown/BlockSize)
	}
}
