// Package files works on the files of shares for whoever controls the pool: it
// lists, reads, compares, finds versions, copies and restores. It asks nobody
// for permission.
//
// Reading goes to the engine, so that the past and the present are read by the
// same code. Changes go through package fs, which judges what else there is to
// judge: names, quotas, what is in the way.
package files

import (
	"context"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/when"
)

// maxPath bounds the paths that are looked up: bytes.
const maxPath = 64 << 10

// Files are those of all shares of a pool. Safe for concurrent use.
type Files struct {
	e  *engine.Engine
	fs *fs.FS
}

// New makes Files of a pool, changed through f.
func New(e *engine.Engine, f *fs.FS) *Files { return &Files{e: e, fs: f} }

// Place is a path of a share, at a moment or, without one, in the present.
type Place struct {
	Share string
	When  *when.Spec
	Path  string // begins with "/"
}

// reader is what the present and a past moment of a share have in common.
type reader interface {
	Look(func(inode.Reader) error) error
	ReadFile(ino uint64, p []byte, off uint64) error
	Seed() uint64
}

// state is a share at a moment, to be read.
type state struct {
	reader
	share  string
	moment *engine.Moment // nil: the present
	floor  func() int64   // within Look only
	close  func()
}

// share describes a share. NotFound; Invalid if it is a volume.
func (f *Files) share(name string) (engine.DatasetInfo, error) {
	i, err := f.e.Dataset(name)
	if err == nil && i.Kind != "share" {
		err = fail.New(fail.Invalid, "%s is a volume: it has blocks, not files", name).
			WithHint("read it over NBD, or make a share with varve share create")
	}
	return i, err
}

// open opens a share at a moment. Close it.
func (f *Files) open(ctx context.Context, share string, w *when.Spec) (*state, error) {
	if _, err := f.share(share); err != nil {
		return nil, err
	}
	if w == nil || w.Kind == when.Now {
		h, err := f.e.Attach(share, engine.Caller{}, false, func() {})
		if err != nil {
			return nil, err
		}
		return &state{reader: h, share: share, floor: h.Floor, close: h.Detach}, nil
	}
	s, _, err := f.view(ctx, share, *w)
	return s, err
}

// view opens a share at a moment that does not change, be it the present one.
func (f *Files) view(ctx context.Context, share string, w when.Spec) (*state, *engine.View, error) {
	if _, err := f.share(share); err != nil {
		return nil, nil, err
	}
	m, err := f.e.Resolve(share, w)
	if err != nil {
		return nil, nil, err
	}
	v, err := f.e.OpenView(m)
	if err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil { // opening may have taken long
		v.Close()
		return nil, nil, err
	}
	return &state{reader: v, share: share, moment: &m, floor: v.Floor, close: v.Close}, v, nil
}

// split cuts a path into its names. "." and empty names go; there is no "..".
func split(path string) ([]string, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return nil, fail.New(fail.Invalid, "%.100q is no path", path).WithHint("a path begins with /")
	case len(path) > maxPath:
		return nil, fail.New(fail.TooBig, "a path has at most %d bytes", maxPath)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			return nil, fail.New(fail.Invalid, "%.100q has \"..\" in it", path).WithHint("write the path without it")
		case ".snapshot":
			return nil, fail.New(fail.Invalid, "%.100q: the past has an address of its own here", path).WithHint("write SHARE@WHEN:/path")
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

func join(names []string) string { return "/" + strings.Join(names, "/") }

// child is the path of a name in a directory.
func child(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

// find looks a path up. NotFound, and Invalid where what is not the end of the
// path is no directory.
func (s *state) find(path string) (ino uint64, i inode.Inode, err error) {
	names, err := split(path)
	if err != nil {
		return 0, i, err
	}
	err = s.Look(func(r inode.Reader) error {
		ino, i, err = s.walk(r, names)
		return err
	})
	return ino, i, err
}

func (s *state) walk(r inode.Reader, names []string) (uint64, inode.Inode, error) {
	ino := uint64(inode.Root)
	i, err := inode.Load(r, ino)
	for n, name := range names {
		if err != nil {
			return 0, i, err
		}
		if !i.IsDir() {
			return 0, i, s.noDirectory(r, names[:n], ino, &i)
		}
		e, ok, err := inode.Lookup(r, s.Seed(), ino, name)
		if err != nil {
			return 0, i, err
		}
		if !ok {
			return 0, i, s.missing(names[:n+1])
		}
		ino = e.Ino
		if i, err = inode.Load(r, ino); err != nil {
			return 0, i, err
		}
	}
	return ino, i, err
}

func (s *state) missing(names []string) error {
	if s.moment == nil {
		return fail.New(fail.NotFound, "no %s in %s", join(names), s.share).
			WithHint("varve versions %s:%s tells whether there was", s.share, join(names))
	}
	return fail.New(fail.NotFound, "no %s in %s at %s", join(names), s.share, s.moment.Spec).
		WithHint("varve versions %s:%s tells when there was", s.share, join(names))
}

// noDirectory is the error of going on below what is no directory.
func (s *state) noDirectory(r inode.Reader, names []string, ino uint64, i *inode.Inode) error {
	err := fail.New(fail.Invalid, "%s of %s is no directory", join(names), s.share)
	if i.Mode&inode.ModeType != inode.ModeLink {
		return err
	}
	target, terr := inode.Target(r, ino)
	if terr != nil {
		return terr
	}
	return err.WithHint("it is a symbolic link to %s, and links are not followed here", target)
}
