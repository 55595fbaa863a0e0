package files

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// world is a pool with the shares "home" and "other".
type world struct {
	t    *testing.T
	e    *engine.Engine
	fs   *fs.FS
	f    *Files
	root fs.Handle // of home
	rnd  *rand.Rand
	now  atomic.Int64 // what the pool's clock shows: Unix nanoseconds
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.now.Store(begin.UnixNano())
	store := mem.New(4<<20, 512<<20)
	w.ok(engine.Format(store, begin, rand.NewChaCha8([32]byte{1})))
	var err error
	w.e, err = engine.Open(engine.Options{Store: store, CheckpointEvery: -1, Now: func() time.Time { return time.Unix(0, w.now.Load()) }})
	w.ok(err)
	w.fs = fs.New(w.e, fs.Options{Location: time.UTC})
	w.f = New(w.e, w.fs)
	for _, name := range []string{"home", "other"} {
		_, err = w.e.CreateShare(engine.Caller{}, name, 0o755, 0, 0)
		w.ok(err)
	}
	s, err := w.fs.Share("home")
	w.ok(err)
	w.root = fs.Handle{Dataset: s.ID, Ino: inode.Root}
	t.Cleanup(func() {
		w.fs.Close()
		w.ok(w.e.Close(context.Background()))
	})
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lsn() uint64 { return w.e.Status().LastLSN }

func at(lsn uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: lsn} }

var root = &fs.Call{}

// step does one random thing; that it is refused is fine.
func (w *world) step() {
	w.now.Add(int64(w.rnd.IntN(2000)) * int64(time.Millisecond))
	dir, name := w.dir(), w.name()
	h, a, _, _ := w.fs.Lookup(root, dir, name)
	file, mode := a.Mode&inode.ModeType == inode.ModeFile, uint32(0o600+w.rnd.IntN(0o200))
	switch w.rnd.IntN(16) {
	case 0, 1, 2:
		w.fs.Create(root, dir, name, fs.SetAttr{Mode: &mode}, true, nil)
	case 3, 4:
		w.fs.Mkdir(root, dir, name, fs.SetAttr{Mode: &mode})
	case 5:
		w.fs.Symlink(root, dir, name, fmt.Sprint("to ", w.rnd.IntN(1000)), fs.SetAttr{})
	case 6:
		w.fs.Mknod(root, dir, name, inode.ModeFIFO, 0, fs.SetAttr{Mode: &mode})
	case 7, 8:
		w.fs.Rename(root, dir, name, w.dir(), w.name())
	case 9:
		w.fs.Remove(root, dir, name)
		w.fs.Rmdir(root, dir, name)
	case 10:
		w.fs.Link(root, h, w.dir(), w.name())
	case 11:
		uid := uint32(w.rnd.IntN(5))
		w.fs.Setattr(root, h, fs.SetAttr{Mode: &mode, UID: &uid})
	case 12:
		w.fs.SetXattr(root, h, fmt.Sprint("user.", w.rnd.IntN(3)), fmt.Append(nil, w.rnd.IntN(100)), fs.XattrSet)
	case 13:
		size := uint64(w.rnd.IntN(20_000))
		if file {
			w.fs.Setattr(root, h, fs.SetAttr{Size: &size})
		}
	default:
		if file {
			p := bytes.Repeat([]byte{byte(w.rnd.Uint32())}, 1+w.rnd.IntN(10_000))
			w.fs.Write(root, h, p, uint64(w.rnd.IntN(30_000)))
		}
	}
}

func (w *world) name() string { return string(rune('a' + w.rnd.IntN(6))) }

// dir goes down some directories.
func (w *world) dir() fs.Handle {
	h := w.root
	for range w.rnd.IntN(4) {
		next, a, _, err := w.fs.Lookup(root, h, w.name())
		if err != nil || a.Mode&inode.ModeType != inode.ModeDir {
			break
		}
		h = next
	}
	return h
}

// object is all that there is to know of a file.
type object struct {
	ino    uint64
	typ    string
	attrs  string
	dirs   string // times, of a directory
	xattrs string
	data   string
}

// tree is everything below a path at a moment.
func (w *world) tree(share, path string, lsn uint64) map[string]object {
	w.t.Helper()
	s, v, err := w.f.view(context.Background(), share, at(lsn))
	w.ok(err)
	defer s.close()
	out := make(map[string]object)
	var visit func(path string, ino uint64)
	visit = func(path string, ino uint64) {
		e, err := s.entry(path, ino)
		w.ok(err)
		k := copier{src: s}
		xattrs, err := k.wanted(ino)
		w.ok(err)
		o := object{ino: ino, typ: e.Type, xattrs: fmt.Sprintf("%q", xattrs), attrs: fmt.Sprint(e.Mode, e.UID, e.GID)}
		times := fmt.Sprint(e.Mtime, e.Atime)
		switch e.Type {
		case "file":
			var b bytes.Buffer
			w.ok((&File{state: s, ino: ino}).Copy(context.Background(), &b))
			o.data = b.String()
		case "symlink":
			o.data = string(e.Target)
		}
		if e.Type == "dir" {
			o.dirs = times
		} else {
			o.attrs += times
		}
		out[path] = o
		if e.Type != "dir" {
			return
		}
		w.ok(s.names(ino, func(chunk []inode.Entry) error {
			for _, c := range chunk {
				visit(child(path, c.Name), c.Ino)
			}
			return nil
		}))
	}
	ino, _, err := s.find(path)
	w.ok(err)
	visit(path, ino)
	_ = v
	return out
}
