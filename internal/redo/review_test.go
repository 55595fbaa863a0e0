package redo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
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

// What has a name is removed only for a move that is possible.
func TestKeepNewerRemovesForMovesOnly(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	mode := uint32(0o777)
	dir, err := w.f.Mkdir(w.one, w.root, "dir", fs.SetAttr{Mode: &mode})
	w.ok(err)
	sub, err := w.f.Mkdir(w.one, dir.Handle, "sub", fs.SetAttr{Mode: &mode})
	w.ok(err)
	_, err = w.f.Mkdir(w.one, sub.Handle, "t", fs.SetAttr{Mode: &mode})
	w.ok(err)
	begin := w.last()
	_, _, _, err = w.f.Rename(w.one, dir.Handle, "sub", w.root, "sub")
	w.ok(err)
	_, _, err = w.f.Rmdir(w.one, sub.Handle, "t")
	w.ok(err)
	_, _, _, err = w.f.Rename(w.three, w.root, "dir", sub.Handle, "t")
	w.ok(err)
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{OnConflict: redo.KeepNewer}})
	if r.Causes["the directory would be in itself"] != 1 {
		t.Errorf("%+v", r)
	}
	w.same("undone", w.paths("home", w.last()), w.paths("home", begin))
}

// What replaces an object that has another name now has that name, too.
func TestAsideIsReplaced(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	w.file(w.three, "a", "old")
	begin := w.last()
	takeName(w)
	w.file(w.three, "tmp", "newer")
	_, _, _, err := w.f.Rename(w.three, w.root, "tmp", w.root, "a")
	w.ok(err)
	w.file(w.three, "tmp", "newest")
	_, _, _, err = w.f.Rename(w.three, w.root, "tmp", w.root, "a")
	w.ok(err)
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one")})
	aside := fmt.Sprint("a.replay-", r.Clashes[0].LSN)
	if n := len(w.paths("home", w.last())); n != 2 || w.text("a") != "old" || w.text(aside) != "newest" {
		t.Fatalf("%d files; a is %q, %s is %q", n, w.text("a"), aside, w.text(aside))
	}
}
