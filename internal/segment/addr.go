package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BlockSize is the unit of the log: bytes. Every header, payload piece and
// overflowing summary starts at a multiple of it.
const BlockSize = 4096

const (
	addrBlockBits = 20
	maxSegBlocks  = 1 << addrBlockBits
)

// Addr is the logical address of one block: segment number << 20 | index of
// the block inside the segment. Addr+1 is the next block of the same segment.
// 0 is no address: segments are numbered from 1. The top bit is never set.
type Addr uint64

// MakeAddr returns the address of a block of a segment. block < 1<<20.
func MakeAddr(seg uint64, block uint32) Addr { return Addr(seg<<addrBlockBits | uint64(block)) }

// Segment returns the number of the segment.
func (a Addr) Segment() uint64 { return uint64(a) >> addrBlockBits }

// Block returns the index of the block inside its segment.
func (a Addr) Block() uint32 { return uint32(a) & (maxSegBlocks - 1) }

// String returns "segment/block", for example "17/332".
func (a Addr) String() string { return fmt.Sprintf("%d/%d", a.Segment(), a.Block()) }

// offset returns where the block lies in its segment: bytes.
func (a Addr) offset() int64 { return int64(a.Block()) * BlockSize }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C of b.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func crcUpdate(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

// Position names one frame of the log. The operations after a position are
// those in the frames that follow it.
type Position struct {
	Addr      Addr   // of the frame's header block
	Seq       uint64 // its sequence number
	HeaderCRC uint32 // its header's own CRC
	LastLSN   uint64 // the last operation logged in it or before it
}

// PositionSize is the length of an encoded Position: bytes.
const PositionSize = 28

// Append appends the encoding of p: addr u64 | seq u64 | header CRC u32 |
// last LSN u64, little endian.
func (p Position) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(p.Addr))
	dst = le.AppendUint64(dst, p.Seq)
	dst = le.AppendUint32(dst, p.HeaderCRC)
	return le.AppendUint64(dst, p.LastLSN)
}

// ParsePosition decodes the first PositionSize bytes of b, which must have as
// many. It judges nothing: Scan and Read verify the frame a Position names.
func ParsePosition(b []byte) Position {
	le := binary.LittleEndian
	return Position{
		Addr:      Addr(le.Uint64(b)),
		Seq:       le.Uint64(b[8:]),
		HeaderCRC: le.Uint32(b[16:]),
		LastLSN:   le.Uint64(b[20:]),
	}
}

// Kind says what a block of payload holds.
type Kind uint8

// The kinds of payload.
const (
	Data   Kind = 1 // bytes of files and disks
	Node   Kind = 2 // tree nodes
	Deaths Kind = 3 // pages of death records
	Super  Kind = 4 // the payload of a super root frame

	maxKind = Super
)

var kindNames = [...]string{"none", "data", "node", "deaths", "super"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}
