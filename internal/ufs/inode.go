package ufs

import (
	"context"

	"varve/internal/blockmap"
	"varve/internal/dump"
)

const rootIno = dump.RootIno

const modeWhiteout = 0o160000

// inode is an inode as it lies on the disk. Offsets in bytes:
//
//	UFS1, 128 bytes:  0 mode u16  2 links u16  4 uid, gid u16 (4.2BSD)  8 size u64
//	      16 atime, ns  24 mtime, ns  32 ctime, ns  40 pointers 15*u32  100 flags  104 blocks
//	      112 uid  116 gid
//	UFS2, 256 bytes:  0 mode u16  2 links u16  4 uid  8 gid  16 size u64  24 blocks u64
//	      32 atime, mtime, ctime, birth i64  64 ns of mtime, atime, ctime, birth  88 flags
//	      92 size of xattrs  96 their pointers 2*u64  112 pointers 15*u64  244 check-hash
type inode struct {
	s *super
	p []byte
}

func (r inode) u16(at int) uint32 { return uint32(r.s.order.Uint16(r.p[at:])) }
func (r inode) u32(at int) uint32 { return r.s.order.Uint32(r.p[at:]) }
func (r inode) u64(at int) uint64 { return r.s.order.Uint64(r.p[at:]) }

func (r inode) mode() uint32  { return r.u16(0) }
func (r inode) links() uint32 { return r.u16(2) }

func (r inode) flags() dump.Flags {
	at := 100
	if r.s.ufs2 {
		at = 88
	}
	return dump.UFSFlags.Read(r.u32(at))
}

// size is the size in bytes; that of a snapshot counts as 0.
func (r inode) size() uint64 {
	switch {
	case r.flags()&dump.Snapshot != 0:
		return 0
	case r.s.ufs2:
		return r.u64(16)
	}
	return r.u64(8)
}

// blocks is what is allocated, in units of 512 bytes.
func (r inode) blocks() uint64 {
	if r.s.ufs2 {
		return r.u64(24)
	}
	return uint64(r.u32(104))
}

// pointers is the room of the block map, which a device or a short link use otherwise.
func (r inode) pointers() []byte {
	at := 40
	if r.s.ufs2 {
		at = 112
	}
	return r.p[at:][:r.s.mapSize()]
}

func (r inode) xattrSize() uint64 {
	if r.s.ufs2 {
		return uint64(r.u32(92))
	}
	return 0
}

// check verifies the check-hash.
func (f *FS) check(ino uint32, r inode) error {
	if f.super.hashes&hashInodes == 0 || r.mode() == 0 {
		return nil
	}
	if want, got := r.u32(244), hashAround(r.p, 244); want != got {
		return corrupt("inode %d has check-hash %#x, not %#x", ino, want, got)
	}
	return nil
}

// decode fills i with what an inode in use says. i.Raw becomes r's bytes.
func (f *FS) decode(ino uint32, r inode, i *dump.Inode) error {
	*i = dump.Inode{Ino: ino, Mode: r.mode(), Nlink: r.links(), Blocks: r.blocks(), HasXattrs: r.xattrSize() != 0, Raw: r.p}
	at := func(sec int64, nsec uint32) dump.Time { return dump.Time{Sec: sec, Nsec: min(nsec, 999_999_999)} }
	if f.super.ufs2 {
		i.UID, i.GID = r.u32(4), r.u32(8)
		i.Atime, i.Mtime = at(int64(r.u64(32)), r.u32(68)), at(int64(r.u64(40)), r.u32(64))
		i.Ctime, i.Birth = at(int64(r.u64(48)), r.u32(72)), at(int64(r.u64(56)), r.u32(76))
	} else {
		i.UID, i.GID = r.u32(112), r.u32(116)
		if f.super.oldInodes {
			i.UID, i.GID = r.u16(4), r.u16(6)
		}
		i.Atime, i.Mtime, i.Ctime = at(int64(int32(r.u32(16))), r.u32(20)), at(int64(int32(r.u32(24))), r.u32(28)), at(int64(int32(r.u32(32))), r.u32(36))
	}
	i.Flags = r.flags()
	if i.Flags&dump.Snapshot != 0 {
		i.Blocks = 0
	}
	switch i.Mode & dump.ModeType {
	case dump.ModeFile, dump.ModeDir, dump.ModeLink:
		i.Size = r.size()
		if i.Size > f.maxSize {
			return corrupt("inode %d says that it has %d bytes, more than its block map can have", ino, i.Size)
		}
	case dump.ModeChar, dump.ModeBlock:
		// As Linux, NetBSD and, below 256 of each, FreeBSD number devices.
		i.Major, i.Minor = dump.SplitRdev(uint32(f.super.pointer(r.pointers())))
	case dump.ModeFIFO, dump.ModeSocket:
	default:
		return corrupt("inode %d is in use, but its mode %#o names no type", ino, i.Mode)
	}
	return nil
}

// contents returns the block map of an inode.
func (f *FS) contents(r inode) *blockmap.Pointers {
	x := &blockmap.Pointers{Geometry: &f.geometry, Unit: f.super.fsize, Width: f.super.width(), Decode: f.super.pointer}
	for i := range x.Map {
		x.Map[i] = f.super.pointer(r.pointers()[uint64(i)*f.super.width():])
	}
	return x
}

// mapOf returns the contents of an inode that has blocks.
func (f *FS) mapOf(ino uint32, r inode) *blockmap.Map {
	return blockmap.New(&f.geometry, ino, r.size(), f.contents(r))
}

// rawOf returns the inode that i was decoded from.
func (f *FS) rawOf(ctx context.Context, i *dump.Inode) (inode, error) {
	if uint64(len(i.Raw)) == f.super.inodeSize() {
		return inode{f.super, i.Raw}, nil
	}
	if i.Ino < rootIno || i.Ino > f.super.maxIno() {
		return inode{}, corrupt("inode %d is beyond the file system's %d", i.Ino, f.super.maxIno())
	}
	r := inode{f.super, make([]byte, f.super.inodeSize())}
	group, at := uint64(i.Ino)/f.super.inodes, uint64(i.Ino)%f.super.inodes
	if err := f.readAt(ctx, r.p, f.super.table(group)+at*f.super.inodeSize()); err != nil {
		return r, err
	}
	return r, f.check(i.Ino, r)
}
