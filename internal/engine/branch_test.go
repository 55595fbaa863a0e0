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
	put := func(value byte, at uint64) {
		v := s.open("d")
		defer v.Close()
		s.must("write", v.WriteAt([]byte{value}, at*block))
	}
	write := func(value byte) { put(value, 0) }
	write(1)
	put(1, 5) // which is left as it is on one branch
	s.must("checkpoint", s.e.Checkpoint())
	past := s.e.Status().LastLSN
	write(2)
	put(2, 5) // and not on the other
	s.must("snapshot", second(s.e.Snapshot(tester, "d", "s")))
	s.must("rollback", second(s.e.Rollback(tester, "d", atLSN(past), false)))
	write(3)
	settle(t, s, "d")
	if lines := len(s.e.Rollbacks(1)); lines != 0 { // the snapshot lies on the branch that was left
		t.Errorf("%d lines are left beside the last one", lines)
	}
	s.must("rollback", second(s.e.Rollback(tester, "d", when.Spec{Kind: when.Snapshot, Name: "s"}, false)))
	write(4)
	settle(t, s, "d")
	s.must("destroy", second(s.e.DestroySnapshot(tester, "d", "s")))
	settle(t, s, "d")
	s.must("close", s.e.Close(context.Background()))
}

// settle makes a dataset forget all but its present and its snapshots, and does all
// that this leaves to do.
func settle(t *testing.T, s *sim, name string) {
	t.Helper()
	before := atLSN(s.e.Status().LastLSN)
	_, err := s.e.Prune(tester, name, engine.PruneOptions{Before: &before})
	s.must("prune", err)
	for s.e.DrainStep() {
	}
	s.must("checkpoint", s.e.Checkpoint())
	for s.e.MoreToDo() {
		s.must("checkpoint", s.e.Checkpoint())
	}
	checkClean(t, s)
}

// A clone takes over its origin, of which a root had just gone that lay at a moment at
// which the clone has one: what that root kept is free, and not taken for the clone's.
func TestRootOfOriginGoes(t *testing.T) {
	defer recoverStop(t)
	s := newSim(t, config{volumes: true, alone: true}, mem.New(512<<10, 256<<20), 5)
	write := func(name string) {
		v := s.open(name)
		defer v.Close()
		s.must("write", v.WriteAt([]byte{1}, 0))
	}
	s.must("create", second(s.e.CreateVolume(tester, "origin", smallSize)))
	empty := atLSN(s.e.Status().LastLSN)
	write("origin")
	s.must("clone", second(s.e.Clone(tester, "origin", empty, "clone")))
	first := atLSN(s.e.Status().LastLSN)
	s.must("destroy", second(s.e.Destroy(tester, "origin", true))) // its last root is of the same moment as the clone's first
	for s.e.DrainStep() {
	}
	for range 2 {
		s.must("checkpoint", s.e.Checkpoint())
	}
	if rep, err := s.e.Check(context.Background(), false, nil); err != nil || rep.Datasets != 1 {
		t.Errorf("%d datasets are left, %v", rep.Datasets, err)
	}
	write("clone")
	s.must("rollback", second(s.e.Rollback(tester, "clone", first, false)))
	settle(t, s, "clone")
	s.must("close", s.e.Close(context.Background()))
}
