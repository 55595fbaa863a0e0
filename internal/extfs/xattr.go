package extfs

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"varve/internal/dump"
	"varve/internal/fail"
)

// Xattrs lie in the inode after its fields and in a block of their own. Both begin
// with the magic; a block's header has 32 bytes (4 references  8 blocks  12 hash
// 16 checksum). Then come entries, until one begins with four zeros, little-endian:
//
//	0 length of the name u8  1 index of the prefix u8  2 value's offset u16  4 value's inode u32
//	8 value's size u32  12 hash u32  16 name, padded to 4
//
// A value's offset counts from the block's beginning, or in the inode from the first
// entry. With ea_inode a value may be the contents of an inode instead.
const (
	xattrMagic       = 0xea020000
	xattrBlockHeader = 32
	xattrEntrySize   = 16

	maxXattrValue = 64 << 10 // bytes, as in Linux
	maxXattrs     = 16 << 20 // bytes of all values of an inode
)

const indexSystem = 7 // for dump.ExtPrefix

// bodyXattrs returns the part of the inode that holds xattrs after the magic, or
// nothing.
func (r rawInode) bodyXattrs() []byte {
	at := 128 + r.extra()
	if r.extra() == 0 || at+4 > len(r) || r.u32(at) != xattrMagic {
		return nil
	}
	return r[at+4:]
}

// Xattrs implements dump.Source. Where a name is in both places, that in the inode
// counts, as in Linux.
func (f *FS) Xattrs(ctx context.Context, i *dump.Inode) ([]dump.Xattr, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil {
		return nil, err
	}
	x := &xattrReader{fs: f, ino: i.Ino, raw: r, rest: maxXattrs}
	var list []dump.Xattr
	add := func(e xattrEntry, value []byte) error {
		name, value, err := x.convert(e, value)
		if err != nil || name == "" || slices.ContainsFunc(list, func(o dump.Xattr) bool { return o.Name == name }) {
			return err
		}
		list = append(list, dump.Xattr{Name: name, Value: slices.Clone(value)})
		return nil
	}
	if err := x.body(ctx, add); err != nil {
		return nil, err
	}
	if err := x.block(ctx, add); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b dump.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// xattrReader reads the xattrs of one inode.
type xattrReader struct {
	fs   *FS
	ino  uint32
	raw  rawInode
	rest int // how many bytes of values may still be read from other inodes; below 0: leave such values out
}

type xattrEntry struct {
	index byte
	name  string
}

// convert gives an xattr Linux's name and the value that getxattr returns; no name
// if Linux does not show it either.
func (x *xattrReader) convert(e xattrEntry, value []byte) (string, []byte, error) {
	prefix := dump.ExtPrefix(e.index)
	if prefix == "" {
		return "", nil, fail.New(fail.Unsupported, "inode %d has an extended attribute %q of the unknown kind %d", x.ino, e.name, e.index)
	}
	switch e.index {
	case indexSystem:
		if e.name == "data" { // contents, not an attribute
			return "", nil, nil
		}
	case dump.ExtACL, dump.ExtDefaultACL:
		acl, err := x.acl(value)
		return prefix, acl, err
	}
	return prefix + e.name, value, nil
}

// body visits the xattrs in the inode.
func (x *xattrReader) body(ctx context.Context, fn func(xattrEntry, []byte) error) error {
	p := x.raw.bodyXattrs()
	if len(p) == 0 {
		return nil
	}
	return x.entries(ctx, p, 0, fn)
}

// block visits the xattrs in a block of their own.
func (x *xattrReader) block(ctx context.Context, fn func(xattrEntry, []byte) error) error {
	n := x.fs.xattrBlock(x.raw)
	if n == 0 {
		return nil
	}
	p := make([]byte, x.fs.disk.block)
	if err := x.fs.disk.read(ctx, p, n); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(p) != xattrMagic || le.Uint32(p[8:]) != 1 {
		return corrupt("inode %d has its extended attributes in block %d, which holds none", x.ino, n)
	}
	if x.fs.super.sums() {
		sum := crc32cLE(crc32cLE(x.fs.super.seed, uint32(n)), uint32(n>>32))
		sum = crc32c(crc32cLE(crc32c(sum, p[:16]), 0), p[20:])
		if want := le.Uint32(p[16:]); sum != want {
			return corrupt("inode %d has extended attributes in block %d with checksum %#x, not %#x", x.ino, n, sum, want)
		}
	}
	return x.entries(ctx, p, xattrBlockHeader, fn)
}

// entries visits the entries of p from an offset on; values' offsets count from the
// beginning of p.
func (x *xattrReader) entries(ctx context.Context, p []byte, at int, fn func(xattrEntry, []byte) error) error {
	le := binary.LittleEndian
	for {
		if at+4 > len(p) {
			return corrupt("inode %d has extended attributes without an end", x.ino)
		}
		if le.Uint32(p[at:]) == 0 {
			return nil
		}
		if at+xattrEntrySize > len(p) || at+xattrEntrySize+int(p[at]) > len(p) {
			return corrupt("inode %d has an extended attribute beyond its room, at offset %d of %d", x.ino, at, len(p))
		}
		e := p[at : at+xattrEntrySize+int(p[at])]
		entry := xattrEntry{index: e[1], name: string(e[xattrEntrySize:])}
		at += (len(e) + 3) &^ 3
		size, inode := le.Uint32(e[8:]), le.Uint32(e[4:])
		if inode != 0 {
			value, err := x.inodeValue(ctx, inode, size)
			if err != nil {
				return err
			}
			if x.rest < 0 {
				continue
			}
			if err := fn(entry, value); err != nil {
				return err
			}
			continue
		}
		begin := int(le.Uint16(e[2:]))
		if size > uint32(len(p)) || begin+int(size) > len(p) || size > 0 && begin < at {
			return corrupt("inode %d has the extended attribute %q with a value of %d bytes at offset %d of %d", x.ino, entry.name, size, begin, len(p))
		}
		value := p[:0]
		if size > 0 {
			value = p[begin : begin+int(size)]
		}
		if err := fn(entry, value); err != nil {
			return err
		}
	}
}

// inodeValue reads a value that has an inode of its own.
func (x *xattrReader) inodeValue(ctx context.Context, ino, size uint32) ([]byte, error) {
	if x.rest < 0 {
		return nil, nil
	}
	if x.rest -= int(min(size, maxXattrs)); size > maxXattrValue || x.rest < 0 {
		return nil, fail.New(fail.TooBig, "inode %d has an extended attribute of %d bytes, or more than %d in all", x.ino, size, maxXattrs)
	}
	r, err := x.fs.inode(ctx, ino)
	if err != nil {
		return nil, err
	}
	if r.flags()&flagEAInode == 0 || r.flags()&flagInlineData != 0 || x.fs.sizeOf(r) != uint64(size) {
		return nil, corrupt("inode %d has an extended attribute of %d bytes in inode %d, which holds none", x.ino, size, ino)
	}
	value := make([]byte, size)
	if err := x.fs.mapOf(ino, r, uint64(size)).Read(ctx, value, 0); err != nil {
		return nil, err
	}
	// The access time is the value's checksum; before that was so, the modification
	// time named the inode that the value belongs to.
	ours := r.u32(16) == x.ino && r.generation() == x.raw.generation()
	if sum := crc32c(x.fs.super.seed, value); sum != r.u32(8) && !ours {
		return nil, corrupt("inode %d has an extended attribute in inode %d with checksum %#x, not %#x", x.ino, ino, sum, r.u32(8))
	}
	return value, nil
}
