package extfs

import (
	"context"
	"encoding/binary"
	"strings"

	"varve/internal/dump"
)

// A directory is a sequence of blocks, each full of entries, little-endian:
//
//	0 inode u32 (0: free)  4 length of the entry u16  6 length of the name u8  7 type u8  8 name
//
// Without the feature filetype the length of the name has 16 bits. With checksums
// the last 12 bytes are an entry without inode, of type 0xde, and its name the
// checksum. Blocks of a hashed directory's index look like free entries, so that a
// directory can always be read in order.
const (
	direntHeader = 8
	tailSize     = 12
	tailType     = 0xde
)

// direntTypes are the modes>>12 of the types in entries.
var direntTypes = [...]uint8{0, 8, 4, 2, 6, 1, 12, 10}

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
	seed       uint32
	indexed    bool
	onlyParent bool

	self, parent uint32 // what "." and ".." name, or 0 before they were seen
}

func (d *dirReader) read(ctx context.Context, dir *dump.Inode) error {
	r, err := d.fs.rawOf(ctx, dir)
	if err != nil {
		return err
	}
	if err := readableFile(dir.Ino, r); err != nil {
		return err
	}
	d.seed, d.indexed = d.fs.seedOf(dir.Ino, r), r.flags()&flagIndex != 0
	if r.flags()&flagInlineData != 0 {
		err = d.inline(ctx, r)
	} else {
		err = d.blocks(ctx, r)
	}
	if err == nil && (d.self != dir.Ino || d.parent == 0) {
		err = corrupt("directory %d says that it is %d and its parent %d", dir.Ino, d.self, d.parent)
	}
	return err
}

// blocks reads a directory that has blocks.
func (d *dirReader) blocks(ctx context.Context, r rawInode) error {
	size, block := d.fs.sizeOf(r), d.fs.disk.block
	if size == 0 || size%block != 0 {
		return corrupt("directory %d has %d bytes, which are no whole blocks", d.ino, size)
	}
	n := size / block
	if d.onlyParent {
		n = 1
	}
	return d.fs.mapOf(d.ino, r, size).Directory(ctx, n, func(p []byte, at uint64) error {
		for ; len(p) > 0; p, at = p[block:], at+1 {
			if err := d.block(p[:block], at); err != nil {
				return err
			}
		}
		return nil
	})
}

// block visits the entries of a block after its checksum, if there is one.
func (d *dirReader) block(p []byte, at uint64) error {
	if !d.fs.super.sums() {
		return d.entries(p, at, d.fs.filetypes())
	}
	tail := p[len(p)-tailSize:]
	le := binary.LittleEndian
	switch {
	case d.indexed && (at == 0 || le.Uint32(p) == 0 && d.recordLength(p) == len(p)):
		if err := d.index(p, at); err != nil {
			return err
		}
	case le.Uint32(tail) == 0 && le.Uint16(tail[4:]) == tailSize && tail[6] == 0 && tail[7] == tailType:
		if got, want := crc32c(d.seed, p[:len(p)-tailSize]), le.Uint32(tail[8:]); got != want {
			return corrupt("directory %d, block %d of it: checksum %#x, not %#x", d.ino, at, got, want)
		}
	default:
		return corrupt("directory %d, block %d of it: no checksum", d.ino, at)
	}
	return d.entries(p, at, d.fs.filetypes())
}

// index verifies the checksum of a block of a hashed directory's index: after the
// entries that hide it lie limit u16, count u16 and limit slots of 8 bytes, the first
// of which those two are, and then 4 bytes and the checksum.
func (d *dirReader) index(p []byte, at uint64) error {
	le := binary.LittleEndian
	begin := direntHeader // of a node
	if d.recordLength(p) != len(p) {
		begin = 32 // of the root: ".", ".." and 8 bytes about the index
	}
	limit, count := int(le.Uint16(p[begin:])), int(le.Uint16(p[begin+2:]))
	tail := begin + 8*limit
	if count > limit || tail+8 > len(p) {
		return corrupt("directory %d, block %d of it: an index of %d entries of %d", d.ino, at, count, limit)
	}
	got := crc32c(crc32c(d.seed, p[:begin+8*count]), p[tail:tail+4])
	if got, want := crc32cLE(got, 0), le.Uint32(p[tail+4:]); got != want {
		return corrupt("directory %d, block %d of it: the index has checksum %#x, not %#x", d.ino, at, got, want)
	}
	return nil
}

// recordLength returns the length of the entry that p begins with. In blocks of 64
// KiB two values stand for the whole block.
func (d *dirReader) recordLength(p []byte) int {
	n := int(binary.LittleEndian.Uint16(p[4:]))
	if d.fs.disk.block == 1<<16 && (n == 0 || n == 1<<16-1) {
		return 1 << 16
	}
	return n
}

// entries visits the entries that fill p.
func (d *dirReader) entries(p []byte, at uint64, types bool) error {
	for offset := 0; offset < len(p); {
		e := p[offset:]
		if len(e) < direntHeader {
			return corrupt("directory %d, block %d of it: %d bytes are left after the last entry", d.ino, at, len(e))
		}
		length, name := d.recordLength(e), int(e[6])
		if !types {
			name |= int(e[7]) << 8
		}
		if length < direntHeader || length%4 != 0 || length > len(e) {
			return corrupt("directory %d, block %d of it, offset %d: an entry of %d bytes", d.ino, at, offset, length)
		}
		if ino := binary.LittleEndian.Uint32(e); ino != 0 {
			if direntHeader+name > length || name > 255 {
				return corrupt("directory %d, block %d of it, offset %d: a name of %d bytes in an entry of %d", d.ino, at, offset, name, length)
			}
			entry := dump.Entry{Ino: ino, Name: string(e[direntHeader : direntHeader+name])}
			if types && int(e[7]) < len(direntTypes) {
				entry.Type = direntTypes[e[7]]
			}
			if err := d.entry(entry, at, offset); err != nil {
				return err
			}
		}
		offset += length
	}
	return nil
}

// entry judges an entry and hands it over.
func (d *dirReader) entry(e dump.Entry, at uint64, offset int) error {
	switch {
	case e.Ino > d.fs.super.inodes || e.Name == "" || strings.ContainsAny(e.Name, "/\x00"):
		return corrupt("directory %d, block %d of it, offset %d: the name %q of inode %d", d.ino, at, offset, e.Name, e.Ino)
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

// inline reads a directory without blocks: the parent's number and entries in the
// inode, further entries in an xattr. It is itself without saying so.
func (d *dirReader) inline(ctx context.Context, r rawInode) error {
	data, err := d.fs.inlineData(ctx, d.ino, r)
	if err != nil {
		return err
	}
	d.self, d.parent = d.ino, binary.LittleEndian.Uint32(data)
	if d.onlyParent {
		return nil
	}
	if err := d.entries(data[4:inlineMap], 0, d.fs.filetypes()); err != nil {
		return err
	}
	return d.entries(data[inlineMap:], 1, d.fs.filetypes())
}
