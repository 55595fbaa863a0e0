package segment

import (
	"bytes"
	"testing"
	"testing/synctest"

	"varve/internal/segstore"
)

// usedStore makes segments out of files that were others.
type usedStore struct{ *tapStore }

var usedBlock = bytes.Repeat([]byte("somebody's"), BlockSize/10+1)[:BlockSize]

func (s usedStore) Create(n uint64, c segstore.Content) error {
	if err := s.tapStore.Create(n, c); err != nil || c == segstore.Zeros {
		return err
	}
	for off := int64(0); off < s.SegmentSize(); off += BlockSize {
		if err := s.Store.WriteAt(n, usedBlock, off); err != nil {
			return err
		}
	}
	return nil
}

// blocksUsed counts what a segment still has of another.
func (s usedStore) blocksUsed(t *testing.T, n uint64) (used int) {
	t.Helper()
	p := make([]byte, BlockSize)
	for off := int64(0); off < s.SegmentSize(); off += BlockSize {
		must(t, s.Store.ReadAt(n, p, off))
		if bytes.Equal(p, usedBlock) {
			used++
		}
	}
	return used
}

// Nothing of what a file held as another segment is left in a segment that the log
// has filled; and after Wipe, in none. What the log holds is untouched.
func TestWipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usedStore{newTap(61)}
		l := create(t, testOptions(s))
		from := l.Cut()
		const ops = 20
		add := func() {
			for range ops { // 61 blocks are no multiple of these frames
				must(t, l.Commit(appendOp(t, l, "wide", piece(newRand(1), Data, 7))))
			}
			synctest.Wait()
		}
		add()
		for n := uint64(1); n < l.openSeg; n++ {
			if used := s.blocksUsed(t, n); used > 0 {
				t.Errorf("segment %d was left with %d blocks of what its file held", n, used)
			}
		}
		if l.openSeg == 1 || s.blocksUsed(t, l.openSeg) == 0 {
			t.Fatal("the test proves nothing")
		}
		must(t, l.Wipe())
		list, err := s.List()
		must(t, err)
		for _, x := range list {
			if used := s.blocksUsed(t, x.Number); used > 0 {
				t.Errorf("after Wipe segment %d has %d blocks of what its file held", x.Number, used)
			}
		}
		add()
		l.Abort()
		got, _, err := readLog(t, s.tapStore, from, ScanOptions{})
		must(t, err)
		if len(got) != 2*ops {
			t.Errorf("%d of %d operations are there", len(got), 2*ops)
		}
		verifyPayload(t, got, storeRead(s.tapStore))
	})
}

// slowZeros holds up writes of nothing but zeros.
type slowZeros struct {
	*tapStore
	begun, release chan struct{}
}

func (s slowZeros) WriteAt(n uint64, p []byte, off int64) error {
	if len(bytes.Trim(p, "\x00")) == 0 {
		s.begun <- struct{}{}
		<-s.release
	}
	return s.tapStore.WriteAt(n, p, off)
}

// A segment whose end is being wiped is not used again before that is over: the
// zeros would come to the frames of the next that has its file. Nor is all wiped.
func TestRetireAwaitsWipe(t *testing.T) {
	for name, do := range map[string]func(l *Log) error{
		"Retire": func(l *Log) error { return l.Retire(1) },
		"Wipe":   (*Log).Wipe,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { awaitsWipe(t, do) })
		})
	}
}

func awaitsWipe(t *testing.T, do func(l *Log) error) {
	s := slowZeros{newTap(61), make(chan struct{}), make(chan struct{})}
	l := create(t, testOptions(s))
	for l.Cut().Addr.Segment() == 1 {
		must(t, l.Commit(appendOp(t, l, "wide", piece(newRand(1), Data, 7))))
	}
	<-s.begun
	done := make(chan error, 1)
	go func() { done <- do(l) }()
	synctest.Wait()
	select {
	case err := <-done:
		t.Errorf("done while the end of segment 1 was being wiped: %v", err)
		done <- err
	default:
	}
	s.release <- struct{}{}
	must(t, <-done)
	go func() { // those of the segments after
		for range s.begun {
			s.release <- struct{}{}
		}
	}()
	must(t, l.Close())
	close(s.begun)
}
