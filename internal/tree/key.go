package tree

import (
	"encoding/binary"
	"fmt"

	"varve/internal/fail"
)

// Key is the key of an entry. Keys order as bytes. The key of sixteen 0xff
// bytes, MaxKey, is only ever an upper bound: no entry has it.
type Key [16]byte

// MaxKey is above every key of an entry.
var MaxKey = MakeKey(^uint64(0), ^uint64(0))

// MakeKey returns the key whose big-endian halves are hi and lo, so that keys
// order as (hi, lo).
func MakeKey(hi, lo uint64) Key {
	var k Key
	binary.BigEndian.PutUint64(k[:8], hi)
	binary.BigEndian.PutUint64(k[8:], lo)
	return k
}

// Split returns the halves that MakeKey put together.
func (k Key) Split() (hi, lo uint64) {
	return binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])
}

// Next returns the key right after k; MaxKey stays as it is.
func (k Key) Next() Key {
	hi, lo := k.Split()
	if lo++; lo == 0 {
		if hi++; hi == 0 {
			return k
		}
	}
	return MakeKey(hi, lo)
}

// prev returns the key right before k, which is not the lowest.
func (k Key) prev() Key {
	hi, lo := k.Split()
	if lo == 0 {
		hi--
	}
	return MakeKey(hi, lo-1)
}

// Less reports whether k orders before o.
func (k Key) Less(o Key) bool {
	a, b := k.Split()
	c, d := o.Split()
	return a < c || a == c && b < d
}

// String shows both halves in hexadecimal.
func (k Key) String() string {
	hi, lo := k.Split()
	return fmt.Sprintf("%x.%x", hi, lo)
}

// RefSize is the length of an encoded Ref.
const RefSize = 20

// Ref names a node on disk: where it is, since when it exists, and what its
// bytes sum to. The zero Ref is the empty tree.
type Ref struct {
	Addr  uint64 // top bit clear; 0 = no node
	Birth uint64 // moment of the Freeze that first contained the node
	CRC   uint32 // CRC32C of the PageSize bytes
}

// Empty reports whether r is the empty tree.
func (r Ref) Empty() bool { return r.Addr == 0 }

// Append encodes r: Addr u64, Birth u64, CRC u32, little endian.
func (r Ref) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.Addr)
	dst = binary.LittleEndian.AppendUint64(dst, r.Birth)
	return binary.LittleEndian.AppendUint32(dst, r.CRC)
}

// ParseRef decodes what Append wrote from the first RefSize bytes of b. It
// fails with Corrupt on bytes that are no Ref.
func ParseRef(b []byte) (Ref, error) {
	if len(b) < RefSize {
		return Ref{}, fail.New(fail.Corrupt, "node reference of %d bytes is too short", len(b))
	}
	r := Ref{
		Addr:  binary.LittleEndian.Uint64(b),
		Birth: binary.LittleEndian.Uint64(b[8:]),
		CRC:   binary.LittleEndian.Uint32(b[16:]),
	}
	if r.Addr&memoryBit != 0 || r.Addr == 0 && r != (Ref{}) {
		return Ref{}, fail.New(fail.Corrupt, "node reference to impossible address %#x", r.Addr)
	}
	return r, nil
}
