package extfs

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c goes on with a checksum as the kernel does: without the inversions before
// and after that hash/crc32 makes.
func crc32c(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// crc32cLE goes on with the four bytes of v, little-endian. It allocates nothing.
func crc32cLE(crc, v uint32) uint32 {
	for range 4 {
		crc = castagnoli[byte(crc)^byte(v)] ^ crc>>8
		v >>= 8
	}
	return crc
}

// crc32cZeros goes on with two bytes of zero.
func crc32cZeros(crc uint32) uint32 {
	for range 2 {
		crc = castagnoli[byte(crc)] ^ crc>>8
	}
	return crc
}

// crc16 is the CRC of group descriptors before metadata_csum: polynomial 0x8005,
// reflected.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			crc = crc>>1 ^ 0xa001*(crc&1)
		}
	}
	return crc
}

// crc32be is the CRC of the first kind of journal checksums: the polynomial of
// Ethernet, most significant bit first, without inversions.
func crc32be(crc uint32, p []byte) uint32 {
	for _, b := range p {
		crc = crc<<8 ^ bigEndianTable[byte(crc>>24)^b]
	}
	return crc
}

var bigEndianTable = func() (t [256]uint32) {
	for i := range t {
		crc := uint32(i) << 24
		for range 8 {
			crc = crc<<1 ^ 0x04c11db7*(crc>>31)
		}
		t[i] = crc
	}
	return t
}()
