package redo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/segstore/mem"
	"varve/internal/tree"
	"varve/internal/when"
)

// world is a pool with a share "home" and a volume "disk".
type world struct {
	t     testing.TB
	store *mem.Store
	e     *engine.Engine
	f     *fs.FS
	root  fs.Handle
	clock time.Time
}

var caller = engine.Caller{Proto: "test", Addr: "x"}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: mem.New(4<<20, 1<<30), clock: time.Now()}
	w.ok(engine.Format(w.store, w.clock, rand.NewChaCha8([32]byte{1})))
	w.open()
	_, err := w.e.CreateShare(engine.Caller{}, "home", 0o777, 0, 0)
	w.ok(err)
	_, err = w.e.CreateVolume(engine.Caller{}, "disk", 8<<20)
	w.ok(err)
	s, err := w.f.Share("home")
	w.ok(err)
	w.root = fs.Handle{Dataset: s.ID, Ino: inode.Root}
	t.Cleanup(func() {
		w.check()
		w.f.Close()
		w.ok(w.e.Close(context.Background()))
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.e, err = engine.Open(engine.Options{Store: w.store, CheckpointEvery: -1})
	w.ok(err)
	w.f = fs.New(w.e, fs.Options{})
}

// check lets the engine look for damage, and for blocks that leaked.
func (w *world) check() {
	w.t.Helper()
	for range 4 {
		w.ok(w.e.Checkpoint())
	}
	r, err := w.e.Check(context.Background(), true, func(done, total uint64) {})
	w.ok(err)
	if len(r.Damage) > 0 {
		w.t.Fatalf("damage: %v", r.Damage)
	}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) last() uint64 { return w.e.Status().LastLSN }

func at(lsn uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: lsn} }

// by is a call of a client; each is a user of its own too.
func by(client string) *fs.Call {
	return &fs.Call{Cred: fs.Cred{UID: uint32(len(client))}, Client: &oplog.Client{Name: "nfs " + client + ":1"}}
}

// of means the operations of a client.
func of(client string) *oplog.Filter { return &oplog.Filter{Client: client + ":"} }

// undo undoes, and wants no conflict where there must be none.
func (w *world) undo(dataset string, o redo.UndoOptions) *redo.Report {
	w.t.Helper()
	r, err := redo.Undo(context.Background(), w.e, caller, dataset, o)
	w.ok(err)
	return r
}

func (w *world) replay(dataset string, o redo.ReplayOptions) *redo.Report {
	w.t.Helper()
	r, err := redo.Replay(context.Background(), w.e, caller, dataset, o)
	w.ok(err)
	return r
}

// view opens a moment of a dataset; whoever uses it closes it.
func (w *world) view(dataset string, lsn uint64) *engine.View {
	w.t.Helper()
	v, err := w.e.OpenView(engine.Moment{Dataset: dataset, LSN: lsn})
	w.ok(err)
	return v
}

// items is all that a share has, byte for byte, and its files' data by number.
func (w *world) items(dataset string, lsn uint64) map[string]string {
	w.t.Helper()
	v := w.view(dataset, lsn)
	defer v.Close()
	all := map[string]string{}
	var files []uint64
	w.ok(v.Look(func(r inode.Reader) error {
		return r.Scan(tree.Key{}, tree.MaxKey, func(k tree.Key, val []byte) bool {
			ino, lo := k.Split()
			if lo>>60 != 0 { // no extent
				all[fmt.Sprintf("%x", k[:])] = string(val)
			}
			if lo == 1<<60 {
				files = append(files, ino)
			}
			return true
		})
	}))
	for _, ino := range files {
		all[fmt.Sprint("data of ", ino)] = w.data(v, ino)
	}
	return all
}

func (w *world) data(v *engine.View, ino uint64) string {
	w.t.Helper()
	var i inode.Inode
	w.ok(v.Look(func(r inode.Reader) (err error) {
		i, err = inode.Load(r, ino)
		return err
	}))
	if i.Mode&inode.ModeType != inode.ModeFile {
		return ""
	}
	p := make([]byte, (i.Size+4095)/4096*4096) // with what is beyond the end, which is zero
	w.ok(v.ReadFile(ino, p, 0))
	return fmt.Sprintf("%x", sha256.Sum256(p))
}

// paths describes what a person sees: every object by its path, without times.
func (w *world) paths(dataset string, lsn uint64) map[string]string {
	w.t.Helper()
	v := w.view(dataset, lsn)
	defer v.Close()
	all := map[string]string{}
	var walk func(dir uint64, path string)
	walk = func(dir uint64, path string) {
		var names []inode.Entry
		w.ok(v.Look(func(r inode.Reader) error {
			return inode.List(r, dir, 0, func(e inode.Entry) bool {
				names = append(names, e)
				return true
			})
		}))
		for _, e := range names {
			var i inode.Inode
			w.ok(v.Look(func(r inode.Reader) (err error) {
				i, err = inode.Load(r, e.Ino)
				return err
			}))
			name := path + "/" + e.Name
			all[name] = fmt.Sprintf("mode %o links %d owner %d group %d size %d data %s%s", i.Mode, i.Nlink, i.UID, i.GID, i.Size, w.data(v, e.Ino), w.extras(v, &i, e.Ino))
			if i.IsDir() {
				walk(e.Ino, name)
			}
		}
	}
	walk(inode.Root, "")
	return all
}

