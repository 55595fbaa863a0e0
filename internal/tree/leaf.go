package tree

import (
	"encoding/binary"

	"varve/internal/fail"
)

// A leaf stores the first p bytes that all its keys share once. The other
// s = 16-p bytes of each key lie in an array in key order, so that a search
// touches few cache lines; values grow down from the end of the page:
//
//	  16            prefix: p bytes, then zeros up to 16
//	  32            [count] slot: key suffix s bytes, value offset u16
//	  32+(s+2)n     free
//	heap            values, each: length, bytes; and dead bytes among them
//	4096
//
// The length of a value takes one byte below 128, else two: 0x80|high, low.
const (
	leafPrefix = headerSize
	leafSlots  = leafPrefix + 16

	// MaxValue is the length in bytes of the longest value.
	MaxValue = 1000
)

func (p *page) suffixLen() int { return 16 - p.prefixLen() }
func (p *page) stride() int    { return p.suffixLen() + 2 }

// slotsEnd is where the free bytes between slots and values begin.
func (p *page) slotsEnd() int { return leafSlots + p.count()*p.stride() }

// keyMasks returns masks that keep the first n bytes of the halves of a key.
func keyMasks(n int) (hi, lo uint64) {
	if n <= 8 {
		return ^(^uint64(0) >> (8 * n)), 0
	}
	return ^uint64(0), ^(^uint64(0) >> (8 * (n - 8)))
}

// commonPrefix returns how many leading bytes a and b share.
func commonPrefix(a, b Key) int {
	n := 0
	for n < 16 && a[n] == b[n] {
		n++
	}
	return n
}

// setPrefix makes the first n bytes of k the prefix of p, which is empty.
func (p *page) setPrefix(k Key, n int) {
	p[5] = byte(n)
	clear(p[leafPrefix:leafSlots])
	copy(p[leafPrefix:], k[:n])
}

// comparePrefix compares the first bytes of the key with the prefix of p.
func (p *page) comparePrefix(hi, lo uint64) int {
	mh, ml := keyMasks(p.prefixLen())
	hi, lo = hi&mh, lo&ml
	ph, pl := p.be64(leafPrefix), p.be64(leafPrefix+8)
	switch {
	case hi == ph && lo == pl:
		return 0
	case hi < ph || hi == ph && lo < pl:
		return -1
	}
	return 1
}

// find returns the first slot whose key is not below (hi, lo), and whether
// it is that key.
func (p *page) find(hi, lo uint64) (int, bool) {
	n := p.count()
	if n == 0 {
		return 0, false
	}
	switch p.comparePrefix(hi, lo) {
	case -1:
		return 0, false
	case 1:
		return n, false
	}
	s := p.suffixLen()
	if s > 8 {
		return p.findLong(hi, lo)
	}
	// The 8 bytes that end with a suffix begin inside the page; what is not
	// suffix is masked out.
	_, mask := keyMasks(16 - s)
	mask = ^mask
	lo &= mask
	stride := s + 2
	base := leafSlots + s - 8
	a, b := 0, n
	for a < b {
		m := int(uint(a+b) / 2)
		if p.be64(base+m*stride)&mask < lo {
			a = m + 1
		} else {
			b = m
		}
	}
	return a, a < n && p.be64(base+a*stride)&mask == lo
}

// findLong is find for suffixes of more than 8 bytes.
func (p *page) findLong(hi, lo uint64) (int, bool) {
	s := p.suffixLen()
	mask, _ := keyMasks(16 - s)
	mask = ^mask
	hi &= mask
	stride := s + 2
	base := leafSlots + s - 16
	n := p.count()
	a, b := 0, n
	for a < b {
		m := int(uint(a+b) / 2)
		h := p.be64(base+m*stride) & mask
		if h < hi || h == hi && p.be64(base+m*stride+8) < lo {
			a = m + 1
		} else {
			b = m
		}
	}
	return a, a < n && p.be64(base+a*stride)&mask == hi && p.be64(base+a*stride+8) == lo
}

// leafKey returns the key in slot i.
func (p *page) leafKey(i int) Key {
	var k Key
	n := p.prefixLen()
	copy(k[:n], p[leafPrefix:])
	off := leafSlots + i*p.stride()
	copy(k[n:], p[off:off+16-n])
	return k
}

func (p *page) valueOffset(i int) int { return p.u16(leafSlots + (i+1)*p.stride() - 2) }

// value returns the value in slot i, in place.
func (p *page) value(i int) []byte {
	off := p.valueOffset(i)
	n := int(p[off])
	off++
	if n >= 128 {
		n = n&0x7f<<8 | int(p[off])
		off++
	}
	return p[off : off+n : off+n]
}

// storedLen returns how many bytes a value of n bytes takes in the heap.
func storedLen(n int) int {
	if n < 128 {
		return n + 1
	}
	return n + 2
}

