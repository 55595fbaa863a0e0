package ufs

import (
	"context"
	"strings"

	"varve/internal/dump"
)

// A directory is a sequence of entries that do not cross its blocks of 512 bytes (1024
// in Apple's): 0 inode u32 (0: free), 4 length of the entry u16, 6 type u8, 7 length of
// the name u8, 8 name and NUL, padded to 4. In 4.2BSD the length of the name had 16
// bits and there was no type.
const (
	direntHeader = 8
	dirUnit      = 512
	typeWhiteout = 14
)

// Entries implements dump.Source.
func (f *FS) Entries(ctx context.Context, dir *dump.Inode, fn func(dump.Entry) error) error {
	d := &dirReader{fs: f, ino: dir.Ino, fn: fn}
	return d.read(ctx, dir)
}

// Parent implements dump.Source.
func (f *FS) Parent(ctx context.Context, dir *dump.Inode) (uint32, error) {
	d := &dirReader{fs: f, ino: dir.Ino, fn: func(dump.Entry) error { return nil }, onlyParent: true}
	err := d.read(ctx, dir)
	return d.parent, err
}

// dirReader reads one directory.
type dirReader struct {
	fs         *FS
	ino        uint32
	fn         func(dump.Entry) error
	onlyParent bool

	self, parent uint32 // what "." and ".." name, or 0 before they were seen
}

func (d *dirReader) read(ctx context.Context, dir *dump.Inode) error {
	r, err := d.fs.rawOf(ctx, dir)
	if err != nil {
		return err
	}
	size, block := r.size(), d.fs.super.bsize
	if size == 0 || size%dirUnit != 0 {
		return corrupt("directory %d has %d bytes, which are no whole blocks", d.ino, size)
	}
	m := d.fs.mapOf(d.ino, r)
	n := m.Blocks()
	if d.onlyParent {
		n = 1
	}
	if err := m.Directory(ctx, n, func(p []byte, at uint64) error { return d.entries(p, at*block) }); err != nil {
		return err
	}
	if d.self != d.ino || d.parent == 0 {
		return corrupt("directory %d says that it is %d and its parent %d", d.ino, d.self, d.parent)
	}
	return nil
}

// entries visits the entries that fill p, which begins at byte base of the directory.
func (d *dirReader) entries(p []byte, base uint64) error {
	s := d.fs.super
	for at := 0; at < len(p); {
		e := p[at:]
		where := base + uint64(at)
		if len(e) < direntHeader {
			return corrupt("directory %d, offset %d: %d bytes are left after the last entry", d.ino, where, len(e))
		}
		ino, length, kind, name := s.order.Uint32(e), int(s.order.Uint16(e[4:])), e[6], int(e[7])
		if s.shortLink <= 0 && !s.ufs2 { // 4.2BSD
			kind, name = 0, int(s.order.Uint16(e[6:]))
		}
		if length < direntHeader || length%4 != 0 || length > len(e) || length > 2*dirUnit {
			return corrupt("directory %d, offset %d: an entry of %d bytes", d.ino, where, length)
		}
		at += length
		if ino == 0 || kind == typeWhiteout {
			continue
		}
		if name > 255 || direntHeader+name > length {
			return corrupt("directory %d, offset %d: a name of %d bytes in an entry of %d", d.ino, where, name, length)
		}
		if err := d.entry(dump.Entry{Ino: ino, Type: kind & 15, Name: string(e[direntHeader : direntHeader+name])}, where); err != nil {
			return err
		}
	}
	return nil
}

// entry judges an entry and hands it over.
func (d *dirReader) entry(e dump.Entry, where uint64) error {
	switch {
	case e.Ino < rootIno || e.Ino > d.fs.super.maxIno() || e.Name == "" || strings.ContainsAny(e.Name, "/\x00"):
		return corrupt("directory %d, offset %d: the name %q of inode %d", d.ino, where, e.Name, e.Ino)
	case e.Name == "." && d.self == 0:
		d.self = e.Ino
		return nil
	case e.Name == ".." && d.parent == 0:
		d.parent = e.Ino
		return nil
	case e.Name == "." || e.Name == "..":
		return corrupt("directory %d has the name %q twice", d.ino, e.Name)
	}
	return d.fn(e)
}
