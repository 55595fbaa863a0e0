package redo_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/redo"
	"varve/internal/when"
)

// stroll mixes undo and replay with all that changes lines: what is kept stays what
// it was, and nothing leaks.
type stroll struct {
	*world
	rng    *rand.Rand
	hands  []*author
	seen   map[string]map[uint64]map[string]string // what datasets were, at moments
	names  []string
	serial int
	done   map[string]int
}

func TestUndoAmongAll(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			s := &stroll{world: w, rng: rand.New(rand.NewPCG(seed, 2)), seen: map[string]map[uint64]map[string]string{}, names: []string{"home"}, done: map[string]int{}}
			s.hands = []*author{w.author("one", seed, w.root), w.author("three", seed+50, w.root)}
			for range 120 {
				for range s.rng.IntN(12) {
					s.hands[s.rng.IntN(2)].step()
				}
				s.note("home")
				s.turn()
			}
			s.look()
			for _, name := range s.names[1:] {
				_, err := w.e.Destroy(caller, name, true)
				w.ok(err)
			}
			s.settle()
			for _, what := range []string{"undo", "undo all", "rollback", "replay", "clone", "prune", "reopen"} {
				if s.done[what] == 0 {
					t.Errorf("no %s", what)
				}
			}
		})
	}
}

// note remembers what a dataset is.
func (s *stroll) note(name string) {
	if s.seen[name] == nil {
		s.seen[name] = map[uint64]map[string]string{}
	}
	s.seen[name][s.last()] = s.items(name, s.last())
}

// moment chooses a moment that is remembered, and kept.
func (s *stroll) moment(name string) (uint64, bool) {
	d, err := s.e.Dataset(name)
	s.ok(err)
	var kept []uint64
	for _, lsn := range slices.Sorted(maps.Keys(s.seen[name])) {
		if lsn >= d.OldestLSN && lsn > d.CreatedLSN {
			kept = append(kept, lsn)
		}
	}
	if len(kept) == 0 {
		return 0, false
	}
	return kept[s.rng.IntN(len(kept))], true
}

func (s *stroll) turn() {
	lsn, ok := s.moment("home")
	if !ok {
		return
	}
	what := []string{"undo", "undo", "undo all", "rollback", "replay", "clone", "prune", "reopen", "checkpoint", "checkpoint", "drain", "snapshot"}[s.rng.IntN(12)]
	switch what {
	case "undo", "undo all":
		o := redo.UndoOptions{Since: at(lsn)}
		if what == "undo" {
			o.Match = of("one")
		}
		r, err := redo.Undo(context.Background(), s.e, caller, "home", o)
		if fail.Is(err, fail.NotFound) || err != nil && strings.Contains(err.Error(), "rolled back at") {
			return
		}
		s.ok(err)
		s.same("guard", s.items("home", r.LSN-1), s.seenLast())
		if what == "undo all" {
			s.same("undo all", s.items("home", s.last()), s.seen["home"][lsn])
		}
		s.note("home")
	case "rollback":
		_, err := s.e.Rollback(caller, "home", at(lsn), false)
		s.ok(err)
		s.same("rollback", s.items("home", s.last()), s.seen["home"][lsn])
	case "replay":
		s.serial++
		name := fmt.Sprint("r", s.serial)
		_, err := redo.Replay(context.Background(), s.e, caller, "home", redo.ReplayOptions{From: at(lsn), To: when.Spec{Kind: when.Now}, Name: name})
		s.ok(err)
		s.same("replay", s.items(name, s.last()), s.items("home", s.last()))
		s.names = append(s.names, name)
		s.note(name)
	case "clone":
		s.serial++
		name := fmt.Sprint("c", s.serial)
		_, err := s.e.Clone(caller, "home", at(lsn), name)
		s.ok(err)
		s.names = append(s.names, name)
		s.note(name)
	case "snapshot":
		s.serial++
		_, err := s.e.SnapshotAt(caller, "home", fmt.Sprint("s", s.serial), at(lsn))
		s.ok(err)
	case "prune":
		_, err := s.e.Prune(caller, "home", engine.PruneOptions{Before: &when.Spec{Kind: when.LSN, LSN: lsn}})
		s.ok(err)
	case "checkpoint":
		s.ok(s.e.Checkpoint())
	case "drain":
		for s.e.DrainStep() {
		}
	case "reopen":
		s.f.Close()
		if s.rng.IntN(2) == 0 {
			s.ok(s.e.Close(context.Background()))
		} else {
			s.ok(s.e.Flush())
			s.e.Abort()
		}
		s.open()
		for _, h := range s.hands {
			h.w = s.world
		}
	}
	s.done[what]++
	s.look()
}

func (s *stroll) seenLast() map[string]string {
	last := uint64(0)
	for lsn := range s.seen["home"] {
		last = max(last, lsn)
	}
	return s.seen["home"][last]
}

// look compares some of what is remembered with what is there.
func (s *stroll) look() {
	s.t.Helper()
	for _, name := range s.names {
		if lsn, ok := s.moment(name); ok && s.rng.IntN(3) == 0 {
			s.same(fmt.Sprintf("%s at lsn %d", name, lsn), s.items(name, lsn), s.seen[name][lsn])
		}
	}
}

// settle forgets all that may be forgotten: then one line is left of each dataset,
// and every block is accounted for.
func (s *stroll) settle() {
	s.t.Helper()
	now := s.items("home", s.last())
	for range 12 {
		for s.e.DrainStep() {
		}
		s.ok(s.e.Checkpoint())
		_, err := s.e.Retain() // lets views go that nobody uses
		s.ok(err)
		_, err = s.e.Prune(caller, "", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})
		s.ok(err)
		snaps, err := s.e.Snapshots("")
		s.ok(err)
		for _, x := range snaps {
			_, err := s.e.DestroySnapshot(caller, x.Dataset, x.Name)
			s.ok(err)
		}
	}
	s.check()
	s.same("settled", s.items("home", s.last()), now)
	d, err := s.e.Dataset("home")
	s.ok(err)
	if kept := d.Space.History + d.Space.Snapshots; kept != 0 {
		s.t.Fatalf("%d bytes are kept for history and snapshots that are gone", kept)
	}
}
