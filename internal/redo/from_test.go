package redo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/when"
)

// Operations of one pool, repeated in another whose objects have other numbers, do
// there what they did.
func TestFrom(t *testing.T) {
	mode := uint32(0o777)
	prepare := func(w *world, others int) fs.Handle { // the same tree, with other numbers
		for i := range others {
			_, err := w.f.Create(by("zero"), w.root, fmt.Sprint("other", i), fs.SetAttr{}, true, nil)
			w.ok(err)
		}
		m, err := w.f.Mkdir(by("zero"), w.root, "work", fs.SetAttr{Mode: &mode})
		w.ok(err)
		return m.Handle
	}
	there := newWorld(t)
	dir := prepare(there, 0)
	begin := there.last()
	hand := there.author("one", 5, dir)
	for range 200 {
		hand.step()
	}
	here := newWorld(t)
	prepare(here, 9)
	r, err := redo.From(context.Background(), here.e, caller, "home", redo.FromOptions{
		At: when.Spec{Kind: when.Now}, Name: "copy",
		Source: func(ctx context.Context, fn func(*redo.Step) error) error {
			ops, err := there.e.ReadOps(there.root.Dataset, begin)
			there.ok(err)
			defer ops.Close()
			return ops.To(ctx, there.root.Dataset, there.last(), func(op *oplog.Op) error {
				buf := make([]byte, engine.PayloadLen(op))
				there.ok(there.e.Payload(op, buf))
				s := &redo.Step{Op: op, Path: func(ino uint64) string {
					if ino == dir.Ino {
						return "/work"
					}
					return ""
				}}
				if op.Kind == oplog.WriteFile {
					s.Data = buf[op.Off%4096:][:op.Len]
				}
				return fn(s)
			})
		},
	})
	here.ok(err)
	if r.Partial || r.Repeated != r.Ops || r.Ops < 100 {
		t.Fatalf("%+v", r)
	}
	below := func(all map[string]string) map[string]string {
		out := map[string]string{}
		for path, what := range all {
			if strings.HasPrefix(path, "/work/") {
				out[path] = what
			}
		}
		return out
	}
	here.same("copy", below(here.paths("copy", here.last())), below(there.paths("home", there.last())))
	_, err = redo.From(context.Background(), here.e, caller, "disk", redo.FromOptions{Name: "x", Source: func(_ context.Context, fn func(*redo.Step) error) error {
		return fn(&redo.Step{Op: &oplog.Op{Kind: oplog.Mkdir, Dir: inode.Root, Name: "d"}})
	}})
	if !fail.Is(err, fail.Invalid) {
		t.Fatalf("a directory on a volume: %v", err)
	}
}

// While operations are repeated their history stays, whoever wants it to go.
func TestHistoryStays(t *testing.T) {
	w := newWorld(t)
	one, _ := scene(w, 3)
	begin := w.last()
	for range 50 {
		one.step()
	}
	w.ok(w.e.Checkpoint())
	a, err := w.e.Draft(caller, engine.Moment{Dataset: "home", LSN: begin}, "half")
	w.ok(err)
	prune := func() uint64 {
		t.Helper()
		_, err := w.e.Prune(caller, "home", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})
		w.ok(err)
		d, err := w.e.Dataset("home")
		w.ok(err)
		return d.OldestLSN
	}
	if oldest := prune(); oldest > begin {
		t.Fatalf("history begins at %d; operations after %d are being repeated", oldest, begin)
	}
	a.Discard()
	if oldest := prune(); oldest <= begin {
		t.Fatalf("history still begins at %d", oldest)
	}
}

// fromOps repeats operations on "home" whose objects are at the path /f.
func (w *world) fromOps(name string, ops ...*oplog.Op) *redo.Report {
	w.t.Helper()
	r, err := w.tryOps(name, ops...)
	w.ok(err)
	return r
}

func (w *world) tryOps(name string, ops ...*oplog.Op) (*redo.Report, error) {
	return redo.From(context.Background(), w.e, caller, "home", redo.FromOptions{
		At: when.Spec{Kind: when.Now}, Name: name,
		Source: func(_ context.Context, fn func(*redo.Step) error) error {
			for i, op := range ops {
				op.LSN, op.Time, op.Client = uint64(i+1), 9, &oplog.Client{Name: "nfs one:1"}
				s := &redo.Step{Op: op, Path: func(uint64) string { return "/f" }}
				if op.Kind == oplog.WriteFile {
					s.Data = make([]byte, op.Len)
				}
				if err := fn(s); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// What was not at its path is not what has that path later.
func TestFromNeverMistakes(t *testing.T) {
	w := newWorld(t)
	write := oplog.Op{Kind: oplog.WriteFile, Ino: 77, Len: 3}
	again := write
	r := w.fromOps("copy", &write,
		&oplog.Op{Kind: oplog.Create, Ino: 78, Dir: inode.Root, Name: "f", Attr: oplog.Attr{Mask: oplog.SetMode, Mode: inode.ModeFile | 0o666}}, &again)
	if got := w.paths("copy", w.last())["/f"]; r.Causes["the object is missing"] != 2 || !strings.Contains(got, " size 0 ") {
		t.Fatalf("/f is %q: %+v", got, r)
	}
}

// What is of another type here is a conflict.
func TestFromOtherType(t *testing.T) {
	w := newWorld(t)
	mode := uint32(0o777)
	_, err := w.f.Mkdir(by("zero"), w.root, "f", fs.SetAttr{Mode: &mode})
	w.ok(err)
	r := w.fromOps("copy",
		&oplog.Op{Kind: oplog.WriteFile, Ino: 77, Len: 3},
		&oplog.Op{Kind: oplog.Setattr, Ino: 77, Attr: oplog.Attr{Mask: oplog.SetSize, Size: 3}},
		&oplog.Op{Kind: oplog.Link, Ino: 77, Dir: inode.Root, Name: "g"},
		&oplog.Op{Kind: oplog.Remove, Ino: 77, Dir: inode.Root, Name: "f"})
	if r.Causes["the object is of another type"] != 4 || r.Repeated != 0 {
		t.Fatalf("%+v", r)
	}
}
