package segment

import (
	"encoding/binary"
	"fmt"

	"varve/internal/fail"
)

// A frame is one run of blocks, written by one write:
//
//	block 0           header (256 bytes) | summary, if it fits into the other 3840 bytes | zeros
//	blocks 1 .. P     payload
//	blocks P+1 ..     summary, if it does not fit above | zeros
//
// The header, little endian:
//
//	  0   8  magic "varvefrm"
//	  8   2  format version, 1
//	 10   1  kind: 1 operations, 2 super root, 3 opening, 4 marker
//	 11   1  zero
//	 12   4  feature bits that a reader must know; none so far
//	 16  16  pool id
//	 32  16  incarnation: random, new at each opening for writing
//	 48  16  the incarnation before, in an opening frame; else zero
//	 64   8  segment number
//	 72   4  index of this block in the segment
//	 76   4  epoch of leadership
//	 80   8  sequence number: one more than that of the frame before
//	 88   8  durable-through: all frames up to this sequence number were
//	         durable when this one was sealed; a super root and an opening
//	         frame are written only when that is every frame before them
//	 96   8  address of the last durable super root frame, or 0
//	104   8  first LSN: of the first operation here; the next one if none is
//	112   8  time of sealing, Unix nanoseconds, never falling
//	120   4  number of operations
//	124   4  P, payload blocks
//	128   4  length of the summary, bytes
//	132   4  CRC of the previous frame's header
//	136   4  CRC of the summary
//	140 112  zero
//	252   4  CRC of this header: of its 256 bytes with this field zero
//
// All CRCs are CRC32C. Magic, version, feature bits, pool, segment, block and
// the header's own CRC stay where they are in every version, so that an older
// reader can tell a newer frame from damage.
type header struct {
	kind            FrameKind
	pool            [16]byte
	incarnation     [16]byte
	prevIncarnation [16]byte
	addr            Addr
	epoch           uint32
	seq             uint64
	through         uint64
	lastSuper       Addr
	firstLSN        uint64
	time            int64
	ops             int
	payload         int // blocks
	summary         int // bytes
	prevCRC         uint32
	summaryCRC      uint32
	crc             uint32 // its own
}

const (
	headerSize     = 256
	formatVersion  = 1
	inlineSummary  = BlockSize - headerSize // bytes of summary that the header block holds
	maxFrameBlocks = 1024
	ownCRC         = 252 // where the header's own CRC is
)

var frameMagic = [8]byte{'v', 'a', 'r', 'v', 'e', 'f', 'r', 'm'}

// summaryBlocks returns the blocks that n bytes of summary take beyond the
// header block.
func summaryBlocks(n int) int {
	if n <= inlineSummary {
		return 0
	}
	return (n + BlockSize - 1) / BlockSize
}

// blocks returns the length of the whole frame: blocks.
func (h *header) blocks() int { return 1 + h.payload + summaryBlocks(h.summary) }

func (h *header) lastLSN() uint64 { return h.firstLSN + uint64(h.ops) - 1 }

func (h *header) position() Position {
	return Position{Addr: h.addr, Seq: h.seq, HeaderCRC: h.crc, LastLSN: h.lastLSN()}
}

// encode writes h into the first headerSize bytes of b and sets h.crc.
func (h *header) encode(b []byte) {
	le := binary.LittleEndian
	b = b[:headerSize]
	clear(b)
	copy(b, frameMagic[:])
	le.PutUint16(b[8:], formatVersion)
	b[10] = byte(h.kind)
	copy(b[16:], h.pool[:])
	copy(b[32:], h.incarnation[:])
	copy(b[48:], h.prevIncarnation[:])
	le.PutUint64(b[64:], h.addr.Segment())
	le.PutUint32(b[72:], h.addr.Block())
	le.PutUint32(b[76:], h.epoch)
	le.PutUint64(b[80:], h.seq)
	le.PutUint64(b[88:], h.through)
	le.PutUint64(b[96:], uint64(h.lastSuper))
	le.PutUint64(b[104:], h.firstLSN)
	le.PutUint64(b[112:], uint64(h.time))
	le.PutUint32(b[120:], uint32(h.ops))
	le.PutUint32(b[124:], uint32(h.payload))
	le.PutUint32(b[128:], uint32(h.summary))
	le.PutUint32(b[132:], h.prevCRC)
	le.PutUint32(b[136:], h.summaryCRC)
	h.crc = Checksum(b)
	le.PutUint32(b[ownCRC:], h.crc)
}

// notFrame says why some bytes are no frame of this log. It is a verdict, not
// trouble: the end of the log looks like this.
type notFrame string

