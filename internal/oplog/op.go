// Package oplog defines the operations that varve logs, and their bytes. It
// is a leaf: types and codec, no policy. What an operation does to the trees
// is engine's Apply.
package oplog

import "fmt"

// Kind says what an operation does. The numbers are on disk and never change.
type Kind uint8

// The kinds of operation.
const (
	Write           Kind = 1  // bytes of a volume
	Trim            Kind = 2  // a range of a volume becomes a hole
	CreateVolume    Kind = 16 // a new, empty volume
	Snapshot        Kind = 17 // a named moment
	DestroySnapshot Kind = 18 // its name goes
	Clone           Kind = 19 // a new dataset that forks from a moment
	Rollback        Kind = 20 // the head becomes a past moment
	Destroy         Kind = 21 // the dataset goes, for as long as its history lasts
	Undestroy       Kind = 22 // and comes back
	Rename          Kind = 23
	Drain           Kind = 24 // one step of emptying a dying list
	Hold            Kind = 25 // a tag forbids destroying a snapshot
	Release         Kind = 26 // the tag goes
	Resize          Kind = 27 // the volume grows
)

var kindNames = map[Kind]string{
	Write: "write", Trim: "trim", CreateVolume: "create-volume",
	Snapshot: "snapshot", DestroySnapshot: "destroy-snapshot", Clone: "clone",
	Rollback: "rollback", Destroy: "destroy", Undestroy: "undestroy",
	Rename: "rename", Drain: "drain", Hold: "hold", Release: "release", Resize: "resize",
}

func (k Kind) String() string {
	if n, ok := kindNames[k]; ok {
		return n
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// BlockSize is the granule of payload, in bytes.
const BlockSize = 4096

// MaxExtentBlocks bounds an extent: 128 KiB.
const MaxExtentBlocks = 32

// MaxExtents bounds the extents of one operation.
const MaxExtents = 1024

// MaxName bounds names in an operation, in bytes.
const MaxName = 255

// Extent is a run of payload blocks where they stay: Addr is the logical
// address of the first block, CRC holds one CRC32C per block.
type Extent struct {
	Addr uint64
	CRC  []uint32
}

// Client is who caused an operation, as the log shows it ("nbd
// 127.0.0.1:40112"). Clients are compared by pointer: a connection makes one.
type Client struct{ Name string }

// Op is one logged operation with its parameters. Which fields mean something
// depends on Kind.
type Op struct {
	LSN     uint64
	Time    int64 // Unix nanoseconds, never falling along the log
	Kind    Kind
	Dataset uint64  // whose line the operation is on; the new dataset's id for CreateVolume and Clone; Snapshot: 0 = of every dataset
	Client  *Client // nil: the server itself

	// Write: the exact bytes [Off, Off+Len) that the client sent, and the
	// extents that hold them with the merged edge blocks, which cover the
	// blocks from Off/4096 on without a gap. Trim: a range of whole blocks.
	Off, Len uint64
	Extents  []Extent

	Name   string // CreateVolume, Snapshot, Clone, Undestroy, Rename: the new name; Rollback: the guard snapshot's; Hold, Release: the tag
	Size   uint64 // CreateVolume, Resize: bytes
	Source uint64 // Clone: the dataset it forks from
	At     uint64 // Clone, Rollback: the moment; Snapshot: a past moment, 0 = the present; DestroySnapshot, Hold, Release: the snapshot's id; Drain: the dying list's id
	Limit  uint64 // Drain: how many tree entries at the most
	Now    bool   // Destroy: for good
}

func (o *Op) String() string {
	s := fmt.Sprintf("lsn %d %s dataset %d", o.LSN, o.Kind, o.Dataset)
	switch o.Kind {
	case Write, Trim:
		s += fmt.Sprintf(" off %d len %d extents %d", o.Off, o.Len, len(o.Extents))
	case Drain, DestroySnapshot:
		s += fmt.Sprintf(" of %d", o.At)
	default:
		s += fmt.Sprintf(" %q", o.Name)
	}
	return s
}
