package compact

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// A slot is a segment of the store below. Numbers are little endian:
//
//	block 0          header, 64 bytes | zeros     written last, by itself
//	blocks 1 .. T    the same header | table | zeros
//	blocks 1+T ..    B copied blocks, in the order of the table
//	...              a hole
//	last T blocks    blocks 1 .. T once more
//
// header:
//
//	 0  8  magic "varvslot"
//	 8  2  format version, 1
//	10  2  zero
//	12  4  T, blocks of the table
//	16  8  number of the slot itself
//	24  4  V, victims in it
//	28  4  R, ranges of all victims
//	32  4  B, copied blocks
//	36  4  zero
//	40  8  lowest number of a victim
//	48  8  highest number of a victim
//	56  4  CRC32C of the table
//	60  4  CRC32C of these 64 bytes with this field zero
//
// table, 16 V + 8 R + 4 B bytes:
//
//	victims   number u64 | ranges u32 | blocks u32        ascending
//	ranges    first block in the victim u32 | blocks u32  those of the first
//	          victim, of the second, ...; of each ascending and disjoint
//	checksums CRC32C u32 of each copied block, B times
//
// A table names a victim only with all of its live blocks: whatever an older
// place of it holds beyond them is dead. So of several slots that name a
// segment the one with the highest number has it, whole.
//
// The header in block 0 lies in one sector, so that a crash leaves all of it or
// nothing. It is written when all else is durable. While block 0 is all zeros
// the slot is incomplete and of no meaning; anything else there that is no
// header is damage. Where something of the front is damaged, the end serves; and
// it tells a slot that never had its block 0 from one that lost it: see
// loader.lostHeader.
const (
	slotMagic   = "varvslot"
	slotVersion = 1
	headerSize  = 64

	victimSize = 16
	rangeSize  = 8
	crcSize    = 4
)

const blockSize = segstore.BlockSize

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// header is the header of a slot.
type header struct {
	tableBlocks             int
	number                  uint64
	victims, ranges, blocks int
	low, high               uint64
	tableCRC                uint32
}

// table says what a slot holds.
type table struct {
	header
	entries []entry  // ascending by segment
	crcs    []uint32 // of each copied block
}

// names reports whether a segment is in the slot.
func (t *table) names(segment uint64) bool {
	_, ok := slices.BinarySearchFunc(t.entries, segment, func(e entry, n uint64) int { return cmp.Compare(e.segment, n) })
	return ok
}

// entry is one victim in a slot.
type entry struct {
	segment uint64
	runs    []run
}

// run is a range of blocks of a segment, and where in a slot it lies.
type run struct {
	block, blocks int // in the segment
	at            int // block in the slot
}

func (r run) end() int { return r.block + r.blocks }

// tableBytes is the length of a table.
func tableBytes(victims, ranges, blocks int) int {
	return victims*victimSize + ranges*rangeSize + blocks*crcSize
}

// tableBlocks is how many blocks a table takes with its header.
func tableBlocks(victims, ranges, blocks int) int {
	return (headerSize + tableBytes(victims, ranges, blocks) + blockSize - 1) / blockSize
}

// copyAt is the block of a slot where the table is once more.
func (h *header) copyAt(segBlocks int) int { return segBlocks - h.tableBlocks }

// overhead is how many blocks are not copied ones.
func (h *header) overhead() int { return overheadBlocks(h.tableBlocks) }

// overheadBlocks are a header and two tables of so many blocks each.
func overheadBlocks(tableBlocks int) int { return 1 + 2*tableBlocks }

// first is the block of a slot where copied blocks begin.
func (h *header) first() int { return 1 + h.tableBlocks }

// encode returns block 0 and the blocks of the table. entries and crcs count;
// tableBlocks may be more than they need.
func (t *table) encode() (head, rest []byte) {
	t.victims, t.ranges, t.blocks = len(t.entries), 0, len(t.crcs)
	t.low, t.high = t.entries[0].segment, t.entries[len(t.entries)-1].segment
	le := binary.LittleEndian
	rest = make([]byte, headerSize, t.tableBlocks*blockSize)
	for _, e := range t.entries {
		blocks := 0
		for _, r := range e.runs {
			blocks += r.blocks
		}
		t.ranges += len(e.runs)
		rest = le.AppendUint64(rest, e.segment)
		rest = le.AppendUint32(rest, uint32(len(e.runs)))
		rest = le.AppendUint32(rest, uint32(blocks))
	}
	for _, e := range t.entries {
		for _, r := range e.runs {
			rest = le.AppendUint32(rest, uint32(r.block))
			rest = le.AppendUint32(rest, uint32(r.blocks))
		}
	}
	for _, crc := range t.crcs {
		rest = le.AppendUint32(rest, crc)
	}
	t.tableCRC = checksum(rest[headerSize:])
	copy(rest, t.header.encode())
	head = make([]byte, blockSize)
	copy(head, rest[:headerSize])
	return head, rest[:t.tableBlocks*blockSize]
}

