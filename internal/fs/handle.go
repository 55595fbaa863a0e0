package fs

import (
	"encoding/binary"
	"hash/fnv"

	"varve/internal/fail"
	"varve/internal/inode"
)

// Handle names an object for good: over restarts and failover, and whatever it
// is called. The zero Handle names nothing.
type Handle struct {
	Dataset uint64 // the share's number
	Ino     uint64 // the object; of a snapshot directory, the directory it is in
	Moment  uint64 // the LSN of a past moment; 0: the present
	SnapDir bool   // the .snapshot directory of Ino
}

// HandleSize is the length of an encoded Handle: bytes.
const HandleSize = 32

// An encoded handle, big endian:
//
//	0   version u8: 1
//	1   kind u8: 0 an object, 1 a snapshot directory
//	2   zero u16
//	4   pool u32, from the pool's identity
//	8   dataset u64
//	16  inode u64
//	24  moment u64
const (
	handleVersion = 1
	handleObject  = 0
	handleSnapDir = 1
)

// Encode returns the bytes that a client keeps.
func (f *FS) Encode(h Handle) (b [HandleSize]byte) {
	b[0] = handleVersion
	if h.SnapDir {
		b[1] = handleSnapDir
	}
	binary.BigEndian.PutUint32(b[4:], f.pool)
	binary.BigEndian.PutUint64(b[8:], h.Dataset)
	binary.BigEndian.PutUint64(b[16:], h.Ino)
	binary.BigEndian.PutUint64(b[24:], h.Moment)
	return b
}

// Decode reads what Encode wrote. Whether the object is there is not looked
// at. ErrBadHandle: no handle of this pool.
func (f *FS) Decode(b []byte) (Handle, error) {
	if len(b) != HandleSize || b[0] != handleVersion || b[1] > handleSnapDir || b[2] != 0 || b[3] != 0 ||
		binary.BigEndian.Uint32(b[4:]) != f.pool {
		return Handle{}, ErrBadHandle
	}
	h := Handle{
		Dataset: binary.BigEndian.Uint64(b[8:]), Ino: binary.BigEndian.Uint64(b[16:]),
		Moment: binary.BigEndian.Uint64(b[24:]), SnapDir: b[1] == handleSnapDir,
	}
	if h.Dataset == 0 || h.Ino < inode.Root || h.SnapDir && h.Moment != 0 {
		return Handle{}, ErrBadHandle
	}
	return h, nil
}

// ErrBadHandle is what Decode returns for bytes that are no handle.
var ErrBadHandle = sentinel(CodeBadHandle, fail.Invalid)

// poolNumber makes 32 bits of a pool's identity.
func poolNumber(identity string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(identity))
	return h.Sum32()
}

// fsid is one number per dataset, the same on a follower.
func (f *FS) fsid(dataset uint64) uint64 { return uint64(f.pool)<<32 ^ dataset }

// at returns the handle of another object of the same moment.
func (h Handle) at(ino uint64) Handle {
	return Handle{Dataset: h.Dataset, Ino: ino, Moment: h.Moment}
}

// fileID is the number that clients see: of the present, the inode's; of the
// past, one that is never the present's nor, but for a chance of 2^-63, another
// moment's.
func (h Handle) fileID() uint64 {
	switch {
	case h.SnapDir:
		return pastID(h.Ino, ^uint64(0))
	case h.Moment != 0:
		return pastID(h.Ino, h.Moment)
	}
	return h.Ino
}

func pastID(ino, moment uint64) uint64 { return mix(mix(moment)+ino) | 1<<63 }

// mix is a bijection that spreads every bit (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
