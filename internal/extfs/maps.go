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
	x := &blockmap.Pointers{Geometry: &f.geometry, Unit: f.disk.block, Width: pointerSize, Decode: pointer}
	for i := range x.Map {
		x.Map[i] = pointer(r.blockMap()[pointerSize*i:])
	}
	return blockmap.New(&f.geometry, ino, size, x)
}

const pointerSize = 4

func pointer(p []byte) uint64 { return uint64(binary.LittleEndian.Uint32(p)) }