// extras are where a symlink leads, and the extended attributes by name.
func (w *world) extras(v *engine.View, i *inode.Inode, ino uint64) string {
	w.t.Helper()
	var out []string
	w.ok(v.Look(func(r inode.Reader) error {
		out = nil
		if i.Mode&inode.ModeType == inode.ModeLink {
			target, err := inode.Target(r, ino)
			if err != nil {
				return err
			}
			out = append(out, " to "+target)
		}
		var names []string
		err := inode.Xattrs(r, ino, func(name string, _ int) bool {
			names = append(names, name)
			return true
		})
		slices.Sort(names)
		for _, name := range names {
			value, ok, e := inode.Xattr(r, v.Seed(), ino, name)
			if e != nil || !ok {
				return errors.Join(err, e)
			}
			out = append(out, fmt.Sprintf(" %s=%x", name, value))
		}
		return err
	}))
	return strings.Join(out, "")
}

func (w *world) same(what string, got, want map[string]string) {
	w.t.Helper()
	for k, v := range want {
		if got[k] != v {
			w.t.Fatalf("%s: %s is\n%.200q, want\n%.200q", what, k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			w.t.Fatalf("%s: there is %s", what, k)
		}
	}
}

// disk reads the whole volume.
func (w *world) disk(name string, lsn uint64) []byte {
	w.t.Helper()
	v := w.view(name, lsn)
	defer v.Close()
	p := make([]byte, v.Size())
	w.ok(v.ReadAt(p, 0, nil))
	return p
}

func (w *world) sameBytes(what string, got, want []byte) {
	w.t.Helper()
	if len(got) != len(want) {
		w.t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := 0; i < len(got); i += 512 {
		if !bytes.Equal(got[i:i+512], want[i:i+512]) {
			w.t.Fatalf("%s: the sector at %d is not as it should be", what, i)
		}
	}
}

// author is a client that works at random. What it knows are handles; what is not
// there any more it finds out by errors.
type author struct {
	w     *world
	c     *fs.Call
	rng   *rand.Rand
	dirs  []fs.Handle
	files []fs.Handle
	n     int
}

func (w *world) author(name string, seed uint64, dir fs.Handle) *author {
	return &author{w: w, c: by(name), rng: rand.New(rand.NewPCG(seed, 9)), dirs: []fs.Handle{dir}}
}

func (a *author) name() string { return string(rune('a' + a.rng.IntN(12))) }
func (a *author) dir() fs.Handle {
	return a.dirs[a.rng.IntN(len(a.dirs))]
}

func (a *author) file() (fs.Handle, bool) {
	if len(a.files) == 0 {
		return fs.Handle{}, false
	}
	return a.files[a.rng.IntN(len(a.files))], true
}

func (a *author) payload() []byte {
	a.n++
	p := make([]byte, 1+a.rng.IntN(12000))
	for i := range p {
		p[i] = byte(a.n + i/100)
	}
	return p
}

// step does something; what is refused is refused.
func (a *author) step() {
	f := a.w.f
	mode := uint32(0o666)
	switch pick := a.rng.IntN(20); {
	case pick < 5:
		if m, err := f.Create(a.c, a.dir(), a.name(), fs.SetAttr{Mode: &mode}, false, nil); err == nil {
			a.files = append(a.files, m.Handle)
		}
	case pick < 6:
		mode = 0o777
		if m, err := f.Mkdir(a.c, a.dir(), a.name(), fs.SetAttr{Mode: &mode}); err == nil {
			a.dirs = append(a.dirs, m.Handle)
		}
	case pick < 7:
		f.Symlink(a.c, a.dir(), a.name(), "somewhere", fs.SetAttr{})
	case pick < 9:
		f.Rename(a.c, a.dir(), a.name(), a.dir(), a.name())
	case pick < 10:
		f.Remove(a.c, a.dir(), a.name())
	case pick < 11:
		f.Rmdir(a.c, a.dir(), a.name())
	default:
		a.change()
	}
}

func (a *author) change() {
	h, ok := a.file()
	if !ok {
		return
	}
	f := a.w.f
	switch a.rng.IntN(8) {
	case 0:
		size := a.rng.Uint64N(20000)
		f.Setattr(a.c, h, fs.SetAttr{Size: &size})
	case 1:
		mode := a.rng.Uint32N(0o1000) | 0o666
		f.Setattr(a.c, h, fs.SetAttr{Mode: &mode})
	case 2:
		f.Link(a.c, h, a.dir(), a.name())
	case 3:
		f.SetXattr(a.c, h, "user."+a.name(), []byte("value"), 0)
	case 4:
		t := time.Unix(a.rng.Int64N(1e9), 0).UnixNano()
		f.Setattr(a.c, h, fs.SetAttr{Mtime: &t})
	default:
		f.Write(a.c, h, a.payload(), a.rng.Uint64N(20000))
	}
}

func named(snapshot string) when.Spec { return when.Spec{Kind: when.Snapshot, Name: snapshot} }
