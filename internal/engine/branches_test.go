package engine_test

import (
	"context"
	"fmt"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// A volume that goes back again and again, and of which every branch is kept by a
// snapshot: to where it began, or each time to a moment between the branches, so
// that the gaps do not lie in each other.
func TestManyBranches(t *testing.T) {
	for _, c := range []struct {
		name   string
		ladder bool
		gaps   int
	}{{"from one moment", false, 1}, {"each from its own", true, branches}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defer recoverStop(t)
			b := newBranched(t)
			for i := 1; i <= branches; i++ {
				b.branch(i, c.ladder)
				if i%100 == 0 {
					if gaps := b.s.e.Gaps(1); gaps != min(i, c.gaps) {
						t.Errorf("%d branches: %d gaps", i, gaps)
					}
					checkClean(t, b.s)
					b.s.must("close", b.s.e.Close(context.Background()))
					b.s.openEngine()
				}
			}
			b.compare()
			for i := 1; i <= branches; i++ {
				b.s.must("destroy", second(b.s.e.DestroySnapshot(tester, "d", fmt.Sprintf("s%d", i))))
			}
			b.branch(branches+1, false)
			if gaps := b.s.e.Gaps(1); gaps != 1 {
				t.Errorf("%d gaps are left", gaps)
			}
			checkClean(t, b.s)
			b.s.must("close", b.s.e.Close(context.Background()))
			b.s.openEngine()
			checkClean(t, b.s)
			b.s.must("close", b.s.e.Close(context.Background()))
		})
	}
}

const branches = 400

// branched is a volume with branches.
type branched struct {
	s   *sim
	buf []byte
}

func newBranched(t *testing.T) *branched {
	b := &branched{newSim(t, config{volumes: true, alone: true}, mem.New(1<<20, 256<<20), 3), make([]byte, block)}
	b.s.must("create", second(b.s.e.CreateVolume(tester, "d", smallSize)))
	b.s.must("snapshot", second(b.s.e.Snapshot(tester, "d", "golden")))
	return b
}

// branch writes i, keeps that by a snapshot, and goes back.
func (b *branched) branch(i int, ladder bool) {
	to := "golden"
	if ladder {
		to = fmt.Sprintf("base%d", i)
		b.s.must("snapshot", second(b.s.e.Snapshot(tester, "d", to)))
	}
	v := b.s.open("d")
	b.buf[0], b.buf[1] = byte(i), byte(i>>8)
	b.s.must("write", v.WriteAt(b.buf, uint64(i%8)*block))
	v.Close()
	b.s.must("snapshot", second(b.s.e.Snapshot(tester, "d", fmt.Sprintf("s%d", i))))
	b.s.must("rollback", second(b.s.e.Rollback(tester, "d", when.Spec{Kind: when.Snapshot, Name: to}, false)))
	before := atLSN(b.s.e.Status().LastLSN)
	b.s.must("prune", second(b.s.e.Prune(tester, "d", engine.PruneOptions{Before: &before})))
	for b.s.e.DrainStep() {
	}
	for i := 0; i == 0 || b.s.e.MoreToDo(); i++ {
		b.s.must("checkpoint", b.s.e.Checkpoint())
	}
}

// compare reads every branch back.
func (b *branched) compare() {
	for i := 1; i <= branches; i++ {
		v, err := vol.Open(b.s.e, "d", &when.Spec{Kind: when.Snapshot, Name: fmt.Sprintf("s%d", i)}, tester, nil)
		b.s.must("open", err)
		b.s.must("read", v.ReadAt(b.buf, uint64(i%8)*block, nil))
		if v.Close(); b.buf[0] != byte(i) || b.buf[1] != byte(i>>8) {
			b.s.t.Errorf("snapshot s%d has %x", i, b.buf[:2])
		}
	}
}
