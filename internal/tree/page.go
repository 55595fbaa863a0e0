package tree

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"

	"varve/internal/fail"
)

// PageSize is the size of a node, in memory and on disk, in bytes.
const PageSize = 4096

// Every page begins with this header, little endian:
//
//	 0  u32  magic "VtN1"
//	 4  u8   level: 0 = leaf, else inner, its children one level lower
//	 5  u8   leaf: length of the common prefix of its keys, 0..16; inner: 0
//	 6  u16  count of entries or children
//	 8  u16  leaf: lowest byte in use by values (PageSize if none); inner: 0
//	10  u16  leaf: dead bytes among the values; inner: 0
//	12  u16  slot after the last insert: a hint where to split, any value
//	14  u16  0
//
// The rest is drawn in leaf.go and inner.go.
const (
	headerSize = 16
	pageMagic  = 0x314e7456 // "VtN1"
	maxLevel   = 15
)

// A page is always PageSize bytes of an arena slab, or a scratch page.
type page [PageSize]byte

func (p *page) u16(off int) int       { return int(binary.LittleEndian.Uint16(p[off:])) }
func (p *page) setU16(off int, v int) { binary.LittleEndian.PutUint16(p[off:], uint16(v)) }

func (p *page) level() int     { return int(p[4]) }
func (p *page) prefixLen() int { return int(p[5]) }
func (p *page) count() int     { return p.u16(6) }
func (p *page) setCount(n int) { p.setU16(6, n) }
func (p *page) heap() int      { return p.u16(8) }
func (p *page) setHeap(n int)  { p.setU16(8, n) }
func (p *page) dead() int      { return p.u16(10) }
func (p *page) setDead(n int)  { p.setU16(10, n) }
func (p *page) hint() int      { return p.u16(12) }
func (p *page) setHint(i int)  { p.setU16(12, i) }
func (p *page) be64(off int) uint64 {
	return binary.BigEndian.Uint64(p[off : off+8])
}

// reset makes p an empty page of a level, without traces of what it was.
func (p *page) reset(level int) {
	clear(p[:])
	binary.LittleEndian.PutUint32(p[:], pageMagic)
	p[4] = byte(level)
	if level == 0 {
		p.setHeap(PageSize)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p *page) checksum() uint32 { return crc32.Checksum(p[:], castagnoli) }

// validate checks everything that searching and changing p in place relies
// on, so that no page that passed can lead out of bounds.
func (p *page) validate() error {
	switch {
	case binary.LittleEndian.Uint32(p[:]) != pageMagic:
		return fail.New(fail.Corrupt, "not a tree node")
	case p.level() > maxLevel:
		return fail.New(fail.Corrupt, "level %d is too high", p.level())
	case p.u16(14) != 0:
		return fail.New(fail.Corrupt, "reserved bytes are in use")
	case p.level() == 0:
		return p.validateLeaf()
	}
	return p.validateInner()
}

// memoryBit in the addr of a link marks a page id in place of a disk address.
const memoryBit = 1 << 63

// dead in the addr of a page's meta marks a page that is free or about to be.
// It has the memory bit, so no link ever leads there.
const dead = ^uint64(0)

// A link is a reference from an inner page, a tree or a version to a page:
// addr is 0 (none), memoryBit | page id, or a disk address. birth and crc
// count only with a disk address.
//
// A link of a page that is no longer written may be patched from memory to
// disk while others read it. The patcher writes birth and crc first and then
// addr, atomically; readers load addr atomically before they look at the
// others. A link never goes back from disk to memory.
type link struct {
	addr  uint64
	birth uint64
	crc   uint32
	_     uint32 // 0
}

const linkSize = int(unsafe.Sizeof(link{}))

func memoryAddr(id uint32) uint64 { return memoryBit | uint64(id) }

func refLink(r Ref) link { return link{addr: r.Addr, birth: r.Birth, crc: r.CRC} }

func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }
