package ufs

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"varve/internal/dump"
	"varve/internal/fail"
)

const (
	magic1 = 0x011954
	magic2 = 0x19540119

	superSize = 1376
	maxInodes = 1<<31 - 1 // of what an archive can name
)

// places are where a superblock may begin, in bytes of the image.
var places = [...]uint64{65536, 8192, 0, 262144}

// super is the superblock, in the byte order of the machine that made it. Addresses
// count fragments. Offsets in bytes:
//
//	   8 sblkno    12 cblkno  16 iblkno  20 dblkno  24 cgoffset  28 cgmask    36 size (UFS1)
//	  40 dsize     44 groups  48 bsize   52 fsize   56 frag     116 nindir   120 inopb
//	 160 cgsize   184 inodes/group   188 fragments/group   200 free blocks... (UFS1: 192 on)
//	 209 clean u8 211 flags u8 (UFS1)  680 volume name[32]  1000 own place i64
//	1008 directories, free blocks, free inodes, free fragments i64  1080 size i64
//	1308 check-hashes  1312 flags  1320 maxsymlinklen  1324 inode format  1372 magic
type super struct {
	order binary.ByteOrder
	ufs2  bool

	cblkno, iblkno   uint64
	cgoffset, cgmask uint32
	groups, perGroup uint64 // cylinder groups, and fragments of each
	size             uint64 // of the file system in fragments
	bsize, fsize     uint64
	frag             uint64 // fragments of a block
	cgsize           uint64
	inodes           uint64 // of each group
	clean            bool
	flags            uint32
	hashes           uint32
	shortLink        int64 // targets shorter than this lie in the inode
	oldInodes        bool  // of 4.2BSD: owners of 16 bits
	label            string
	freeInodes       uint64
	freeFrags        uint64
}

const (
	flagUnclean   = 0x1
	flagSoftdep   = 0x2
	flagNeedsFsck = 0x4
	flagSUJ       = 0x8
	flagGjournal  = 0x40
	flagUpdated   = 0x80
	flagHashes    = 0x200

	hashGroups = 0x2
	hashInodes = 0x4
)

// magicAt returns the byte order and kind that the superblock in b claims.
func magicAt(b []byte) (order binary.ByteOrder, ufs2, ok bool) {
	for _, order := range [...]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(b[1372:]) {
		case magic1:
			return order, false, true
		case magic2:
			return order, true, true
		}
	}
	return nil, false, false
}

// parseSuper decodes a superblock that magicAt knows. It judges nothing.
func parseSuper(b []byte, order binary.ByteOrder, ufs2 bool) *super {
	u32 := func(at int) uint64 { return uint64(order.Uint32(b[at:])) }
	u64 := func(at int) uint64 { return order.Uint64(b[at:]) }
	s := &super{
		order: order, ufs2: ufs2,
		cblkno: u32(12), iblkno: u32(16), cgoffset: uint32(u32(24)), cgmask: uint32(u32(28)),
		size: u32(36), groups: u32(44), bsize: u32(48), fsize: u32(52), frag: u32(56),
		cgsize: u32(160), inodes: u32(184), perGroup: u32(188),
		clean: b[209] != 0, flags: uint32(u32(1312)), hashes: uint32(u32(1308)),
		shortLink: int64(int32(u32(1320))), oldInodes: !ufs2 && int32(u32(1324)) < 2,
		label:      string(bytes.TrimRight(b[680:712], "\x00")),
		freeInodes: u32(200), freeFrags: u32(196)*u32(56) + u32(204),
	}
	if ufs2 {
		s.size, s.freeInodes, s.freeFrags = u64(1080), u64(1024), u64(1016)*u32(56)+u64(1032)
	} else if b[211]&flagUpdated == 0 {
		s.flags = uint32(b[211])
	}
	if s.flags&flagHashes == 0 || !ufs2 {
		s.hashes = 0
	}
	return s
}

// check bounds every number that later sizes an allocation or a loop. bytes is the
// image's size.
func (s *super) check(bytes uint64) error {
	pow2 := func(n, lo, hi uint64) bool { return n >= lo && n <= hi && bits.OnesCount64(n) == 1 }
	const most = 1 << 31 // of anything that a field of 32 bits counts
	switch {
	case !pow2(s.bsize, 4096, 65536) || !pow2(s.fsize, 512, s.bsize) || s.frag != s.bsize/s.fsize || s.frag > 8:
		return corrupt("the superblock says %d fragments of %d bytes for a block of %d", s.frag, s.fsize, s.bsize)
	case s.groups == 0 || s.groups >= most || s.perGroup == 0 || s.perGroup >= most || s.inodes == 0 || s.inodes >= most || s.inodes%s.perBlock() != 0:
		return corrupt("the superblock says %d groups of %d fragments and %d inodes", s.groups, s.perGroup, s.inodes)
	case s.size == 0 || s.size > s.groups*s.perGroup || s.size <= (s.groups-1)*s.perGroup:
		return corrupt("the superblock says %d fragments, but %d groups of %d", s.size, s.groups, s.perGroup)
	case s.size > bytes/s.fsize:
		return corrupt("the file system has %d fragments of %d bytes, but the image only %d bytes", s.size, s.fsize, bytes).
			WithHint("the image is cut off: copy it again")
	case s.cgsize < groupHeader || s.cgsize > s.bsize || s.inodes > 8*s.bsize || s.cblkno >= s.perGroup || s.iblkno >= s.perGroup || uint64(s.cgoffset) >= s.perGroup:
		return corrupt("the superblock says %d bytes for a group's description, at %d, and inodes at %d", s.cgsize, s.cblkno, s.iblkno)
	case s.groups*s.inodes > maxInodes:
		return fail.New(fail.TooBig, "the file system has %d inodes: an archive names at most %d", s.groups*s.inodes, maxInodes)
	case s.shortLink > int64(s.mapSize()):
		return corrupt("the superblock says that links of %d bytes lie in the inode", s.shortLink)
	}
	return nil
}

func (s *super) inodeSize() uint64 {
	if s.ufs2 {
		return 256
	}
	return 128
}

// mapSize is the room of the pointers in an inode.
func (s *super) mapSize() uint64 { return 15 * s.width() }

// width is the size of a pointer.
func (s *super) width() uint64 {
	if s.ufs2 {
		return 8
	}
	return 4
}

func (s *super) pointer(p []byte) uint64 {
	if s.ufs2 {
		return s.order.Uint64(p)
	}
	return uint64(s.order.Uint32(p))
}

// perBlock is how many inodes a block holds.
func (s *super) perBlock() uint64 { return s.bsize / s.inodeSize() }

// start returns the fragment that the addresses of a group count from.
func (s *super) start(group uint64) uint64 {
	at := s.perGroup * group
	if !s.ufs2 {
		at += uint64(s.cgoffset) * uint64(uint32(group)&^s.cgmask)
	}
	return at
}

// table returns the byte where the inodes of a group begin.
func (s *super) table(group uint64) uint64 { return (s.start(group) + s.iblkno) * s.fsize }

func (s *super) maxIno() uint32 { return uint32(s.groups*s.inodes - 1) }

func (s *super) kind() string {
	if s.ufs2 {
		return "ufs2"
	}
	return "ufs1"
}

func (s *super) info() dump.Info {
	return dump.Info{
		Kind: s.kind(), Label: s.label, MaxIno: s.maxIno(), BlockSize: uint32(s.bsize),
		Inodes: s.groups*s.inodes - min(s.freeInodes, s.groups*s.inodes),
		Used:   (s.size - min(s.freeFrags, s.size)) * s.fsize,
	}
}
