// Package inode is what the items of a share's tree mean, and how operations
// on files change them: trees in, trees out. It judges nobody, reads no clock
// and knows nothing of the log.
//
// All items of an object lie together, under its inode number:
//
//	key    inode u64, big endian | type, 4 bits | 60 bits
//
//	0 extent  number of the first block         an extent; package engine's
//	1 inode   0                                 drawn at Inode
//	2 entry   hash, 52 bits | slot u8           drawn in entry.go
//	3 xattr   hash, 44 bits | slot u8 | piece u8  drawn in xattr.go
//	4 target  piece                             at most 900 bytes of a symlink's target
//
// Varints are those of encoding/binary.
package inode

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
	"varve/internal/varint"
)

// Root is the inode number of a share's root directory.
const Root = 2

// Limits, in bytes unless said otherwise.
const (
	MaxName   = oplog.MaxName  // of a name in a directory, and of an xattr
	MaxTarget = 4095           // of a symlink's target
	MaxXattr  = oplog.MaxValue // of an xattr's value
	MaxLinks  = 65000          // links of one object
	MaxSize   = 1<<63 - 1      // of a file
)

// The types of objects: the bits of Mode under ModeType, as in stat(2).
const (
	ModeType   = 0o170000
	ModeFIFO   = 0o010000
	ModeChar   = 0o020000
	ModeDir    = 0o040000
	ModeBlock  = 0o060000
	ModeFile   = 0o100000
	ModeLink   = 0o120000
	ModeSocket = 0o140000

	modeBits  = 0o007777 // the rest: permissions, set-id, sticky
	typeShift = 12
)

const (
	setUID       = 0o4000
	setGID       = 0o2000
	groupExecute = 0o0010
)

// FlagNodump in Flags: dump(8) leaves the object out.
const FlagNodump = 1

// An Inode is an object of a share: all of it but its names, payload, target
// and extended attributes.
//
//	mode u | links u | uid u | gid u | size u | blocks u
//	ctime v | mtime-ctime v | atime-ctime v | btime-ctime v
//	parent u | flags<<1 + rough u | entries u | rdev u | verifier u
//
// u is a uvarint, v a varint. Differences of times wrap around.
type Inode struct {
	Mode     uint32 // type and permission bits as in stat(2)
	Nlink    uint32 // names; of a directory: 2 and its subdirectories
	UID, GID uint32
	Rdev     uint64 // devices: major<<32 | minor
	Size     uint64 // bytes; of a symlink: of its target; of a directory: 0, who shows it computes it
	Blocks   uint64 // of 4096 bytes with payload
	Rough    bool   // Blocks is only an upper bound, since a large truncation
	Atime    int64  // Unix nanoseconds, as all times
	Mtime    int64
	Ctime    int64
	Btime    int64  // of birth
	Parent   uint64 // the directory of the newest name, whether that name is still there or not; the root's is itself
	Entries  uint64 // of a directory: names in it
	Flags    uint32
	Verifier uint64 // of the exclusive create that made it
}

// Type returns the type of i as entries have it: Mode>>12.
func (i *Inode) Type() uint8 { return uint8(i.Mode >> typeShift) }

// IsDir reports whether i is a directory.
func (i *Inode) IsDir() bool { return i.Mode&ModeType == ModeDir }

// inodeSize is more than an inode's item has, in bytes.
const inodeSize = 128

// Append appends the encoding of i.
func (i *Inode) Append(dst []byte) []byte {
	rough := uint64(0)
	if i.Rough {
		rough = 1
	}
	for _, u := range [...]uint64{uint64(i.Mode), uint64(i.Nlink), uint64(i.UID), uint64(i.GID), i.Size, i.Blocks} {
		dst = binary.AppendUvarint(dst, u)
	}
	for _, t := range [...]int64{i.Ctime, i.Mtime - i.Ctime, i.Atime - i.Ctime, i.Btime - i.Ctime} {
		dst = binary.AppendVarint(dst, t)
	}
	for _, u := range [...]uint64{i.Parent, uint64(i.Flags)<<1 | rough, i.Entries, i.Rdev, i.Verifier} {
		dst = binary.AppendUvarint(dst, u)
	}
	return dst
}

// Parse decodes what Append wrote. It fails with Corrupt on bytes that are
// none: malformed, or an object that cannot be.
func Parse(v []byte) (Inode, error) {
	r := varint.Reader{B: v}
	var wide uint64 // the bits beyond 32 of numbers that have none
	u32 := func() uint32 {
		u := r.Uvarint()
		wide |= u >> 32
		return uint32(u)
	}
	i := Inode{Mode: u32(), Nlink: u32(), UID: u32(), GID: u32(), Size: r.Uvarint(), Blocks: r.Uvarint()}
	i.Ctime = r.Varint()
	i.Mtime, i.Atime, i.Btime = i.Ctime+r.Varint(), i.Ctime+r.Varint(), i.Ctime+r.Varint()
	i.Parent = r.Uvarint()
	flags := r.Uvarint()
	i.Flags, i.Rough = uint32(flags>>1), flags&1 != 0
	wide |= flags >> 33
	i.Entries, i.Rdev, i.Verifier = r.Uvarint(), r.Uvarint(), r.Uvarint()
	if r.Bad || len(r.B) > 0 || wide != 0 {
		return Inode{}, fail.New(fail.Corrupt, "an inode's item is malformed")
	}
	if i.Mode>>typeShift > 15 || !knownType(i.Type()) || i.Nlink == 0 || i.Parent == 0 || i.Size > MaxSize {
		return Inode{}, fail.New(fail.Corrupt, "an inode with mode %#o, %d links, parent %d and size %d cannot be", i.Mode, i.Nlink, i.Parent, i.Size)
	}
	return i, nil
}

const blockSize = oplog.BlockSize

// knownType reports whether t is one of the seven types of objects.
func knownType(t uint8) bool {
	const known = 1<<(ModeFIFO>>typeShift) | 1<<(ModeChar>>typeShift) | 1<<(ModeDir>>typeShift) |
		1<<(ModeBlock>>typeShift) | 1<<(ModeFile>>typeShift) | 1<<(ModeLink>>typeShift) | 1<<(ModeSocket>>typeShift)
	return t < 16 && known>>t&1 != 0
}

// blocksOf returns how many blocks a file of size bytes has room for.
func blocksOf(size uint64) uint64 {
	return size/blockSize + (size%blockSize+blockSize-1)/blockSize
}

// Make puts an empty share into an empty tree: its root directory. mode is
// without type; now is Unix nanoseconds.
func Make(t *tree.Tree, mode, uid, gid uint32, now int64) {
	root := Inode{
		Mode: ModeDir | mode&modeBits, Nlink: 2, UID: uid, GID: gid, Parent: Root,
		Atime: now, Mtime: now, Ctime: now, Btime: now,
	}
	t.Put(Key(Root), root.Append(nil))
}
