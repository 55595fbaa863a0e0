package redo_test

import (
	"context"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/redo"
	"varve/internal/when"
)

// A rollback stays where a filter does not mean it: what it turned back does not
// come again.
func TestReplayKeepsRollbacks(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	h := w.file(w.three, "a", "old")
	begin := w.last()
	w.write(w.one, h, "bad", 0)
	_, err := w.e.Rollback(caller, "home", at(begin), false)
	w.ok(err)
	w.file(w.three, "b", "more")
	o := redo.ReplayOptions{From: at(begin), To: when.Spec{Kind: when.Now}, Only: of("one"), Name: "x"}
	w.replay("home", o)
	w.same("only one", w.paths("x", w.last()), w.paths("home", begin))
	o.Only, o.Name = of("three"), "y"
	if _, err = redo.Replay(context.Background(), w.e, caller, "home", o); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "rolled back at lsn") {
		t.Fatalf("a replay without what was turned back: %v", err)
	}
}

// After an undo on a clone with a budget its blocks are not all taken for its own.
func TestBudgetAfterUndo(t *testing.T) {
	w := newWorld(t)
	write := func(name string, n int) error {
		h, err := w.e.Attach(name, engine.Caller{Proto: "NBD", Addr: "one:1"}, true, func() {})
		w.ok(err)
		defer h.Detach()
		return h.WriteAt(make([]byte, n), 0)
	}
	w.ok(write("disk", 1<<20))
	_, err := w.e.Clone(caller, "disk", when.Spec{Kind: when.Now}, "c", engine.Also{Properties: map[string]string{"budget": "65536", "on-full": "reset"}})
	w.ok(err)
	w.ok(write("c", 4096))
	begin := w.last()
	w.ok(write("c", 8192))
	w.undo("c", redo.UndoOptions{Since: at(begin)})
	w.ok(write("c", 12288))
}