// store writes length and bytes of v at off.
func (p *page) store(off int, v []byte) {
	if n := len(v); n < 128 {
		p[off] = byte(n)
		copy(p[off+1:], v)
	} else {
		p[off], p[off+1] = byte(0x80|n>>8), byte(n)
		copy(p[off+2:], v)
	}
}

// used returns how many bytes the entries of p take.
func (p *page) used() int {
	return p.count()*p.stride() + PageSize - p.heap() - p.dead()
}

// leafRoom is how many bytes entries may take.
const leafRoom = PageSize - leafSlots

// leafInsert puts a new entry into slot i if it fits between slots and values
// as they lie and shares the prefix of p; else it changes nothing.
func (p *page) leafInsert(i int, k Key, v []byte) bool {
	n := p.count()
	if n == 0 {
		p.reset(0)
		p.setPrefix(k, 16)
	}
	hi, lo := k.Split()
	need := storedLen(len(v))
	if p.comparePrefix(hi, lo) != 0 || p.heap()-p.slotsEnd() < need+p.stride() {
		return false
	}
	off := p.heap() - need
	p.store(off, v)
	p.setHeap(off)
	stride, pre := p.stride(), p.prefixLen()
	at := leafSlots + i*stride
	copy(p[at+stride:], p[at:leafSlots+n*stride])
	copy(p[at:], k[pre:])
	p.setU16(at+stride-2, off)
	p.setCount(n + 1)
	p.setHint(i + 1)
	return true
}

// leafReplace gives slot i the value v if it fits as the values lie; else it
// changes nothing.
func (p *page) leafReplace(i int, v []byte) bool {
	had, need := storedLen(len(p.value(i))), storedLen(len(v))
	off := p.valueOffset(i)
	if need <= had {
		p.setDead(p.dead() + had - need)
		p.store(off, v)
		return true
	}
	if p.heap()-p.slotsEnd() < need {
		return false
	}
	off = p.heap() - need
	p.store(off, v)
	p.setHeap(off)
	p.setDead(p.dead() + had)
	p.setU16(leafSlots+(i+1)*p.stride()-2, off)
	return true
}

// leafMove makes slot i the entry of k, with value v, if k shares the prefix of p and
// v is no longer than what was there; else it changes nothing. The order of keys
// stays.
func (p *page) leafMove(i int, k Key, v []byte) bool {
	hi, lo := k.Split()
	if p.comparePrefix(hi, lo) != 0 || len(v) > len(p.value(i)) {
		return false
	}
	copy(p[leafSlots+i*p.stride():], k[p.prefixLen():])
	return p.leafReplace(i, v)
}

// leafRemove takes the slots [i, j) out.
func (p *page) leafRemove(i, j int) {
	freed := 0
	for m := i; m < j; m++ {
		freed += storedLen(len(p.value(m)))
	}
	n, stride := p.count(), p.stride()
	copy(p[leafSlots+i*stride:], p[leafSlots+j*stride:leafSlots+n*stride])
	p.setDead(p.dead() + freed)
	p.setCount(n - (j - i))
}

func (p *page) validateLeaf() error {
	n, pre := p.count(), p.prefixLen()
	if n < 1 || pre > 16 || p.heap() > PageSize || p.slotsEnd() > p.heap() {
		return fail.New(fail.Corrupt, "leaf with a bad header (%d entries)", n)
	}
	for _, b := range p[leafPrefix+pre : leafSlots] {
		if b != 0 {
			return fail.New(fail.Corrupt, "leaf with bytes after its prefix")
		}
	}
	live := 0
	for i := range n {
		if i > 0 && !p.leafKey(i-1).Less(p.leafKey(i)) {
			return fail.New(fail.Corrupt, "leaf with keys out of order at %d", i)
		}
		size, ok := p.checkValue(p.valueOffset(i))
		if !ok {
			return fail.New(fail.Corrupt, "leaf with a bad value at %d", i)
		}
		live += size
	}
	// Also when values overlap, they must not take more room than there is.
	if live+p.dead() != PageSize-p.heap() {
		return fail.New(fail.Corrupt, "leaf with %d live and %d dead bytes in %d", live, p.dead(), PageSize-p.heap())
	}
	return nil
}

// checkValue returns how many bytes the value at off takes, if it is one.
func (p *page) checkValue(off int) (int, bool) {
	if off < p.heap() || off+2 > PageSize && (off >= PageSize || p[off] != 0) {
		return 0, false
	}
	n := int(p[off])
	if n >= 128 {
		n = int(binary.BigEndian.Uint16(p[off:])) & 0x7fff
		if n < 128 || n > MaxValue {
			return 0, false
		}
	}
	size := storedLen(n)
	return size, off+size <= PageSize
}
