package extfs

import (
	"context"
	"encoding/binary"

	"varve/internal/blockmap"
)

// extents is a tree of extents. A node is a header and entries of 12 bytes each,
// little-endian:
//
//	header  0 magic 0xf30a u16  2 entries u16  4 room for u16  6 depth u16  8 generation u32
//	leaf    0 block u32  4 length u16 (above 32768: that much less, and unwritten)  6 start, high u16  8 start u32
//	index   0 block u32  4 child u32  8 child, high u16
//	tail    checksum u32, after the room for entries, except in the inode
//
// Every node but the root has an entry, and keys rise through the whole tree: so no
// walk is longer than the tree has nodes, however its pointers lead.
type extents struct {
	fs   *FS
	ino  uint32
	root []byte // 60 bytes
	seed uint32
}

const (
	extentMagic    = 0xf30a
	extentMaxDepth = 5
	extentMaxLen   = 32768 // blocks
)

// Walk implements blockmap.Walker.
func (e *extents) Walk(ctx context.Context, b *blockmap.Builder) error {
	depth := binary.LittleEndian.Uint16(e.root[6:])
	if depth > extentMaxDepth {
		return corrupt("inode %d has a tree of extents of depth %d", e.ino, depth)
	}
	return e.node(ctx, b, e.root, depth, 0, 1<<32)
}

// node walks one node, whose keys must be in [lo, hi).
func (e *extents) node(ctx context.Context, b *blockmap.Builder, p []byte, depth uint16, lo, hi uint64) error {
	le := binary.LittleEndian
	count, room := int(le.Uint16(p[2:])), int(le.Uint16(p[4:]))
	if le.Uint16(p) != extentMagic || count > room || 12+12*room > len(p) || le.Uint16(p[6:]) != depth || (count == 0 && (lo > 0 || depth > 0)) {
		return corrupt("inode %d has a damaged node of extents (%d of %d entries, depth %d instead of %d) from its block %d on", e.ino, count, room, le.Uint16(p[6:]), depth, lo)
	}
	key := func(i int) uint64 { return uint64(le.Uint32(p[12+12*i:])) }
	for i := 0; i < count && !b.Full() && key(i) < b.End; i++ {
		entry, end := p[12+12*i:][:12], hi
		if i+1 < count {
			end = key(i + 1)
		}
		if key(i) < lo || key(i) >= end || end > hi {
			return corrupt("inode %d has extents out of order: block %d in [%d, %d)", e.ino, key(i), lo, hi)
		}
		if end <= b.From {
			continue // the walk begins later
		}
		var err error
		if depth > 0 {
			err = e.child(ctx, b, entry, depth-1, key(i), end)
		} else {
			err = e.leaf(b, entry, end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *extents) leaf(b *blockmap.Builder, entry []byte, end uint64) error {
	le := binary.LittleEndian
	logical, count := uint64(le.Uint32(entry)), uint64(le.Uint16(entry[4:]))
	start := uint64(le.Uint32(entry[8:])) | uint64(le.Uint16(entry[6:]))<<32
	unwritten := count > extentMaxLen
	if unwritten {
		count -= extentMaxLen
	}
	if count == 0 || logical+count > end {
		return corrupt("inode %d has an extent of %d blocks at its block %d, which the next at %d contradicts", e.ino, count, logical, end)
	}
	if unwritten {
		return nil // reads as zeros
	}
	if start >= e.fs.super.blocks {
		return corrupt("inode %d has an extent at its block %d in block %d of %d", e.ino, logical, start, e.fs.super.blocks)
	}
	return b.Add(blockmap.Run{Block: logical, Count: count, At: start * e.fs.disk.block})
}

func (e *extents) child(ctx context.Context, b *blockmap.Builder, entry []byte, depth uint16, lo, hi uint64) error {
	le := binary.LittleEndian
	block := uint64(le.Uint32(entry[4:])) | uint64(le.Uint16(entry[8:]))<<32
	if block == 0 {
		return corrupt("inode %d has a node of extents in block 0", e.ino)
	}
	if err := b.Count(1); err != nil {
		return err
	}
	p := make([]byte, e.fs.disk.block)
	if err := e.fs.disk.read(ctx, p, block); err != nil {
		return err
	}
	if le.Uint16(p[2:]) == 0 {
		return corrupt("inode %d has a node of extents without an entry in block %d", e.ino, block)
	}
	if e.fs.super.sums() {
		tail := 12 + 12*int(le.Uint16(p[4:]))
		if tail+4 > len(p) {
			return corrupt("inode %d has a node of extents with room for %d entries in block %d", e.ino, le.Uint16(p[4:]), block)
		}
		if got, want := crc32c(e.seed, p[:tail]), le.Uint32(p[tail:]); got != want {
			return corrupt("inode %d has a node of extents in block %d with checksum %#x, not %#x", e.ino, block, got, want)
		}
	}
	return e.node(ctx, b, p, depth, lo, hi)
}
