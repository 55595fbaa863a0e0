package engine_test

import (
	"context"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// Going back to a moment, and later to a snapshot of the branch that was left: what
// died on both branches beside the snapshot did not live there, and is free.
func TestBackToAnotherBranch(t *testing.T) {
	defer recoverStop(t)
	s := newSim(t, config{volumes: true, alone: true}, mem.New(512<<10, 256<<20), 5)
	s.must("create", second(s.e.CreateVolume(tester, "d", smallSize)))
	write := func(value byte) {
		v := s.open("d")
		defer v.Close()
		s.must("write", v.WriteAt([]byte{value}, 0))
	}
	settle := func() {
		before := atLSN(s.e.Status().LastLSN)
		_, err := s.e.Prune(tester, "d", engine.PruneOptions{Before: &before})
		s.must("prune", err)
		for s.e.DrainStep() {
		}
		s.must("checkpoint", s.e.Checkpoint())
		for s.e.MoreToDo() {
			s.must("checkpoint", s.e.Checkpoint())
		}
		checkClean(t, s)
	}
	write(1)
	s.must("checkpoint", s.e.Checkpoint())
	past := s.e.Status().LastLSN
	write(2)
	s.must("snapshot", second(s.e.Snapshot(tester, "d", "s")))
	s.must("rollback", second(s.e.Rollback(tester, "d", atLSN(past), false)))
	write(3)
	settle()
	if lines := len(s.e.Rollbacks(1)); lines != 0 { // the snapshot lies on the branch that was left
		t.Errorf("%d lines are left beside the last one", lines)
	}
	s.must("rollback", second(s.e.Rollback(tester, "d", when.Spec{Kind: when.Snapshot, Name: "s"}, false)))
	write(4)
	settle()
	s.must("destroy", second(s.e.DestroySnapshot(tester, "d", "s")))
	settle()
	s.must("close", s.e.Close(context.Background()))
}
