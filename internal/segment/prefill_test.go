package segment

import (
	"testing"
	"testing/synctest"
)

// prefillOptions make the log fill what lies ahead in small steps.
func prefillOptions(s *tapStore) Options {
	o := testOptions(s)
	o.MaxFrame = 8
	return o
}

func TestSmallSyncsPrefill(t *testing.T) {
	for _, c := range []struct {
		blocks int
		fills  bool
	}{{1, true}, {4, true}, {14, false}} {
		synctest.Test(t, func(t *testing.T) {
			s := newTap(16 << 10)
			o := prefillOptions(s)
			o.MaxFrame = 16
			l := create(t, o)
			for range 200 {
				must(t, l.Commit(appendOp(t, l, "small", piece(newRand(1), Data, c.blocks))))
				synctest.Wait()
			}
			if fills := s.writes.Load() > 0; fills != c.fills {
				t.Errorf("syncs of %d blocks: %d writes", c.blocks, s.writes.Load())
			}
			if ahead := l.room.prefill.next - l.openBlock; c.fills && ahead < aheadOf {
				t.Errorf("syncs of %d blocks: %d blocks ahead are filled", c.blocks, ahead)
			}
			l.Abort()
		})
	}
}

// Frames that come to where zeros are being written wait, and are written over
// them.
func TestPrefillComesBeforeFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(2048)
		l := create(t, prefillOptions(s))
		from := l.Cut()
		release := s.hold("write")
		const ops = 200
		done := 0
		commit := func() {
			must(t, l.Commit(appendOp(t, l, "small", piece(newRand(1), Data, 1))))
			done++
		}
		for !l.room.prefill.pays() {
			commit()
		}
		synctest.Wait() // now zeros are on their way
		go func() {
			for done < ops {
				commit()
			}
		}()
		synctest.Wait()
		if done == ops {
			t.Fatalf("%d commits returned while zeros are on their way", done)
		}
		release()
		synctest.Wait()
		if done != ops {
			t.Fatalf("%d of %d commits returned", done, ops)
		}
		l.Abort()
		got, _, err := readLog(t, s, from, ScanOptions{})
		must(t, err)
		if len(got) != ops {
			t.Errorf("%d of %d operations are there", len(got), ops)
		}
		verifyPayload(t, got, storeRead(s))
	})
}

// Whoever stops the log while zeros are being written waits for them.
func TestStopDuringPrefill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTap(2048)
		l := create(t, prefillOptions(s))
		release := s.hold("write")
		for !l.room.prefill.pays() {
			must(t, l.Commit(appendOp(t, l, "small")))
		}
		synctest.Wait() // now zeros are on their way
		stopped := false
		go func() {
			l.Abort()
			stopped = true
		}()
		synctest.Wait()
		if stopped {
			t.Error("stopped under a call of the store")
		}
		release()
		synctest.Wait()
		if !stopped {
			t.Error("did not stop")
		}
	})
}
