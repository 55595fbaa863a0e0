package engine_test

import (
	"strconv"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
)

// What a dry run of prune, and of destroying some snapshots, says to come back is
// what comes back: on one line exactly, and with clones and rollbacks that or more,
// because these may take over what was others'.
func TestDryRun(t *testing.T) {
	for _, lines := range []bool{false, true} {
		t.Run("clones and rollbacks "+strconv.FormatBool(lines), func(t *testing.T) {
			said := int64(0)
			for seed := range uint64(40) {
				said += dryRuns(t, seed, lines)
			}
			if t.Logf("%d blocks were said to come back", said/block); said == 0 {
				t.Error("nothing ever was")
			}
		})
	}
}

func dryRuns(t *testing.T, seed uint64, lines bool) (total int64) {
	s := newSim(t, config{volumes: true, alone: true, baseOps: 20}, mem.New(1<<20, 1<<30), seed)
	defer recoverStop(t)
	s.create()
	for range 12 {
		for range 10 {
			names := liveNames(s.m.now())
			name := names[s.rng.IntN(len(names))]
			switch pick := s.rng.IntN(20); {
			case pick < 12:
				s.write(name)
			case pick < 14:
				s.trim(name)
			case pick < 18 || !lines:
				s.snapshot(name)
			case pick < 19 && len(names) < 4:
				s.clone(name)
			default:
				s.rollback(name)
			}
		}
		name := liveNames(s.m.now())[0]
		before := s.freeData()
		do := s.drop
		if s.rng.IntN(2) == 0 {
			do = s.pruneSome
		}
		said := do(name)
		came := s.freeData() - before
		if came != said && !lines || came < said {
			t.Fatalf("seed %d, %s: %d blocks were said to come back; it is %d", seed, name, said/block, came/block)
		}
		total += said
	}
	was := t.Failed()
	checkClean(t, s)
	if t.Failed() && !was {
		t.Fatalf("seed %d", seed)
	}
	s.e.Abort()
	return total
}

// freeData is how much data nobody needs when nothing is left to file and no view
// is open: bytes.
func (s *sim) freeData() int64 {
	s.e.DropViews()
	s.rest()
	s.rest() // what a view kept
	s.must("flush", s.e.Flush())
	n, err := s.e.FreeData()
	s.must("inspect", err)
	return n * block
}

// pruneSome moves a horizon, and returns what a dry run said.
func (s *sim) pruneSome(name string) int64 {
	id, _ := s.m.now().named(name)
	lsn := s.moment(id)
	before := atLSN(lsn)
	plan, err := s.e.Prune(simCaller, name, engine.PruneOptions{Before: &before, DryRun: true})
	s.must("prune", err)
	s.pruneTo(id, name, lsn)
	return plan[0].Bytes
}

// drop destroys some snapshots, and returns what was said to come back.
func (s *sim) drop(name string) int64 {
	id, _ := s.m.now().named(name)
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	var names []string
	for _, x := range snaps {
		if s.rng.IntN(2) == 0 && len(x.Holds) == 0 {
			names = append(names, x.Name)
		}
	}
	said, err := s.e.Reclaimable(name, names)
	s.must("reclaimable", err)
	for _, snap := range names {
		s.run("destroy snapshot", s.m.now(), func() { s.m.setSnap(snapKey(id, snap), 0) }, func() error {
			return second(s.e.DestroySnapshot(simCaller, name, snap))
		})
	}
	return said
}
