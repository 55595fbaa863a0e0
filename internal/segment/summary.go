package segment

import (
	"encoding/binary"

	"varve/internal/varint"
)

// The summary of a frame says what its payload is and holds its operations:
//
//	runs       kind u8 | count uvarint, until all payload blocks are named
//	checksums  CRC32C u32, little endian, of each payload block
//	records    length uvarint | bytes, as many as the header counts
//
// It is built while the frame fills: runs grow at the end of one buffer,
// records of another, and seal puts them together.
type summary struct {
	runs    []byte // whole runs; the last is kept open in kind and count
	kind    Kind
	count   int // blocks of the open run
	crcs    []uint32
	records []byte
	ops     int
}

const maxRun = 1 + 2 // bytes of a run: maxFrameBlocks fits two bytes of uvarint

func (s *summary) reset() {
	s.runs, s.crcs, s.records = s.runs[:0], s.crcs[:0], s.records[:0]
	s.kind, s.count, s.ops = 0, 0, 0
}

// size returns an upper bound, in bytes, of the encoding once blocks more of
// another kind and a record of n bytes are in it. n < 0: no record.
func (s *summary) size(blocks, n int) int {
	size := len(s.runs) + 2*maxRun + 4*(len(s.crcs)+blocks) + len(s.records)
	if n >= 0 {
		size += n + uvarintLen(n)
	}
	return size
}

func (s *summary) addBlocks(k Kind, crcs []uint32) {
	if s.kind != k {
		s.closeRun()
		s.kind = k
	}
	s.count += len(crcs)
	s.crcs = append(s.crcs, crcs...)
}

func (s *summary) closeRun() {
	if s.count > 0 {
		s.runs = binary.AppendUvarint(append(s.runs, byte(s.kind)), uint64(s.count))
	}
	s.kind, s.count = 0, 0
}

func (s *summary) addRecord(rec []byte) {
	s.records = append(binary.AppendUvarint(s.records, uint64(len(rec))), rec...)
	s.ops++
}

// length returns the exact length of the encoding: bytes. No block can be
// added to the run that was open.
func (s *summary) length() int {
	s.closeRun()
	return len(s.runs) + 4*len(s.crcs) + len(s.records)
}

// encode puts the summary into dst, which has exactly its length.
func (s *summary) encode(dst []byte) {
	n := copy(dst, s.runs)
	for _, c := range s.crcs {
		binary.LittleEndian.PutUint32(dst[n:], c)
		n += 4
	}
	copy(dst[n:], s.records)
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// checkSummary returns the parts of the summary b of a frame with that many
// payload blocks and operations: runs, checksums, records.
func checkSummary(b []byte, payload, ops int) (runs, crcs, records []byte, err error) {
	r := varint.Reader{B: b}
	for left := payload; left > 0; {
		kind, n := r.Byte(), r.Uvarint()
		if r.Bad || kind == 0 || Kind(kind) > maxKind || n == 0 || n > uint64(left) {
			return nil, nil, nil, notFrame("the summary names no possible payload")
		}
		left -= int(n)
	}
	runs = b[:len(b)-len(r.B)]
	crcs = r.Bytes(4 * payload)
	records = r.B
	for range ops {
		r.Bytes(int(min(r.Uvarint(), maxFrameBlocks*BlockSize)))
	}
	if r.Bad || len(r.B) != 0 {
		return nil, nil, nil, notFramef("the summary does not hold %d operations", ops)
	}
	return runs, crcs, records, nil
}
