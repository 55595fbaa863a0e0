package engine

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// BlockSize is the granule of volumes and payload, in bytes.
const BlockSize = oplog.BlockSize

// chunkBlocks is the border rule: no extent crosses a border of 32 blocks
// (128 KiB) of its file, so whatever overlaps a block begins in its chunk.
const chunkBlocks = oplog.MaxExtentBlocks

// extent is one entry of a tree: count blocks of a file, from block on, hold
// the payload at addr, written by operation birth. A volume is the file with
// inode number 0.
//
//	key    inode u64 | block u64, big endian (inode.DataKey)
//	value  count u8 | addr uvarint | birth uvarint | count * CRC32C u32
type extent struct {
	ino   uint64
	block uint64
	addr  uint64
	birth uint64
	count uint64
	crc   []byte // count * 4 bytes, little endian
}

func blockKey(ino, block uint64) tree.Key { return inode.DataKey(ino, block) }

func (x extent) key() tree.Key { return blockKey(x.ino, x.block) }

func keyIno(k tree.Key) uint64 { return binary.BigEndian.Uint64(k[:8]) }

func keyBlock(k tree.Key) uint64 { return binary.BigEndian.Uint64(k[8:]) }

// isExtent reports whether an item is an extent, and not one of an inode.
func isExtent(k tree.Key) bool { return k[8]>>4 == 0 }

func (x extent) end() uint64 { return x.block + x.count }

// part returns the blocks [from, to) of x.
func (x extent) part(from, to uint64) extent {
	skip := from - x.block
	return extent{
		ino: x.ino, block: from, addr: x.addr + skip, birth: x.birth, count: to - from,
		crc: x.crc[skip*4 : (to-x.block)*4],
	}
}

func (x extent) appendValue(dst []byte) []byte {
	dst = append(dst, byte(x.count))
	dst = binary.AppendUvarint(dst, x.addr)
	dst = binary.AppendUvarint(dst, x.birth)
	return append(dst, x.crc...)
}

var errExtent = fail.New(fail.Corrupt, "a tree holds an extent that makes no sense")

// parseExtent reads an entry; crc refers to v's memory.
func parseExtent(k tree.Key, v []byte) (extent, error) {
	x := extent{ino: keyIno(k), block: keyBlock(k)}
	if len(v) < 3 {
		return x, errExtent
	}
	x.count = uint64(v[0])
	v = v[1:]
	var n int
	if x.addr, n = binary.Uvarint(v); n <= 0 {
		return x, errExtent
	}
	v = v[n:]
	if x.birth, n = binary.Uvarint(v); n <= 0 {
		return x, errExtent
	}
	x.crc = v[n:]
	if x.count == 0 || uint64(len(x.crc)) != 4*x.count || x.block%chunkBlocks+x.count > chunkBlocks || x.addr == 0 {
		return x, errExtent
	}
	return x, nil
}

func chunkStart(block uint64) uint64 { return block &^ (chunkBlocks - 1) }

func chunkEnd(block uint64) uint64 { return (block + chunkBlocks - 1) &^ (chunkBlocks - 1) }
