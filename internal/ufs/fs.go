// Package ufs reads UFS1 and UFS2, of both byte orders, from an image or a device
// that nobody has mounted, as a dump.Source. It writes nothing and replays no journal.
// See docs/foreign.md.
package ufs

import (
	"context"
	"fmt"
	"io"
	"slices"

	"varve/internal/blockmap"
	"varve/internal/dump"
	"varve/internal/fail"
)

const hint = "check a copy of the image with fsck_ffs"

// corrupt makes the error of a structure that contradicts itself.
func corrupt(format string, args ...any) *fail.Error {
	return fail.New(fail.Corrupt, format, args...).WithHint("%s", hint)
}

// FS is an open file system. Safe for concurrent use.
type FS struct {
	r        io.ReaderAt
	super    *super
	geometry blockmap.Geometry
	maxSize  uint64 // of a file, in bytes, by its block map

	warnings []string // of Open; nothing after it adds to them
}

var _ dump.Source = (*FS)(nil)

// Probe reports whether there is a superblock of UFS, sound or not.
func Probe(r io.ReaderAt) bool {
	b := make([]byte, superSize)
	for _, at := range places {
		if n, _ := r.ReadAt(b, int64(at)); n == superSize {
			if _, _, ok := magicAt(b); ok {
				return true
			}
		}
	}
	return false
}

// Open opens the file system in an image of size bytes. Errors: NotFound if there is
// none, Corrupt names the structure that is damaged.
func Open(ctx context.Context, r io.ReaderAt, size int64) (*FS, error) {
	f := &FS{r: r}
	var first error
	for _, at := range places {
		s, err := f.superAt(ctx, at, uint64(max(size, 0)))
		switch {
		case err == nil:
			f.super = s
			f.geometry = blockmap.Geometry{Block: s.bsize, Size: s.size * s.fsize, Hint: hint, Read: f.readAt}
			f.maxSize = s.bsize * blockmap.Reach(s.bsize, s.width())
			f.warnState()
			return f, nil
		case first == nil && !fail.Is(err, fail.NotFound):
			first = err
		}
	}
	if first != nil {
		return nil, first
	}
	return nil, fail.New(fail.NotFound, "no UFS superblock at any of the offsets %v", places)
}

// superAt reads the superblock at one place. A copy of a superblock, which lies in
// every group and can be at such a place too, does not count.
func (f *FS) superAt(ctx context.Context, at, size uint64) (*super, error) {
	none := fail.New(fail.NotFound, "no UFS superblock at offset %d", at)
	if size < superSize || at > size-superSize {
		return nil, none
	}
	b := make([]byte, superSize)
	if err := blockmap.ReadImage(ctx, f.r, b, at); err != nil {
		return nil, err
	}
	order, ufs2, ok := magicAt(b)
	if !ok || ufs2 && order.Uint64(b[1000:]) != at || !ufs2 && at == 65536 {
		return nil, none
	}
	s := parseSuper(b, order, ufs2)
	if err := s.check(size); err != nil {
		return nil, fail.Wrap(fail.Corrupt, err, "the superblock at offset %d", at)
	}
	return s, nil
}

// readAt fills p from a byte of the file system on. What is not inside gives Corrupt.
func (f *FS) readAt(ctx context.Context, p []byte, at uint64) error {
	size := f.super.size * f.super.fsize
	if at > size || uint64(len(p)) > size-at {
		return corrupt("%d bytes at byte %d are beyond the file system's %d", len(p), at, size)
	}
	return blockmap.ReadImage(ctx, f.r, p, at)
}

// warnState warns of what the file system says about itself.
func (f *FS) warnState() {
	s := f.super
	dirty := !s.clean || s.flags&flagUnclean != 0
	switch {
	case dirty && s.flags&(flagSUJ|flagGjournal) != 0:
		f.warn("the file system was not unmounted, and its journal is not replayed here: run fsck_ffs on a copy, names and contents may be those of different moments")
	case dirty:
		f.warn("the file system was not unmounted: check it with fsck_ffs, names and contents may be those of different moments")
	}
	if s.flags&flagNeedsFsck != 0 {
		f.warn("the file system is marked as damaged: check it with fsck_ffs")
	}
}

func (f *FS) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// Warnings implements dump.Source.
func (f *FS) Warnings() []string { return slices.Clone(f.warnings) }

// Info implements dump.Source.
func (f *FS) Info() dump.Info { return f.super.info() }
