package extfs

import (
	"encoding/binary"

	"varve/internal/blockmap"
)

// mapOf returns the contents of an inode that has a block map: extents, or the 15
// pointers of ext2. It keeps r.
func (f *FS) mapOf(ino uint32, r rawInode, size uint64) *blockmap.Map {
	if r.flags()&flagExtents != 0 {
		return blockmap.New(&f.geometry, ino, size, &extents{fs: f, ino: ino, root: r.blockMap(), seed: f.seedOf(ino, r)})
	}
	var pointers [15]uint64
	for i := range pointers {
		pointers[i] = uint64(binary.LittleEndian.Uint32(r.blockMap()[4*i:]))
	}
	return blockmap.New(&f.geometry, ino, size, &blockmap.Pointers{
		Geometry: &f.geometry, Direct: pointers[:12], Roots: pointers[12:], Unit: f.disk.block, Width: 4,
		Decode: func(p []byte) uint64 { return uint64(binary.LittleEndian.Uint32(p)) },
	})
}
