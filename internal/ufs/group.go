package ufs

import (
	"context"
	"hash/crc32"
)

const (
	groupMagic  = 0x090255
	groupHeader = 168
)

// used fills m, a bit for each inode of a group, with what its description says, and
// returns how many of the inodes were ever initialised. Offsets in bytes:
//
//	4 magic  12 number of the group  92 offset of the map of inodes in use
//	120 initialised inodes (UFS2)  132 check-hash
func (f *FS) used(ctx context.Context, group uint64, m []byte) (inited uint64, err error) {
	s := f.super
	p := make([]byte, s.cgsize)
	if err := f.readAt(ctx, p, (s.start(group)+s.cblkno)*s.fsize); err != nil {
		return 0, err
	}
	at := uint64(s.order.Uint32(p[92:]))
	if s.order.Uint32(p[4:]) != groupMagic || uint64(s.order.Uint32(p[12:])) != group || at < groupHeader && s.ufs2 || at+uint64(len(m)) > s.cgsize {
		return 0, corrupt("cylinder group %d has a damaged description", group)
	}
	if s.hashes&hashGroups != 0 {
		if want, got := s.order.Uint32(p[132:]), hashAround(p, 132); want != got {
			return 0, corrupt("the description of cylinder group %d has check-hash %#x, not %#x", group, want, got)
		}
	}
	copy(m, p[at:])
	inited = s.inodes
	if s.ufs2 {
		inited = min(inited, uint64(s.order.Uint32(p[120:])))
	}
	if s.flags&flagSoftdep == 0 && (!s.clean || s.flags&flagUnclean != 0) {
		for i := range inited { // the map is not to be trusted: the inodes' own modes are
			m[i/8] |= 1 << (i % 8)
		}
	}
	return inited, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashAround returns the check-hash of p, whose own four bytes at an offset count as
// zeros: CRC-32C without the inversions.
func hashAround(p []byte, at int) uint32 {
	crc := crc32.Update(0, castagnoli, p[:at])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	return ^crc32.Update(crc, castagnoli, p[at+4:])
}
