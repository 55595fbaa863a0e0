package extfs

import (
	"context"
	"encoding/binary"
)

// group is what a reader of inodes needs of a group descriptor. Little-endian,
// offsets in bytes; the fields from 32 on are there with the feature 64bit:
//
//	 4 inode bitmap u32   8 inode table u32  14 free inodes u16  18 flags u16
//	26 bitmap's checksum u16  28 unused inodes u16  30 checksum u16
//	36 bitmap, high u32  40 table, high u32  46 free, high u16  50 unused, high u16  58 checksum, high u16
type group struct {
	bitmap, table uint64 // blocks
	free          uint32 // inodes
	used          uint32 // inodes of the table that may be in use: none from there on
	bitmapSum     uint32
}

const groupInodeUninit = 1 // no inode of the group was ever used, and its bitmap is not there

// loadGroups reads all group descriptors: some 32 bytes for each 8192 inodes and
// more, and never more groups than the image has room for.
func (f *FS) loadGroups(ctx context.Context) error {
	s := f.super
	perBlock := uint64(s.blockSize / s.descSize)
	f.groups = make([]group, s.groups())
	block := make([]byte, s.blockSize)
	for n := range f.groups {
		i := uint64(n) % perBlock
		if i == 0 {
			if err := f.disk.read(ctx, block, f.descriptorBlock(uint64(n)/perBlock)); err != nil {
				return err
			}
		}
		desc := block[i*uint64(s.descSize):][:s.descSize]
		if err := f.parseGroup(uint32(n), desc); err != nil {
			return err
		}
	}
	return nil
}

// descriptorBlock returns where the nth block of group descriptors lies.
func (f *FS) descriptorBlock(n uint64) uint64 {
	s := f.super
	own := superOffset / uint64(s.blockSize) // the superblock's block
	if s.incompat&incompatMetaBG == 0 || n < uint64(s.firstMetaBG) {
		return own + 1 + n
	}
	first := n * uint64(s.blockSize/s.descSize) // the first group that it describes
	at := uint64(s.firstData) + first*uint64(s.blocksPerGroup)
	if s.hasBackup(first) {
		at++
	}
	if n == 0 && s.blockSize == 1024 && s.firstData == 0 {
		at++
	}
	return at
}

func (f *FS) parseGroup(n uint32, d []byte) error {
	s, le := f.super, binary.LittleEndian
	g := group{
		bitmap: uint64(le.Uint32(d[4:])), table: uint64(le.Uint32(d[8:])),
		free: uint32(le.Uint16(d[14:])), bitmapSum: uint32(le.Uint16(d[26:])),
		used: s.inodesPerGroup,
	}
	unused := uint32(le.Uint16(d[28:]))
	if s.descSize >= 64 {
		g.bitmap |= uint64(le.Uint32(d[36:])) << 32
		g.table |= uint64(le.Uint32(d[40:])) << 32
		g.free |= uint32(le.Uint16(d[46:])) << 16
		g.bitmapSum |= uint32(le.Uint16(d[58:])) << 16
		unused |= uint32(le.Uint16(d[50:])) << 16
	}
	if s.roCompat&(roGDTCsum|roMetadataCsum) != 0 { // only then the next two fields mean something
		if got, want := f.groupSum(n, d), le.Uint16(d[30:]); got != want {
			return corrupt("the descriptor of group %d has checksum %#x, not %#x", n, want, got)
		}
		switch {
		case le.Uint16(d[18:])&groupInodeUninit != 0:
			g.used = 0
		case unused <= s.inodesPerGroup:
			g.used -= unused
		}
	}
	if g.used > 0 && (g.bitmap >= s.blocks || g.table >= s.blocks || f.tableBlocks() > s.blocks-g.table || g.table == 0 || g.bitmap == 0) {
		return corrupt("group %d has its inode bitmap in block %d and its inodes from block %d: the file system has %d blocks", n, g.bitmap, g.table, s.blocks)
	}
	f.groups[n] = g
	return nil
}

// tableBlocks returns the size of a group's inode table.
func (f *FS) tableBlocks() uint64 {
	bytes := uint64(f.super.inodesPerGroup) * uint64(f.super.inodeSize)
	return (bytes + f.disk.block - 1) / f.disk.block
}

func (f *FS) groupSum(n uint32, d []byte) uint16 {
	s := f.super
	if s.sums() {
		sum := crc32c(crc32cLE(s.seed, n), d[:30])
		return uint16(crc32c(crc32cZeros(sum), d[32:]))
	}
	sum := crc16(^uint16(0), s.uuid[:])
	sum = crc16(sum, []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	return crc16(crc16(sum, d[:30]), d[32:])
}

// inodeBitmap fills p, a block, with group n's bitmap of inodes in use.
func (f *FS) inodeBitmap(ctx context.Context, n int, p []byte) error {
	s, g := f.super, &f.groups[n]
	if err := f.disk.read(ctx, p, g.bitmap); err != nil {
		return err
	}
	if !s.sums() {
		return nil
	}
	got := crc32c(s.seed, p[:s.inodesPerGroup/8])
	if s.descSize < 64 {
		got &= 0xffff
	}
	if got != g.bitmapSum {
		return corrupt("the inode bitmap of group %d, block %d, has checksum %#x, not %#x", n, g.bitmap, got, g.bitmapSum)
	}
	return nil
}
