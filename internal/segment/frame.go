package segment

import (
	"encoding/binary"
	"fmt"
	"iter"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// FrameKind says what a frame is for.
type FrameKind uint8

// The kinds of frames.
const (
	FrameOps    FrameKind = 1 // payload and operations
	FrameSuper  FrameKind = 2 // a super root
	FrameOpen   FrameKind = 3 // the first of an incarnation
	FrameMarker FrameKind = 4 // only attests that what precedes it is durable
)

func (k FrameKind) String() string {
	switch k {
	case FrameOps:
		return "ops"
	case FrameSuper:
		return "super root"
	case FrameOpen:
		return "opening"
	case FrameMarker:
		return "marker"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Frame is one frame as read from the store. It is valid only during the call
// that hands it over.
type Frame struct {
	Position    Position
	Kind        FrameKind
	Incarnation [16]byte
	Epoch       uint32
	FirstLSN    uint64 // of its operations; the next to be given if it has none
	NumOps      int
	Time        int64  // of sealing: Unix nanoseconds
	Through     uint64 // frames up to this sequence number were durable when it was sealed
	LastSuper   Addr   // the last super root frame before it; 0 if there was none
	Blocks      int    // of payload
	Length      int    // of the whole frame: blocks

	store               segstore.Store
	runs, crcs, records []byte
}

// Run is a run of payload blocks of one kind, as indices into the payload.
type Run struct {
	Kind     Kind
	First, N int
}

// frameOf makes a view of the frame with that header and summary.
func frameOf(s segstore.Store, h *header, summary []byte) (*Frame, error) {
	runs, crcs, records, err := checkSummary(summary, h.payload, h.ops)
	if err != nil {
		return nil, err
	}
	f := viewOf(s, h)
	f.runs, f.crcs, f.records = runs, crcs, records
	return f, nil
}

// viewOf makes a view of a frame as far as its header tells.
func viewOf(s segstore.Store, h *header) *Frame {
	return &Frame{
		Position: h.position(), Kind: h.kind, Incarnation: h.incarnation, Epoch: h.epoch,
		FirstLSN: h.firstLSN, NumOps: h.ops, Time: h.time, Through: h.through,
		LastSuper: h.lastSuper, Blocks: h.payload, Length: h.blocks(), store: s,
	}
}

// Records yields the operations in order: LSN and bytes, which are valid as
// long as the frame.
func (f *Frame) Records() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		b := f.records
		for i := range f.NumOps {
			n, k := binary.Uvarint(b)
			if !yield(f.FirstLSN+uint64(i), b[k:k+int(n):k+int(n)]) {
				return
			}
			b = b[k+int(n):]
		}
	}
}

// RecordBytes returns all records, each with its length before it as an unsigned
// varint; valid as long as the frame.
func (f *Frame) RecordBytes() []byte { return f.records }

// Runs yields the payload by kind, in order.
func (f *Frame) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		first := 0
		for b := f.runs; len(b) > 0; {
			n, k := binary.Uvarint(b[1:])
			if !yield(Run{Kind: Kind(b[0]), First: first, N: int(n)}) {
				return
			}
			first += int(n)
			b = b[1+k:]
		}
	}
}

// CRC returns the checksum of payload block i.
func (f *Frame) CRC(i int) uint32 { return binary.LittleEndian.Uint32(f.crcs[4*i:]) }

// PayloadAddr returns the address of payload block i.
func (f *Frame) PayloadAddr(i int) Addr { return f.Position.Addr + 1 + Addr(i) }

// ReadPayload reads len(p)/BlockSize payload blocks, from index first on, and
// verifies them: Corrupt names the block that fails its checksum. It may wait
// for the disk.
func (f *Frame) ReadPayload(first int, p []byte) error {
	if first < 0 || len(p)%BlockSize != 0 || first+len(p)/BlockSize > f.Blocks {
		return fail.New(fail.Invalid, "frame %d has no payload blocks %d to %d", f.Position.Seq, first, first+len(p)/BlockSize)
	}
	a := f.PayloadAddr(first)
	if err := f.store.ReadAt(a.Segment(), p, a.offset()); err != nil {
		return err
	}
	for i := range len(p) / BlockSize {
		if Checksum(p[i*BlockSize:][:BlockSize]) != f.CRC(first+i) {
			return fail.New(fail.Corrupt, "segment %d block %d, payload of frame %d, fails its checksum",
				a.Segment(), f.PayloadAddr(first+i).Block(), f.Position.Seq)
		}
	}
	return nil
}
