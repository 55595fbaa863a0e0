package extfs

import (
	"context"
	"encoding/binary"

	"varve/internal/blockmap"
	"varve/internal/dump"
	"varve/internal/fail"
)

const rootIno = dump.RootIno

// The flags of an inode that matter here.
const (
	flagEncrypt    = 0x800
	flagIndex      = 0x1000
	flagHugeFile   = 0x40000
	flagExtents    = 0x80000
	flagVerity     = 0x100000
	flagEAInode    = 0x200000
	flagInlineData = 0x10000000
)

// rawInode is an inode as it lies on the disk, super.inodeSize bytes of it.
// Little-endian, offsets in bytes:
//
//	  0 mode u16      2 uid u16       4 size u32      8 atime i32   12 ctime   16 mtime   20 dtime
//	 24 gid u16      26 links u16    28 blocks u32   32 flags u32   40 block map, 60 bytes
//	100 generation  104 xattr block 108 size, high  116 blocks, high u16  118 xattr block, high u16
//	120 uid, high   122 gid, high   124 checksum u16
//	128 extra size u16  130 checksum, high u16  132 ctime extra  136 mtime extra  140 atime extra
//	144 birth       148 birth extra
//	128 + extra size: xattrs
type rawInode []byte

func (r rawInode) u16(at int) uint16 { return binary.LittleEndian.Uint16(r[at:]) }
func (r rawInode) u32(at int) uint32 { return binary.LittleEndian.Uint32(r[at:]) }

func (r rawInode) mode() uint16       { return r.u16(0) }
func (r rawInode) links() uint16      { return r.u16(26) }
func (r rawInode) flags() uint32      { return r.u32(32) }
func (r rawInode) blockMap() []byte   { return r[40:100] }
func (r rawInode) generation() uint32 { return r.u32(100) }

// extra returns how many bytes beyond the first 128 are fields.
func (r rawInode) extra() int {
	if len(r) <= 128 {
		return 0
	}
	return int(r.u16(128))
}

// size returns the size in bytes. The high half is another field where a
// directory cannot be large.
func (f *FS) sizeOf(r rawInode) uint64 {
	size := uint64(r.u32(4))
	if r.mode()&dump.ModeType == dump.ModeFile || f.super.incompat&incompatLargedir != 0 {
		size |= uint64(r.u32(108)) << 32
	}
	return size
}

// xattrBlock returns the number of the block of xattrs, or 0.
func (f *FS) xattrBlock(r rawInode) uint64 {
	n := uint64(r.u32(104))
	if !f.super.hurd && f.super.incompat&incompat64bit != 0 {
		n |= uint64(r.u16(118)) << 32
	}
	return n
}

// seedOf is the seed of the checksums of everything that belongs to an inode.
func (f *FS) seedOf(ino uint32, r rawInode) uint32 {
	return crc32cLE(crc32cLE(f.super.seed, ino), r.generation())
}

// checkInode verifies the checksum and the bounds of an inode.
func (f *FS) checkInode(ino uint32, r rawInode) error {
	if extra := r.extra(); extra != 0 && (extra%4 != 0 || 128+extra > len(r)) {
		return corrupt("inode %d says that it has %d bytes of extra fields", ino, extra)
	}
	if !f.super.sums() {
		return nil
	}
	sum := crc32c(f.seedOf(ino, r), r[:124])
	sum = crc32c(crc32cZeros(sum), r[126:128])
	want := uint32(r.u16(124))
	if len(r) > 128 {
		if r.extra() >= 4 {
			sum = crc32c(crc32cZeros(crc32c(sum, r[128:130])), r[132:])
			want |= uint32(r.u16(130)) << 16
		} else {
			sum = crc32c(sum, r[128:])
		}
	}
	if r.extra() < 4 {
		sum &= 0xffff
	}
	if sum != want {
		return corrupt("inode %d has checksum %#x, not %#x", ino, sum, want)
	}
	return nil
}

