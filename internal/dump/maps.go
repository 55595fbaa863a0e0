package dump

import (
	"encoding/binary"
	"math/bits"
)

// Map is a set of inode numbers as an archive has it: inode n is bit n-1, the
// least significant bit of a byte first. Not safe for concurrent changes.
type Map struct {
	bits []byte
	max  uint32
}

// NewMap returns an empty set of the inode numbers 1 to maxIno.
func NewMap(maxIno uint32) *Map {
	return &Map{bits: make([]byte, (uint64(maxIno)+7)/8), max: maxIno}
}

// MaxIno returns the largest number that m can have.
func (m *Map) MaxIno() uint32 { return m.max }

// Has reports whether ino is in m; numbers that cannot be are not.
func (m *Map) Has(ino uint32) bool {
	return ino-1 < m.max && m.bits[(ino-1)/8]>>((ino-1)%8)&1 != 0
}

// Set adds ino, which must be from 1 to MaxIno.
func (m *Map) Set(ino uint32) { m.bits[(ino-1)/8] |= 1 << ((ino - 1) % 8) }

// Clear removes ino.
func (m *Map) Clear(ino uint32) {
	if ino-1 < m.max {
		m.bits[(ino-1)/8] &^= 1 << ((ino - 1) % 8)
	}
}

// Next returns the first number in m that is at least ino, or 0. It passes 64 numbers
// that are not in m at a time: a level looks through maps of all there is.
func (m *Map) Next(ino uint32) uint32 {
	if ino == 0 {
		ino = 1
	}
	for at := uint64(ino - 1); at < uint64(m.max); {
		if at%8 == 0 && at/8+8 <= uint64(len(m.bits)) && binary.LittleEndian.Uint64(m.bits[at/8:]) == 0 {
			at += 64
			continue
		}
		if b := m.bits[at/8] >> (at % 8); b != 0 {
			return uint32(at) + uint32(bits.TrailingZeros8(b)) + 1
		}
		at = at/8*8 + 8
	}
	return 0
}

// Count returns how many numbers are in m.
func (m *Map) Count() uint64 {
	n, b := 0, m.bits
	for ; len(b) >= 8; b = b[8:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(b))
	}
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return uint64(n)
}

// Records returns how many records of data m takes in an archive: at least one.
func (m *Map) Records() int { return max(1, (len(m.bits)+RecordSize-1)/RecordSize) }

// MapOf makes a set of the bytes that an archive has of it, which it keeps.
func MapOf(bits []byte) *Map { return &Map{bits: bits, max: uint32(min(uint64(len(bits))*8, 1<<31-1))} }

// Copy takes over the numbers of o, of which m must be able to have all.
func (m *Map) Copy(o *Map) { copy(m.bits, o.bits) }
