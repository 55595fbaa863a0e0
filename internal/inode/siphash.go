package inode

import (
	"encoding/binary"
	"math/bits"
)

// sipHash is SipHash-2-4 of s under the key of the little-endian halves k0 and
// k1 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). Where
// names are on disk depends on it.
func sipHash(k0, k1 uint64, s string) uint64 {
	h := sip{
		k0 ^ 0x736f6d6570736575,
		k1 ^ 0x646f72616e646f6d,
		k0 ^ 0x6c7967656e657261,
		k1 ^ 0x7465646279746573,
	}
	last := uint64(len(s)) << 56
	for ; len(s) >= 8; s = s[8:] {
		h.word(binary.LittleEndian.Uint64([]byte(s[:8])))
	}
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	h.word(last)
	h.v2 ^= 0xff
	for range 4 {
		h.round()
	}
	return h.v0 ^ h.v1 ^ h.v2 ^ h.v3
}

type sip struct{ v0, v1, v2, v3 uint64 }

func (h *sip) word(m uint64) {
	h.v3 ^= m
	h.round()
	h.round()
	h.v0 ^= m
}

func (h *sip) round() {
	h.v0 += h.v1
	h.v1 = bits.RotateLeft64(h.v1, 13) ^ h.v0
	h.v0 = bits.RotateLeft64(h.v0, 32)
	h.v2 += h.v3
	h.v3 = bits.RotateLeft64(h.v3, 16) ^ h.v2
	h.v0 += h.v3
	h.v3 = bits.RotateLeft64(h.v3, 21) ^ h.v0
	h.v2 += h.v1
	h.v1 = bits.RotateLeft64(h.v1, 17) ^ h.v2
	h.v2 = bits.RotateLeft64(h.v2, 32)
}
