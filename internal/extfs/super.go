package extfs

import (
	"bytes"
	"encoding/binary"

	"varve/internal/fail"
)

const (
	superOffset = 1024 // in the image, in bytes
	superSize   = 1024
	magic       = 0xef53

	maxInodes = 1<<31 - 1 // of what an archive can name
)

// super is the superblock. Little-endian, offsets in bytes:
//
//	  0 inodes u32    4 blocks u32      20 first data block u32   24 log2(block size/1024) u32
//	 32 blocks/group  40 inodes/group   56 magic u16    58 state u16    72 creator u32   76 revision u32
//	 84 first inode   88 inode size u16 92 compat       96 incompat     100 ro_compat
//	104 uuid[16]     120 label[16]     224 journal inode  228 journal device  232 last orphan
//	254 descriptor size u16  260 first meta_bg  0x150 blocks, high u32  0x175 checksum type u8
//	0x240 quota inodes 2*u32  0x24c backup groups 2*u32  0x26c project quota inode
//	0x270 checksum seed  0x280 orphan file's inode  0x3fc checksum u32
type super struct {
	inodes, blocksPerGroup, inodesPerGroup uint32
	firstData, firstIno, firstMetaBG       uint32
	blocks, used                           uint64 // all, and those that are not free
	blockSize, inodeSize, descSize         uint32
	state                                  uint16
	hurd                                   bool
	compat, incompat, roCompat             uint32
	uuid                                   [16]byte
	label                                  string
	journalIno, journalDev, lastOrphan     uint32
	backups                                [2]uint32
	hidden                                 [5]uint32 // inodes without a name beyond the reserved ones; 0 is none
	seed                                   uint32    // of all checksums of metadata
}

const (
	stateClean  = 1
	stateErrors = 2
)

// parseSuper decodes and judges the 1024 bytes of a superblock; size is the
// image's.
func parseSuper(b []byte, size uint64) (*super, error) {
	le := binary.LittleEndian
	u32 := func(at int) uint32 { return le.Uint32(b[at:]) }
	if le.Uint16(b[56:]) != magic {
		return nil, fail.New(fail.NotFound, "no ext2, ext3 or ext4 superblock at offset %d", superOffset)
	}
	s := &super{
		inodes: u32(0), blocksPerGroup: u32(32), inodesPerGroup: u32(40),
		firstData: u32(20), firstIno: 11, inodeSize: 128, descSize: 32,
		blocks: uint64(u32(4)), state: le.Uint16(b[58:]), hurd: u32(72) == 1,
		compat: u32(92), incompat: u32(96), roCompat: u32(100),
		label:      string(bytes.TrimRight(b[120:136], "\x00")),
		journalIno: u32(224), journalDev: u32(228), lastOrphan: u32(232),
		firstMetaBG: u32(260), backups: [2]uint32{u32(0x24c), u32(0x250)},
		hidden: [5]uint32{u32(224), u32(0x240), u32(0x244), u32(0x26c), u32(0x280)},
	}
	copy(s.uuid[:], b[104:120])
	if u32(76) > 0 { // dynamic revision
		s.firstIno, s.inodeSize = u32(84), uint32(le.Uint16(b[88:]))
	}
	if err := s.checkFeatures(); err != nil {
		return nil, err
	}
	if s.roCompat&roMetadataCsum != 0 {
		if b[0x175] != 1 {
			return nil, fail.New(fail.Unsupported, "the superblock names checksums of type %d", b[0x175])
		}
		if got, want := crc32c(^uint32(0), b[:0x3fc]), u32(0x3fc); got != want {
			return nil, corrupt("the superblock's checksum is %#x, not %#x", got, want)
		}
	}
	s.seed = crc32c(^uint32(0), s.uuid[:])
	if s.incompat&incompatCsumSeed != 0 {
		s.seed = u32(0x270)
	}
	if s.incompat&incompat64bit != 0 {
		s.blocks |= uint64(u32(0x150)) << 32
		s.descSize = uint32(le.Uint16(b[254:]))
	}
	free := uint64(u32(12))
	if s.incompat&incompat64bit != 0 {
		free |= uint64(u32(0x158)) << 32
	}
	s.used = s.blocks - min(free, s.blocks)
	if u32(24) > 6 {
		return nil, corrupt("the superblock says 2^%d KiB for a block", u32(24))
	}
	s.blockSize = 1024 << u32(24)
	return s, s.checkGeometry(size)
}

// checkGeometry bounds every number that later sizes an allocation or a loop.
func (s *super) checkGeometry(size uint64) error {
	pow2 := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	switch {
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || !pow2(s.inodeSize):
		return corrupt("the superblock says %d bytes for an inode", s.inodeSize)
	case s.descSize < 32 || s.descSize > 1024 || !pow2(s.descSize) || s.incompat&incompat64bit != 0 && s.descSize < 64:
		return corrupt("the superblock says %d bytes for a group descriptor", s.descSize)
	case s.firstData > 1 || s.blocks <= uint64(s.firstData):
		return corrupt("the superblock says %d blocks, the first of which is %d", s.blocks, s.firstData)
	case s.blocks > size/uint64(s.blockSize):
		return corrupt("the file system has %d blocks of %d bytes, but the image only %d bytes", s.blocks, s.blockSize, size).
			WithHint("the image is cut off: copy it again")
	case s.blocksPerGroup == 0 || s.inodesPerGroup == 0 || s.inodesPerGroup > 8*s.blockSize || s.inodesPerGroup%8 != 0:
		return corrupt("the superblock says %d blocks and %d inodes for a group", s.blocksPerGroup, s.inodesPerGroup)
	case s.groups()*uint64(s.inodesPerGroup) != uint64(s.inodes):
		return corrupt("the superblock says %d inodes, but %d groups of %d", s.inodes, s.groups(), s.inodesPerGroup)
	case s.inodes > maxInodes:
		return fail.New(fail.TooBig, "the file system has %d inodes: an archive names at most %d", s.inodes, maxInodes)
	case s.firstIno < 11 && s.firstIno <= rootIno || s.inodes < s.firstIno:
		return corrupt("the superblock says inode %d is the first of %d that is not reserved", s.firstIno, s.inodes)
	}
	return nil
}

func (s *super) groups() uint64 {
	per := uint64(s.blocksPerGroup)
	return (s.blocks - uint64(s.firstData) + per - 1) / per
}

func (s *super) sums() bool { return s.roCompat&roMetadataCsum != 0 }

// hasBackup reports whether a group begins with a copy of the superblock.
func (s *super) hasBackup(group uint64) bool {
	switch {
	case s.compat&compatSparseSuper2 != 0:
		return group == 0 || group == uint64(s.backups[0]) || group == uint64(s.backups[1])
	case s.roCompat&roSparseSuper == 0 || group <= 1:
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := group
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// reserved reports whether an inode has no name in the tree by what it is for.
func (s *super) reserved(ino uint32) bool {
	if ino < s.firstIno {
		return ino != rootIno
	}
	for _, h := range s.hidden {
		if h == ino {
			return true
		}
	}
	return false
}
