package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/internal/ask"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/redo"
)

// Who reads the log does not take what was given up for done.

// An undo of what came after the loss, from before it, repeats nothing that was lost.
func TestUndoOverLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.must("snapshot", second(l.e.Snapshot(tester, "d", "s0"))) // which has another leaf
	s0 := l.e.Status().LastLSN
	l.put("d", 1502, 5, nil)
	l.settle()
	l.hit()
	l.crash("d")
	l.put("d", 6, 3, nil)
	v := l.open("d")
	l.must("write", v.WriteAt(bytes.Repeat([]byte{7}, 2*block), 40*block))
	v.Close()
	undo := redo.UndoOptions{Since: atLSN(s0), Match: &oplog.Filter{BytesOver: block}}
	r, err := redo.Undo(context.Background(), l.e, tester, "d", undo)
	if err != nil || r.Partial || r.LeftOut != 1 {
		t.Errorf("undo: %+v, %v", r, err)
	}
	l.has("d", map[int]byte{2: 9, 4: 1, 6: 3, 40: 1})

	undo.Match = &oplog.Filter{} // all of d, before the loss and after
	r, err = redo.Undo(context.Background(), l.e, tester, "d", undo)
	if err != nil || r.Partial {
		t.Errorf("undo: %+v, %v", r, err)
	}
	l.has("d", map[int]byte{2: 1, 4: 1, 6: 1, 40: 1, 1500: 1, 1502: 1})
}

// A moment among what was lost is no place to undo or to replay from, or up to.
func TestUndoFromWithinLoss(t *testing.T) {
	defer recoverStop(t)
	l, moment := lostMoment(t)
	_, err := redo.Undo(context.Background(), l.e, tester, "d", redo.UndoOptions{Since: atLSN(moment), Match: &oplog.Filter{}})
	if want := fmt.Sprintf("lsn %d is among what was given up", moment); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("an undo from within the loss: %v", err)
	}
	r, err := l.e.ReadOps(l.id("d"), l.damaged-1)
	l.must("log", err)
	defer r.Close()
	if err := r.To(context.Background(), l.id("d"), moment, nil); !fail.Is(err, fail.Invalid) {
		t.Errorf("up to a moment within the loss: %v", err)
	}
	l.has("d", map[int]byte{2: 9, 4: 1, 6: 1})
}

// A rename that was lost is not followed.
func TestPathsOverLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, true)
	l.must("snapshot", second(l.e.Snapshot(tester, "h", "s0")))
	s0 := l.e.Status().LastLSN
	l.chmod("h", l.files[149]) // so that s0 has another leaf
	l.settle()
	l.hitShare()
	l.by("h", func(h hand) error { return h.rename(inode.Root, "file0", inode.Root, "lost") })
	l.crash("h")
	l.write("h", l.files[0], block)
	last := l.e.Status().LastLSN
	f := ask.Follow(l.e, l.id("h"))
	defer f.Close()
	r, err := l.e.ReadOps(l.id("h"), s0)
	l.must("log", err)
	defer r.Close()
	path := ""
	l.must("log", r.To(context.Background(), l.id("h"), last, func(op *oplog.Op) error {
		p, _, err := f.Before(op)
		if err == nil && op.LSN == last {
			path = p
		}
		return f.Apply(op)
	}))
	if path != "/file0" {
		t.Errorf("the write to /file0 is told as one to %q", path)
	}
	l.by("h", func(h hand) error { return h.write(l.files[1], 0, []byte("mistake")) })
	_, err = redo.Undo(context.Background(), l.e, tester, "h", redo.UndoOptions{
		Since: atLSN(s0), Match: &oplog.Filter{Paths: []string{"/file1"}, Kinds: 1 << oplog.WriteFile}})
	l.must("undo", err)
	if !l.exists("h", "file0") || l.exists("h", "lost") {
		t.Error("an undo of a write repeated a rename that was lost")
	}
}

// A request that was lost is none that was answered, however often the pool is opened.
func TestRequestsOfLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, true)
	create := func(name string) {
		l.by("h", func(h hand) error {
			op := &oplog.Op{Kind: oplog.Create, Dir: inode.Root, Name: name, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: inode.ModeFile | 0o644},
				Request: &oplog.Request{XID: 7, Sum: 8}}
			return h.Change(op, func(inode.Reader) error { op.Ino = h.NextIno(); return nil }, nil)
		})
	}
	seen := func(want ...string) {
		t.Helper()
		var got []string
		l.must("recent", l.e.Recent(time.Hour, func(op *oplog.Op) { got = append(got, op.Name) }))
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("requests of %q, want %q", got, want)
		}
	}
	l.hitShare()
	create("lost")
	l.crash("h")
	seen()
	l.e.Abort()
	l.openEngine()
	seen()
	create("new")
	l.must("flush", l.e.Flush())
	for range 2 {
		l.e.Abort()
		l.openEngine()
		seen("new")
	}
}

// The log, the versions of a file and what was deleted are told to the end, whatever
// was lost in between, and without that.
func TestLogOfLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, true)
	remove := func(name string) {
		l.by("h", func(h hand) error { return h.remove(inode.Root, name) })
	}
	l.create("h", inode.Root, "x", inode.ModeFile|0o644)
	remove("x")
	removed := l.e.Status().LastLSN
	l.settle()
	l.hitShare()
	last := l.e.Status().LastLSN - 1
	l.write("h", l.files[0], block)
	for _, name := range []string{"x", "y"} {
		l.create("h", inode.Root, name, inode.ModeFile|0o644)
		remove(name)
	}
	l.must("rollback", second(l.e.Rollback(tester, "h", atLSN(l.damaged-1), false)))
	l.write("h", l.files[0], block)
	l.crash("h")
	after := l.e.Status().LastLSN
	l.write("h", l.files[1], block)

	for what, want := range map[string]int{"op=write-file": 2, "path=/file1": 2, "op=rollback": 0} {
		filter, err := oplog.ParseFilter(what)
		l.must("filter", err)
		n := 0
		l.must("log", ask.New(l.e).Ask(context.Background(), ask.Query{Dataset: "h", Filter: filter}, func(i *ask.Item) error {
			if i.LSN > last && i.LSN <= after {
				t.Errorf("log %q tells of lsn %d, which was lost", what, i.LSN)
			}
			n++
			return nil
		}))
		if n < want {
			t.Errorf("log %q has %d operations", what, n)
		}
	}
	for path, want := range map[string]int{"/file0": 3, "/file1": 3, "/file150": 2} {
		n := 0
		l.must("versions", files.New(l.e, nil).Versions(context.Background(), "h", path, true, func(files.Version) error { n++; return nil }))
		if n != want {
			t.Errorf("%d versions of %s, want %d", n, path, want)
		}
	}
	var gone []string
	l.must("deleted", ask.New(l.e).Deleted(context.Background(), "h", "/", func(d *ask.Deleted) error {
		gone = append(gone, fmt.Sprint(d.Name, d.LSN))
		return nil
	}))
	if want := fmt.Sprint("x", removed); len(gone) != 1 || gone[0] != want {
		t.Errorf("deleted: %q, want %q", gone, want)
	}
}
