package engine_test

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"

	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

// configs are the ways to run one script; none may change what it means.
var configs = []config{
	{name: "plain"},
	{name: "small segments", segment: 512 << 10, frame: 64},
	{name: "tiny frames", segment: 1 << 20, frame: 40, checkpoint: 20},
	{name: "tiny cache", cache: 1 << 17, checkpoint: 30},
	{name: "checkpoint always", checkpoint: 1},
	{name: "checkpoint often, many bases", checkpoint: 4, baseOps: 1},
	{name: "reopened often", checkpoint: 15, reopen: 12, baseOps: 40},
	{name: "drained", checkpoint: 9, drain: 2},
	{name: "everything", segment: 512 << 10, frame: 40, cache: 1 << 17, checkpoint: 5, reopen: 20, drain: 3, baseOps: 25},
	{name: "views spill", cache: 1 << 17, checkpoint: 12, drain: 9, spill: true},
	{name: "no checkpoint but at close", reopen: 60},
	{name: "forgetful", segment: 512 << 10, checkpoint: 10, drain: 4, forget: 6, baseOps: 30},
	{name: "moved", segment: 512 << 10, checkpoint: 8, drain: 4, forget: 3, baseOps: 20, moves: true},
	{name: "moved, everything", segment: 512 << 10, frame: 40, cache: 1 << 17, checkpoint: 5, reopen: 25, drain: 3, forget: 3, baseOps: 15, moves: true},
	{name: "forgetful, everything", segment: 512 << 10, frame: 40, cache: 1 << 17, checkpoint: 5, reopen: 25, drain: 3, forget: 4, baseOps: 15},
}

func memStore(c config) segstore.Store {
	size := c.segment
	if size == 0 {
		size = 4 << 20
	}
	return mem.New(size, 8<<30)
}

// seeds returns how many random scripts to run: VARVE_SEEDS, or n.
func seeds(n int) int {
	if v, err := strconv.Atoi(os.Getenv("VARVE_SEEDS")); err == nil {
		return v
	}
	return n
}

// One script in every configuration: the head equals the model's after every
// step that is looked at, every moment reads back as it was, also from clones
// and after reopening, and the check finds nothing.
func TestMetamorphic(t *testing.T) {
	all := &tried{stats: map[string]int{}}
	t.Cleanup(func() { all.enough(t) })
	for seed := uint64(1); seed <= uint64(seeds(3)); seed++ {
		for _, c := range configs {
			t.Run(c.name+"/"+strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				s := newSim(t, c, memStore(c), seed)
				defer recoverStop(t)
				// A drain takes an LSN and so shifts the moments that the
				// script draws: those runs are scripts of their own.
				for i := range 220 {
					s.step()
					s.between()
					if i%20 == 0 {
						s.compareAll("live", 2)
					}
				}
				s.compareAll("live", 25)
				s.joinCheckpoint()
				s.settle("settled")
				s.rest()
				checkClean(t, s)
				s.must("close", s.e.Close(context.Background()))
				s.openEngine()
				s.compareAll("reopened", 25)
				s.must("close", s.e.Close(context.Background()))
				all.add(s.stats)
			})
		}
	}
}

// tried counts what the scripts did.
type tried struct {
	mu    sync.Mutex
	runs  int
	stats map[string]int
}

func (x *tried) add(stats map[string]int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runs++
	for what, n := range stats {
		x.stats[what] += n
	}
}

func (x *tried) enough(t *testing.T) {
	t.Logf("%d runs: %v", x.runs, x.stats)
	if x.runs < 3*len(configs) {
		return
	}
	for _, what := range []string{
		"write", "trim", "large trim", "snapshot", "clone", "rollback", "drain", "checkpoint", "reopen", "set",
		"file create", "mkdir", "symlink", "mknod", "link", "file remove", "rmdir", "file rename", "rename over",
		"setattr", "truncate", "xattr", "file write", "large remove", "large truncate", "large rename",
		"prune", "expire", "gone", "retire", "destroy snapshot", "segments retired at the beginning", "move", "segments moved",
	} {
		if x.stats[what] == 0 {
			t.Errorf("no script did %q", what)
		}
	}
}

// Every moment of a window, not a sample.
func TestEveryMoment(t *testing.T) {
	c := config{name: "every moment", segment: 1 << 20, checkpoint: 13, reopen: 45, drain: 7, baseOps: 30}
	s := newSim(t, c, memStore(c), 99)
	defer recoverStop(t)
	for range 160 {
		s.step()
		s.between()
	}
	s.compareAll("every moment", -1)
	s.must("close", s.e.Close(context.Background()))
}

func recoverStop(t *testing.T) {
	if r := recover(); r != nil {
		if s, ok := r.(stopped); ok {
			t.Fatal(s.err)
		}
		panic(r)
	}
}

// Whatever is forgotten, and in whatever order: the books are right after every
// few steps, also while lines wait to be buried.
func TestForgetting(t *testing.T) {
	booksHold(t, 8, func(seed uint64) config {
		return config{segment: 512 << 10, checkpoint: 5, drain: 3, forget: 4, baseOps: 15, alone: true, volumes: seed%2 == 0, moves: seed%4 < 2}
	}, func(s *sim) {
		s.step()
		s.between()
	})
}

// booksHold takes 150 steps for each of n seeds, and checks the books meanwhile.
func booksHold(t *testing.T, n int, conf func(seed uint64) config, step func(*sim)) {
	for seed := uint64(1); seed <= uint64(seeds(n)); seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			defer recoverStop(t)
			c := conf(seed)
			s := newSim(t, c, memStore(c), seed)
			for i := range 150 {
				step(s)
				if i%5 == 4 {
					checkClean(t, s)
				}
				if t.Failed() {
					t.Fatalf("at step %d, in %s", i, s.phase)
				}
			}
			s.rest()
			checkClean(t, s)
			s.compareAll("at rest", 20)
			s.must("close", s.e.Close(context.Background()))
		})
	}
}

func checkClean(t *testing.T, s *sim) {
	t.Helper()
	rep, err := s.e.Check(context.Background(), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rep.Damage {
		t.Errorf("check: %s: %s", d.Where, d.What)
	}
	if rep.Frames == 0 || rep.Nodes == 0 || rep.Bytes == 0 {
		t.Errorf("check looked at nothing: %+v", rep)
	}
}
