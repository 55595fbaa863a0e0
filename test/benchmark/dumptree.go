package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// dumpTree is a tree such as /usr: most files are small, most bytes are in a few
// large ones, some names are links. It is the same each time.
type dumpTree struct {
	files int
	most  int // bytes of a file
	rnd   *rand.Rand
	noise []byte // that files are cut from
}

func newDumpTree(files int) *dumpTree {
	t := &dumpTree{files: files, most: 40 << 20, rnd: rand.New(rand.NewPCG(1, 2)), noise: make([]byte, 64<<20)}
	for i := 0; i < len(t.noise); i += 8 {
		v := t.rnd.Uint64()
		for k := range 8 {
			t.noise[i+k] = byte(v >> (8 * k))
		}
	}
	return t
}

// dumpMaker makes things; paths are relative and parents come first.
type dumpMaker interface {
	dir(path string) error
	file(path string, content []byte) error
	symlink(path, target string) error
	link(path, to string) error
}

const filesOfDir = 11

func (t *dumpTree) make(m dumpMaker) error {
	dirs := []string{"."}
	for n := range t.files {
		if n%filesOfDir == 0 {
			parent := dirs[t.rnd.IntN(len(dirs))]
			d := filepath.Join(parent, fmt.Sprintf("directory-%05d", n/filesOfDir))
			if len(d) > 400 {
				d = fmt.Sprintf("directory-%05d", n/filesOfDir)
			}
			if err := m.dir(d); err != nil {
				return err
			}
			dirs = append(dirs, d)
		}
		path := filepath.Join(dirs[len(dirs)-1], fmt.Sprintf("some-file-%06d.ext", n))
		size := int(min(math.Exp(8+2.02*t.rnd.NormFloat64()), float64(t.most)))
		at := t.rnd.IntN(len(t.noise) - size)
		var err error
		switch n % 50 {
		case 7, 23:
			err = m.symlink(path, "some-file-000000.ext")
		case 31:
			if err = m.file(path, t.noise[at:at+size]); err == nil {
				err = m.link(path, path+"-again")
			}
		default:
			err = m.file(path, t.noise[at:at+size])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inFolder makes the tree in a directory.
type inFolder string

func (d inFolder) dir(path string) error { return os.MkdirAll(filepath.Join(string(d), path), 0o755) }

func (d inFolder) file(path string, content []byte) error {
	return os.WriteFile(filepath.Join(string(d), path), content, 0o644)
}

func (d inFolder) symlink(path, target string) error {
	return os.Symlink(target, filepath.Join(string(d), path))
}

func (d inFolder) link(path, to string) error {
	return os.Link(filepath.Join(string(d), path), filepath.Join(string(d), to))
}

// inShare makes the tree in a share, by way of the pool's own code: over NFS each
// file would wait for the disk.
type inShare struct {
	fs   *fs.FS
	dirs map[string]fs.Handle
}

var call = &fs.Call{}

func (s *inShare) split(path string) (fs.Handle, string) {
	d, name := filepath.Split(path)
	return s.dirs[filepath.Clean("./"+d)], name
}

func (s *inShare) dir(path string) error {
	parent, name := s.split(path)
	mode := uint32(0o755)
	m, err := s.fs.Mkdir(call, parent, name, fs.SetAttr{Mode: &mode})
	s.dirs[filepath.Clean(path)] = m.Handle
	return err
}

func (s *inShare) file(path string, content []byte) error {
	parent, name := s.split(path)
	mode := uint32(0o644)
	m, err := s.fs.Create(call, parent, name, fs.SetAttr{Mode: &mode}, false, nil)
	for off := 0; err == nil && off < len(content); off += 1 << 20 {
		_, _, err = s.fs.Write(call, m.Handle, content[off:min(off+1<<20, len(content))], uint64(off))
	}
	return err
}

func (s *inShare) symlink(path, target string) error {
	parent, name := s.split(path)
	_, err := s.fs.Symlink(call, parent, name, target, fs.SetAttr{})
	return err
}

func (s *inShare) link(path, to string) error {
	parent, name := s.split(path)
	h, _, _, err := s.fs.Lookup(call, parent, name)
	if err == nil {
		parent, name = s.split(to)
		_, _, _, err = s.fs.Link(call, h, parent, name)
	}
	return err
}

// inStore works on the log of a pool that nobody serves, within this process.
func inStore(path string, work func(*compact.Store) error) error {
	files, err := dir.Open(vfs.OS(), path, dir.Options{LockNote: "bench"})
	if err != nil {
		return err
	}
	store, err := compact.Open(files)
	if err != nil {
		return err
	}
	return errors.Join(work(store), store.Close())
}

// inPool works on a pool that nobody serves, within this process.
func inPool(path string, work func(*engine.Engine, *fs.FS) error) error {
	return inStore(path, func(store *compact.Store) error {
		e, err := engine.Open(engine.Options{Store: store})
		if err != nil {
			return err
		}
		f := fs.New(e, fs.Options{Location: time.UTC})
		err = work(e, f)
		f.Close()
		return errors.Join(err, e.Close(context.Background()))
	})
}

// newShare makes a share and returns its root.
func newShare(e *engine.Engine, f *fs.FS, name string, mode uint32) (fs.Handle, error) {
	if _, err := e.CreateShare(engine.Caller{}, name, mode, 0, 0); err != nil {
		return fs.Handle{}, err
	}
	s, err := f.Share(name)
	if err != nil {
		return fs.Handle{}, err
	}
	return fs.Handle{Dataset: s.ID, Ino: inode.Root}, nil
}

// loadShare makes the tree in a share of a pool that nobody serves.
func loadShare(pool, share string, t *dumpTree) error {
	return inPool(pool, func(e *engine.Engine, f *fs.FS) error {
		root, err := newShare(e, f, share, 0o755)
		if err != nil {
			return err
		}
		return t.make(&inShare{f, map[string]fs.Handle{".": root}})
	})
}
