package engine_test

import (
	"context"
	"fmt"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// A thousand cycles of write, snapshot, clone, rollback and destroy leave
// nothing behind.
func TestCycles(t *testing.T) {
	defer recoverStop(t)
	conf := config{volumes: true, alone: true}
	s := newSim(t, conf, mem.New(512<<10, 256<<20), 7)
	_, err := s.e.CreateVolume(tester, "d", smallSize)
	s.must("create", err)
	buf := make([]byte, 4*block)
	write := func(name string, i int) {
		v := s.open(name)
		defer v.Close()
		buf[0], buf[1] = byte(i), byte(i>>8)
		s.must("write", v.WriteAt(buf, uint64(i*7%250)*block))
	}
	var most [2]int64 // bytes, of cycles 200 to 300, and 900 to 1,000
	for i := 1; i <= 1000; i++ {
		clone := fmt.Sprintf("c%d", i)
		write("d", i)
		s.must("snapshot", second(s.e.Snapshot(tester, "d", "s")))
		write("d", i+3)
		s.must("clone", second(s.e.Clone(tester, "d", when.Spec{Kind: when.Snapshot, Name: "s"}, clone)))
		write(clone, i+5)
		s.must("rollback", second(s.e.Rollback(tester, "d", when.Spec{Kind: when.Snapshot, Name: "s"}, false)))
		s.must("destroy", second(s.e.DestroySnapshot(tester, "d", "s")))
		s.must("destroy", second(s.e.Destroy(tester, clone, true)))
		before := atLSN(s.e.Status().LastLSN)
		_, err := s.e.Prune(tester, "d", engine.PruneOptions{Before: &before})
		s.must("prune", err)
		for s.e.DrainStep() {
		}
		for range 2 {
			s.must("checkpoint", s.e.Checkpoint())
		}
		s.must("reclaim", s.e.Reclaim(false))
		used := s.e.Status().UsedBytes
		switch {
		case i > 200 && i <= 300:
			most[0] = max(most[0], used)
		case i > 900:
			most[1] = max(most[1], used)
		}
		if i%100 == 0 {
			checkClean(t, s)
		}
	}
	t.Logf("at most %d KiB are used in cycles 200 to 300, %d KiB in 900 to 1,000", most[0]>>10, most[1]>>10)
	if most[1] > most[0]+most[0]/4 {
		t.Errorf("the store grows from %d to %d bytes", most[0], most[1])
	}
	s.must("close", s.e.Close(context.Background()))
}

// What a checkpoint frees the store may have when the next one is durable too:
// until then one of the last two super roots leads there.
func TestHandOver(t *testing.T) {
	defer recoverStop(t)
	s := newSim(t, config{volumes: true, alone: true}, mem.New(512<<10, 256<<20), 8)
	_, err := s.e.CreateVolume(tester, "d", smallSize)
	s.must("create", err)
	for i := range 20 {
		v := s.open("d")
		s.must("write", v.WriteAt(make([]byte, 4*block), 0))
		v.Close()
		before := atLSN(s.e.Status().LastLSN)
		_, err := s.e.Prune(tester, "d", engine.PruneOptions{Before: &before})
		s.must("prune", err)
		was := s.e.FreeCount()
		s.must("checkpoint", s.e.Checkpoint())
		if now, ready := s.e.FreeCount(), s.e.ReadyBlocks(); now == was || ready > was {
			t.Fatalf("round %d: %d blocks were free, %d are after a checkpoint, of which the store may have %d", i, was, now, ready)
		}
	}
	s.must("close", s.e.Close(context.Background()))
}