// decode fills i with what an inode in use says. i.Raw becomes r.
func (f *FS) decode(ino uint32, r rawInode, i *dump.Inode) error {
	*i = dump.Inode{
		Ino: ino, Mode: uint32(r.mode()), Nlink: uint32(r.links()),
		UID: uint32(r.u16(2)) | uint32(r.u16(120))<<16, GID: uint32(r.u16(24)) | uint32(r.u16(122))<<16,
		Atime: r.time(8, 140), Ctime: r.time(12, 132), Mtime: r.time(16, 136),
		HasXattrs: f.xattrBlock(r) != 0 || len(r.bodyXattrs()) > 0,
		Raw:       r,
	}
	if r.extra() >= 20 {
		i.Birth = r.time(144, 148)
	}
	i.Flags = dump.ExtFlags.Read(r.flags())
	i.Blocks = uint64(r.u32(28))
	if f.super.roCompat&roHugeFile != 0 {
		i.Blocks |= uint64(r.u16(116)) << 32
		if r.flags()&flagHugeFile != 0 {
			i.Blocks *= f.disk.block / 512
		}
	}
	switch i.Mode & dump.ModeType {
	case dump.ModeFile, dump.ModeDir, dump.ModeLink:
		i.Size = f.sizeOf(r)
		return f.checkSize(i, r)
	case dump.ModeChar, dump.ModeBlock:
		i.Major, i.Minor = r.device()
	case dump.ModeFIFO, dump.ModeSocket:
	default:
		return corrupt("inode %d is in use, but its mode %#o names no type", ino, i.Mode)
	}
	return nil
}

// checkSize refuses sizes that the block map cannot have.
func (f *FS) checkSize(i *dump.Inode, r rawInode) error {
	limit := uint64(1) << 32 // blocks
	if r.flags()&flagExtents == 0 {
		limit = min(limit, blockmap.Reach(f.disk.block, pointerSize))
	}
	if i.Size > limit*f.disk.block {
		return corrupt("inode %d says that it has %d bytes, more than its block map can have", i.Ino, i.Size)
	}
	return nil
}

// device returns the device number: of 8+8 bits in the first word of the block
// map, or of 12+20 bits in the second.
func (r rawInode) device() (major, minor uint32) {
	if old := r.u32(40); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	return dump.SplitRdev(r.u32(44))
}

// time decodes seconds at one offset and, if the inode has that field, two more
// bits of them and the nanoseconds at another.
func (r rawInode) time(at, extra int) dump.Time {
	t := dump.Time{Sec: int64(int32(r.u32(at)))}
	if extra+4 <= 128+r.extra() {
		x := r.u32(extra)
		t.Sec += int64(x&3) << 32
		t.Nsec = min(x>>2, 999_999_999)
	}
	return t
}

// inode reads one inode, in use or not. Nothing but its checksum and its bounds is
// judged.
func (f *FS) inode(ctx context.Context, ino uint32) (rawInode, error) {
	if ino == 0 || ino > f.super.inodes {
		return nil, corrupt("inode %d is beyond the file system's %d", ino, f.super.inodes)
	}
	g, at := f.groups[(ino-1)/f.super.inodesPerGroup], (ino-1)%f.super.inodesPerGroup
	if at >= g.used {
		return nil, corrupt("inode %d is named, but was never used", ino)
	}
	r := make(rawInode, f.super.inodeSize)
	offset := uint64(at) * uint64(f.super.inodeSize)
	if err := f.disk.readAt(ctx, r, g.table*f.disk.block+offset); err != nil {
		return nil, err
	}
	return r, f.checkInode(ino, r)
}

// readableFile refuses what would read as other bytes than the file's.
func readableFile(ino uint32, r rawInode) error {
	switch {
	case r.flags()&flagEncrypt != 0:
		return fail.New(fail.Unsupported, "inode %d is encrypted (feature encrypt)", ino)
	case r.flags()&flagVerity != 0:
		return fail.New(fail.Unsupported, "inode %d is sealed (feature verity)", ino)
	}
	return nil
}