func (e notFrame) Error() string { return string(e) }

func notFramef(format string, args ...any) error { return notFrame(fmt.Sprintf(format, args...)) }

// Verdicts on the blocks that every scan meets by the thousand: not formatted.
const (
	errNoHeader  = notFrame("no frame header")
	errHeaderCRC = notFrame("the header fails its checksum")
)

// decodeHeader reads a header. Its error is a notFrame, or Unsupported for a
// header that is whole but of another version. Pool and address are set with
// any error, as far as the block claims any.
func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	var h header
	if len(b) < headerSize || [8]byte(b[:8]) != frameMagic {
		return h, errNoHeader
	}
	h.pool = [16]byte(b[16:])
	seg, block := le.Uint64(b[64:]), le.Uint32(b[72:])
	if seg == 0 || seg >= 1<<(63-addrBlockBits) || block >= maxSegBlocks {
		return h, notFrame("the header has an impossible address")
	}
	h.addr = MakeAddr(seg, block)
	var zero [4]byte
	crc := crcUpdate(Checksum(b[:ownCRC]), zero[:])
	if crc != le.Uint32(b[ownCRC:]) {
		return h, errHeaderCRC
	}
	if v, f := le.Uint16(b[8:]), le.Uint32(b[12:]); v != formatVersion || f != 0 {
		return h, fail.New(fail.Unsupported, "segment %d block %d holds a frame of format version %d, features %#x; this varve reads version %d",
			seg, block, v, f, formatVersion)
	}
	h.kind = FrameKind(b[10])
	h.incarnation, h.prevIncarnation = [16]byte(b[32:]), [16]byte(b[48:])
	h.epoch = le.Uint32(b[76:])
	h.seq, h.through = le.Uint64(b[80:]), le.Uint64(b[88:])
	h.lastSuper, h.firstLSN = Addr(le.Uint64(b[96:])), le.Uint64(b[104:])
	h.time = int64(le.Uint64(b[112:]))
	h.prevCRC, h.summaryCRC, h.crc = le.Uint32(b[132:]), le.Uint32(b[136:]), crc
	ops, payload, summary := le.Uint32(b[120:]), le.Uint32(b[124:]), le.Uint32(b[128:])
	if payload > maxFrameBlocks || summary > maxFrameBlocks*BlockSize || ops > summary || b[11] != 0 || !allZero(b[140:ownCRC]) {
		return h, notFrame("the header has impossible fields")
	}
	h.ops, h.payload, h.summary = int(ops), int(payload), int(summary)
	return h, h.sane()
}

// sane checks what the fields of a header demand of each other.
func (h *header) sane() error {
	switch {
	case h.kind < FrameOps || h.kind > FrameMarker:
		return notFramef("frame kind %d is unknown", h.kind)
	case h.blocks() > maxFrameBlocks:
		return notFramef("%d blocks are no frame", h.blocks())
	case h.seq == 0 || h.through >= h.seq:
		return notFramef("frame %d cannot know frame %d to be durable", h.seq, h.through)
	case (h.kind == FrameSuper || h.kind == FrameOpen) && h.through != h.seq-1:
		return notFramef("a %s frame %d does not attest all before it", h.kind, h.seq)
	case h.kind != FrameOpen && h.prevIncarnation != [16]byte{}:
		return notFramef("a %s frame announces an incarnation", h.kind)
	case h.kind != FrameOps && h.ops != 0, h.kind != FrameOps && h.kind != FrameSuper && h.payload != 0:
		return notFramef("a %s frame with %d operations and %d blocks", h.kind, h.ops, h.payload)
	case h.firstLSN == 0 || h.firstLSN+uint64(h.ops) < h.firstLSN:
		return notFramef("%d operations from lsn %d", h.ops, h.firstLSN)
	case h.lastSuper != 0 && h.lastSuper >= h.addr:
		return notFramef("the last super root %v lies ahead of %v", h.lastSuper, h.addr)
	}
	return nil
}

// follows says why the frame of h does not come right after that of p.
func (h *header) follows(p *header) error {
	switch {
	case h.seq != p.seq+1:
		return notFramef("frame %d does not follow frame %d", h.seq, p.seq)
	case h.prevCRC != p.crc:
		return notFramef("frame %d follows another frame %d", h.seq, p.seq)
	case h.incarnation != p.incarnation && (h.kind != FrameOpen || h.prevIncarnation != p.incarnation):
		return notFramef("frame %d is of a foreign incarnation", h.seq)
	case h.firstLSN != p.lastLSN()+1:
		return notFramef("frame %d starts at lsn %d after lsn %d", h.seq, h.firstLSN, p.lastLSN())
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
