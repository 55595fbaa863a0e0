package tree

import (
	"encoding/binary"
	"unsafe"

	"varve/internal/fail"
)

// An inner page has fixed arrays after the header:
//
//	  16  [102] key   16 bytes each: child i holds the keys from key i to
//	                  below key i+1; key 0 is zero, so the first child
//	                  takes whatever is below key 1
//	1648  [102] link  24 bytes each: addr u64 (top bit clear on disk),
//	                  birth u64, crc u32, 0 u32
//	4096
//
// What is beyond count is left over from earlier, or zero.
const (
	fanout    = 102
	innerKeys = headerSize
	innerRefs = innerKeys + 16*fanout
)

// The arrays fill the page, and links are aligned for atomic access.
var _ = [1]struct{}{}[PageSize-(innerRefs+24*fanout)+innerRefs%8]

func (p *page) sep(i int) Key { return Key(p[innerKeys+16*i : innerKeys+16*i+16]) }

func (p *page) setSep(i int, k Key) { copy(p[innerKeys+16*i:], k[:]) }

// link returns the i-th link in place. i is below fanout.
func (p *page) link(i int) *link {
	return (*link)(unsafe.Pointer(&p[innerRefs+linkSize*i]))
}

// childFor returns which child the key (hi, lo) belongs to.
func (p *page) childFor(hi, lo uint64) int {
	// Invariant: separators below a are <= key, separators from b on are above.
	a, b := 1, p.count()
	for a < b {
		m := int(uint(a+b) / 2)
		off := innerKeys + 16*m
		h := p.be64(off)
		if h < hi || h == hi && p.be64(off+8) <= lo {
			a = m + 1
		} else {
			b = m
		}
	}
	return a - 1
}

// insertChild makes room at i and puts key and link there. There is room.
func (p *page) insertChild(i int, k Key, l link) {
	n := p.count()
	keys := p[innerKeys : innerKeys+16*(n+1)]
	copy(keys[16*(i+1):], keys[16*i:16*n])
	refs := p[innerRefs : innerRefs+linkSize*(n+1)]
	copy(refs[linkSize*(i+1):], refs[linkSize*i:linkSize*n])
	p.setSep(i, k)
	*p.link(i) = l
	p.setCount(n + 1)
	p.setHint(i + 1)
}

// removeChildren takes the children [i, j) out of p. Their keys go to the
// child before them, or if there is none, to the one after.
func (p *page) removeChildren(i, j int) {
	n := p.count()
	copy(p[innerKeys+16*i:], p[innerKeys+16*j:innerKeys+16*n])
	copy(p[innerRefs+linkSize*i:], p[innerRefs+linkSize*j:innerRefs+linkSize*n])
	p.setCount(n - (j - i))
	p.setSep(0, Key{})
}

// appendChildren adds the children [i, j) of src after those of p. sep is the
// lowest key of the first of them.
func (p *page) appendChildren(src *page, i, j int, sep Key) {
	n := p.count()
	copy(p[innerKeys+16*n:innerRefs], src[innerKeys+16*i:innerKeys+16*j])
	copy(p[innerRefs+linkSize*n:], src[innerRefs+linkSize*i:innerRefs+linkSize*j])
	p.setCount(n + j - i)
	p.setSep(n, sep)
	p.setSep(0, Key{})
}

func (p *page) validateInner() error {
	n := p.count()
	if n < 1 || n > fanout || p.prefixLen() != 0 || p.heap() != 0 || p.dead() != 0 {
		return fail.New(fail.Corrupt, "inner node with a bad header (%d children)", n)
	}
	for i := range n {
		if i == 0 && p.sep(0) != (Key{}) || i > 0 && !p.sep(i-1).Less(p.sep(i)) {
			return fail.New(fail.Corrupt, "inner node with keys out of order at %d", i)
		}
		off := innerRefs + linkSize*i
		addr := binary.LittleEndian.Uint64(p[off:])
		if addr == 0 || addr&memoryBit != 0 || binary.LittleEndian.Uint32(p[off+20:]) != 0 {
			return fail.New(fail.Corrupt, "inner node with impossible child address %#x at %d", addr, i)
		}
	}
	return nil
}