func (h *header) encode() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, headerSize), slotMagic...)
	b = le.AppendUint16(b, slotVersion)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, uint32(h.tableBlocks))
	b = le.AppendUint64(b, h.number)
	b = le.AppendUint32(b, uint32(h.victims))
	b = le.AppendUint32(b, uint32(h.ranges))
	b = le.AppendUint32(b, uint32(h.blocks))
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint64(b, h.low)
	b = le.AppendUint64(b, h.high)
	b = le.AppendUint32(b, h.tableCRC)
	return le.AppendUint32(b, checksum(append(b, 0, 0, 0, 0)))
}

// decodeHeader reads a header at the start of a block of slot n, of which
// nothing but zeros may follow if alone.
func decodeHeader(n uint64, b []byte, segBlocks int, alone bool) (header, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != slotMagic {
		return header{}, fail.New(fail.Corrupt, "slot %d has no header", n)
	}
	if v := le.Uint16(b[8:]); v != slotVersion {
		return header{}, fail.New(fail.Unsupported, "slot %d has version %d; this varve knows %d", n, v, slotVersion).
			WithHint("use the varve that made it, or a newer one")
	}
	h := header{
		tableBlocks: int(le.Uint32(b[12:])),
		number:      le.Uint64(b[16:]),
		victims:     int(le.Uint32(b[24:])),
		ranges:      int(le.Uint32(b[28:])),
		blocks:      int(le.Uint32(b[32:])),
		low:         le.Uint64(b[40:]),
		high:        le.Uint64(b[48:]),
		tableCRC:    le.Uint32(b[56:]),
	}
	if !bytes.Equal(h.encode(), b[:headerSize]) || alone && !zero(b[headerSize:]) {
		return header{}, fail.New(fail.Corrupt, "the header of slot %d fails its checksum", n)
	}
	switch {
	case h.number != n:
		return h, fail.New(fail.Corrupt, "slot %d says that it is slot %d", n, h.number)
	case h.tableBlocks > segBlocks/2 || h.blocks > segBlocks-h.overhead() ||
		h.victims == 0 || h.ranges < h.victims || h.blocks < h.ranges ||
		tableBlocks(h.victims, h.ranges, h.blocks) > h.tableBlocks ||
		h.low == 0 || h.low > h.high || h.high >= SlotBase:
		return h, fail.New(fail.Corrupt, "the header of slot %d is impossible", n)
	}
	return h, nil
}

// decodeTable reads the blocks of the table that h announces.
func decodeTable(h header, b []byte, segBlocks int) (*table, error) {
	damaged := func(what string) error {
		return fail.New(fail.Corrupt, "the table of slot %d %s", h.number, what)
	}
	end := headerSize + tableBytes(h.victims, h.ranges, h.blocks)
	if len(b) < end || !bytes.Equal(b[:headerSize], h.encode()) {
		return nil, damaged("belongs to another header")
	}
	if checksum(b[headerSize:end]) != h.tableCRC {
		return nil, damaged("fails its checksum")
	}
	t := &table{header: h, entries: make([]entry, h.victims), crcs: make([]uint32, h.blocks)}
	le := binary.LittleEndian
	victims := b[headerSize:]
	ranges := victims[h.victims*victimSize:]
	crcs := ranges[h.ranges*rangeSize:]
	runs := make([]run, h.ranges)
	left, at, before := h.blocks, h.first(), uint64(0)
	for i := range t.entries {
		v := victims[i*victimSize:]
		e := entry{segment: le.Uint64(v)}
		n, blocks := int(le.Uint32(v[8:])), int(le.Uint32(v[12:]))
		if e.segment <= before || n == 0 || n > len(runs) {
			return nil, damaged("is impossible")
		}
		e.runs, runs = runs[:n:n], runs[n:]
		next := 0
		for j := range e.runs {
			r := run{int(le.Uint32(ranges)), int(le.Uint32(ranges[4:])), at}
			if r.block < next || r.blocks == 0 || r.blocks > segBlocks || r.end() > segBlocks || r.blocks > blocks || r.blocks > left {
				return nil, damaged("is impossible")
			}
			next, at, blocks, left = r.end(), at+r.blocks, blocks-r.blocks, left-r.blocks
			e.runs[j], ranges = r, ranges[rangeSize:]
		}
		if blocks != 0 {
			return nil, damaged("is impossible")
		}
		t.entries[i], before = e, e.segment
	}
	if len(runs) > 0 || left > 0 || t.entries[0].segment != h.low || before != h.high {
		return nil, damaged("is impossible")
	}
	for i := range t.crcs {
		t.crcs[i] = le.Uint32(crcs[i*crcSize:])
	}
	return t, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
