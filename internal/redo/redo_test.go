package redo_test

import (
	"math/rand/v2"
	"testing"

	"varve/internal/redo"
)

// Everything repeated is the present; what is repeated up to a moment is that
// moment; and what is undone since a moment leads back to it.
func TestReplayIsTheLine(t *testing.T) {
	for seed := range uint64(2) {
		w := newWorld(t)
		one, two := w.author("one", seed, w.root), w.author("three", seed+100, w.root)
		rng := rand.New(rand.NewPCG(seed, 1))
		begin := w.last()
		moments := []uint64{begin}
		for i := range 400 {
			if rng.IntN(2) == 0 {
				one.step()
			} else {
				two.step()
			}
			if i%100 == 37 {
				w.ok(w.e.Checkpoint())
			}
			if i%40 == 0 {
				moments = append(moments, w.last())
			}
		}
		end := w.last()
		moments = append(moments, end)
		for i, to := range moments {
			from := moments[rng.IntN(i+1)]
			name := "copy" + string(rune('a'+i))
			r := w.replay("home", redo.ReplayOptions{From: at(from), To: at(to), Name: name})
			if r.Partial || len(r.Clashes) > 0 || r.Repeated != r.Ops {
				t.Fatalf("replay of all: %+v", r)
			}
			w.same(name, w.items(name, w.last()), w.items("home", to))
		}
		for i := len(moments) - 2; i >= 0; i -= 3 {
			r := w.undo("home", redo.UndoOptions{Since: at(moments[i])})
			if r.Partial || r.Repeated > 0 {
				t.Fatalf("undo of all: %+v", r)
			}
			w.same("undo", w.items("home", w.last()), w.items("home", moments[i]))
			// and the undo is undone
			_, err := w.e.Rollback(caller, "home", named(r.Guard), false)
			w.ok(err)
			w.same("undone", w.items("home", w.last()), w.items("home", end))
		}
	}
}
