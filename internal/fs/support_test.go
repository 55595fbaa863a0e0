package fs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/oplog"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// world is a pool with one share, "home", and its files.
type world struct {
	t       testing.TB
	store   segstore.Store
	e       *engine.Engine
	f       *FS
	root    Handle
	share   uint64
	clockMu sync.Mutex
	clock   time.Time // what every clock shows; each operation finds it later
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: mem.New(4<<20, 512<<20), clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.ok(engine.Format(w.store, w.clock, rand.NewChaCha8([32]byte{1})))
	w.open()
	_, err := w.e.CreateShare(engine.Caller{}, "home", 0o777, 0, 0)
	w.ok(err)
	s, err := w.f.Share("home")
	w.ok(err)
	w.share = s.ID
	w.root = Handle{Dataset: s.ID, Ino: 2}
	t.Cleanup(w.close)
	return w
}

func (w *world) now() time.Time { return w.pass(time.Millisecond) }

// pass lets some time go by. The log has a timer of its own, which looks at the
// clock too.
func (w *world) pass(d time.Duration) time.Time {
	w.clockMu.Lock()
	defer w.clockMu.Unlock()
	w.clock = w.clock.Add(d)
	return w.clock
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.e, err = engine.Open(engine.Options{Store: w.store, CheckpointEvery: -1, Now: w.now})
	w.ok(err)
	w.f = New(w.e, Options{Location: time.UTC, Now: w.now})
}

func (w *world) close() {
	w.t.Helper()
	w.f.Close()
	w.ok(w.e.Close(context.Background()))
}

// reopen ends the server and begins it anew.
func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

// crash ends the engine without anything being written any more.
func (w *world) crash() {
	w.t.Helper()
	w.f.Close()
	w.e.Abort()
	w.open()
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// fails checks that an error has a code.
func (w *world) fails(err error, want Code) {
	w.t.Helper()
	if got := CodeOf(err); got != want {
		w.t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

func (w *world) snapshot(name string) uint64 {
	w.t.Helper()
	done, err := w.e.Snapshot(engine.Caller{}, "home", name)
	w.ok(err)
	return done.LSN
}

// at is the handle of the same object at a moment.
func at(h Handle, lsn uint64) Handle {
	h.Moment = lsn
	return h
}

// as is a call of a user, who is in a group of the same number and others.
func as(uid uint32, groups ...uint32) *Call {
	return &Call{Cred: Cred{UID: uid, GID: uid, Groups: groups}, Client: &oplog.Client{Name: fmt.Sprintf("test uid %d", uid)}}
}

var root = as(0)

func mode(m uint32) SetAttr { return SetAttr{Mode: &m} }

// mkdir, file and so on make something as root and return its handle.
func (w *world) mkdir(dir Handle, name string, m uint32) Handle {
	w.t.Helper()
	made, err := w.f.Mkdir(root, dir, name, mode(m))
	w.ok(err)
	return made.Handle
}

func (w *world) file(dir Handle, name, content string) Handle {
	w.t.Helper()
	made, err := w.f.Create(root, dir, name, mode(0o644), true, nil)
	w.ok(err)
	if content != "" {
		w.write(made.Handle, content, 0)
	}
	return made.Handle
}

func (w *world) write(h Handle, content string, off uint64) {
	w.t.Helper()
	_, _, err := w.f.Write(root, h, []byte(content), off)
	w.ok(err)
}

func (w *world) chown(h Handle, uid, gid uint32) {
	w.t.Helper()
	_, _, err := w.f.Setattr(root, h, SetAttr{UID: &uid, GID: &gid})
	w.ok(err)
}

func (w *world) chmod(h Handle, m uint32) {
	w.t.Helper()
	_, _, err := w.f.Setattr(root, h, mode(m))
	w.ok(err)
}

func (w *world) attr(h Handle) Attr {
	w.t.Helper()
	a, err := w.f.Getattr(root, h)
	w.ok(err)
	return a
}

// content reads a whole file.
func (w *world) content(h Handle) string {
	w.t.Helper()
	p := make([]byte, w.attr(h).Size)
	n, eof, _, err := w.f.Read(root, h, p, 0)
	w.ok(err)
	if n != len(p) || !eof {
		w.t.Fatalf("read %d of %d bytes, eof %v", n, len(p), eof)
	}
	return string(p)
}

func (w *world) lookup(dir Handle, name string) Handle {
	w.t.Helper()
	h, _, _, err := w.f.Lookup(root, dir, name)
	w.ok(err)
	return h
}

func (w *world) missing(dir Handle, name string) {
	w.t.Helper()
	_, _, _, err := w.f.Lookup(root, dir, name)
	w.fails(err, CodeNoEnt)
}

// list returns the names in a directory, without "." and "..", in the order of
// a listing in pieces of so many.
func (w *world) list(dir Handle, piece int) []string {
	w.t.Helper()
	var names []string
	for after := uint64(0); ; {
		ents, eof, _, err := w.f.Readdir(root, dir, after, piece, false, nil)
		w.ok(err)
		for _, e := range ents {
			if after = e.Cookie; e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
		}
		if eof {
			return names
		}
		if len(ents) == 0 {
			w.t.Fatal("a listing does not go on, and does not end")
		}
	}
}

func lsnSpec(lsn uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: lsn} }
