package engine_test

import (
	"context"
	"slices"
	"testing"

	"varve/internal/engine"
	"varve/internal/oplog"
	"varve/internal/segstore/mem"
)

// A dataset that nothing changes keeps no records. When it changes again, its past
// is replayed from where records are still kept, and so its log is read.
func TestRecordsOfIdle(t *testing.T) {
	defer recoverStop(t)
	for _, checkpoints := range []int{1, 2, 3} {
		s := newSim(t, config{volumes: true, alone: true}, mem.New(512<<10, 256<<20), 5)
		write := func(name string, value byte) {
			v := s.open(name)
			defer v.Close()
			s.must("write", v.WriteAt([]byte{value}, 0))
		}
		s.must("create", second(s.e.CreateVolume(tester, "idle", smallSize)))
		s.must("checkpoint", s.e.Checkpoint())
		s.e.Abort()
		s.openEngine() // in another segment
		s.must("create", second(s.e.CreateVolume(tester, "busy", smallSize)))
		for i := range checkpoints {
			write("busy", byte(i))
			s.must("checkpoint", s.e.Checkpoint())
		}
		write("idle", 1)
		lsn := s.e.Status().LastLSN
		write("idle", 2)
		s.must("checkpoint", s.e.Checkpoint())
		s.must("reclaim", s.e.Reclaim(false))
		if segs, err := s.store.List(); err != nil || segs[0].Number == 1 {
			t.Fatalf("no segment went: %v, %v", segs, err)
		}
		for range 2 {
			m, err := s.e.Resolve("idle", atLSN(lsn))
			s.must("resolve", err)
			v, err := s.e.OpenView(m)
			s.must("view", err)
			got := make([]byte, 1)
			s.must("read", v.ReadAt(got, 0, nil))
			if got[0] != 1 {
				t.Fatalf("after %d checkpoints the past of an idle dataset shows %d", checkpoints, got[0])
			}
			v.Close()
			writes := []uint64{}
			s.must("log", s.e.Log(context.Background(), engine.LogQuery{Dataset: "idle"}, func(op *oplog.Op, wanted bool) error {
				if wanted && op.Kind == oplog.Write {
					writes = append(writes, op.LSN)
				}
				return nil
			}))
			if !slices.Equal(writes, []uint64{lsn, lsn + 1}) {
				t.Fatalf("after %d checkpoints the log of an idle dataset has the writes %v", checkpoints, writes)
			}
			s.e.Abort()
			s.openEngine()
		}
		checkClean(t, s)
		s.must("close", s.e.Close(context.Background()))
	}
}
