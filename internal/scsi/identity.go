package scsi

import (
	"crypto/sha256"
	"encoding/hex"
)

// naa is the NAA designator of a unit (SPC-4 7.8.6.6), what initiators and
// multipath software tell disks apart by. It follows from the identity alone.
//
//	6 | 76 61 72, an OUI of the locally administered kind | 100 bits of a hash
func (id Identity) naa() (p [16]byte) {
	h := id.hash()
	copy(p[:], h[:])
	p[0], p[1], p[2], p[3] = 0x67, 0x66, 0x17, 0x20|p[3]&0x0f // nibbles 6, then 76 61 72
	return p
}

// serial is the unit serial number: 24 hexadecimal digits.
func (id Identity) serial() string {
	h := id.hash()
	return hex.EncodeToString(h[4:16])
}

func (id Identity) hash() [sha256.Size]byte {
	b := append([]byte("varve unit "), id.Pool[:]...)
	b = be.AppendUint64(b, id.Dataset)
	return sha256.Sum256(be.AppendUint64(b, id.LSN))
}
