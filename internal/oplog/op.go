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
	CreateShare     Kind = 28 // a new share with an empty root directory
	Set             Kind = 29 // a property of a dataset
	Horizon         Kind = 30 // history begins later
	Expire          Kind = 31 // when a snapshot goes by itself
	SetState        Kind = 32 // what a front end keeps with a volume: SCSI reservations
	Undo            Kind = 33 // the head becomes that of a draft, a dataset without some operations

	// Of the files of a share.
	WriteFile   Kind = 40 // bytes of a file
	Create      Kind = 41 // a regular file and its name
	Mkdir       Kind = 42
	Symlink     Kind = 43
	Mknod       Kind = 44 // a device, FIFO or socket
	Link        Kind = 45 // another name
	Remove      Kind = 46 // a name goes, and with the last one the object
	Rmdir       Kind = 47
	Move        Kind = 48 // an object gets another name, which may be another's so far
	Setattr     Kind = 49
	SetXattr    Kind = 50
	RemoveXattr Kind = 51
)

var kindNames = map[Kind]string{
	Write: "write", Trim: "trim", CreateVolume: "create-volume",
	Snapshot: "snapshot", DestroySnapshot: "destroy-snapshot", Clone: "clone",
	Rollback: "rollback", Destroy: "destroy", Undestroy: "undestroy",
	Rename: "rename-dataset", Drain: "drain", Hold: "hold", Release: "release", Resize: "resize",
	CreateShare: "create-share", Set: "set", Horizon: "horizon", Expire: "expire", SetState: "set-state", Undo: "undo", WriteFile: "write-file", Create: "create", Mkdir: "mkdir",
	Symlink: "symlink", Mknod: "mknod", Link: "link", Remove: "remove", Rmdir: "rmdir", Move: "rename",
	Setattr: "setattr", SetXattr: "set-xattr", RemoveXattr: "remove-xattr",
}

// OnFile reports whether k changes the files of a share.
func (k Kind) OnFile() bool { return k >= WriteFile && k <= RemoveXattr }

// OnData reports whether k changes what a dataset holds by one operation of a
// client; the rest of the log is about the dataset itself.
func (k Kind) OnData() bool { return k.OnFile() || k == Write || k == Trim }

// Writes reports whether k has bytes that a client sent.
func (k Kind) Writes() bool { return k == Write || k == WriteFile }

// Makes reports whether k makes an object and its first name.
func (k Kind) Makes() bool { return k == Create || k == Mkdir || k == Symlink || k == Mknod }

// TurnsBack reports whether k puts the whole of a dataset elsewhere.
func (k Kind) TurnsBack() bool { return k == Rollback || k == Undo }

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

// MaxValue bounds the value in an operation, in bytes.
const MaxValue = 64 << 10

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
	As      int64 // of the files of a share: the time that what it changes shows, where that is not Time: it repeats an operation of then; else 0
	Kind    Kind
	Dataset uint64  // whose line the operation is on; the new dataset's id for CreateVolume and Clone; Snapshot: 0 = of every dataset
	Client  *Client // nil: the server itself

	// Write: the exact bytes [Off, Off+Len) that the client sent, and the
	// extents that hold them with the merged edge blocks, which cover the
	// blocks from Off/4096 on without a gap. Trim: a range of whole blocks.
	Off, Len uint64
	Extents  []Extent

	Name   string // CreateVolume, Snapshot, Clone, Undestroy, Rename: the new name; Rollback, Undo: the guard snapshot's; Hold, Release: the tag
	Size   uint64 // CreateVolume, Resize: bytes; Snapshot, Expire: when it goes by itself, Unix nanoseconds, 0: never
	Source uint64 // Clone: the dataset it forks from; Undo: the draft
	At     uint64 // Clone, Rollback: the moment; Undo: that of Source; Snapshot: a past moment, 0 = the present; DestroySnapshot, Hold, Release, Expire: the snapshot's id; Drain: the dying list's id; Horizon: the oldest moment of history
	Limit  uint64 // Snapshot of a past moment: when that was, Unix nanoseconds
	Now    bool   // Destroy: for good; Snapshot: a guard, made before a change; Clone: a draft, nobody sees it until Undestroy

	// Of the files of a share: the exact bytes [Off, Off+Len) and Extents of
	// WriteFile are as in Write. Setattr with a size that ends inside a block
	// with payload has that block anew, zero beyond the size, as its one
	// extent.
	Ino      uint64   // the object
	Dir      uint64   // the directory in which Name is, will be, or was
	Dir2     uint64   // Move: the directory of the new name,
	Name2    string   // and the new name
	Ino2     uint64   // Move: the object that had the new name, 0: none
	Attr     Attr     // what is set
	Value    string   // Symlink: the target; SetXattr: the value; Set: the property's; Snapshot: not empty: a kept point; Drain: the key of the tree from which the next step goes on, 16 bytes; CreateShare: see engine.shareValue
	UID, GID uint32   // who asked
	Request  *Request // what the client sent, if it may send it again
}

// Shows returns the time that the operation's changes show: Unix nanoseconds.
func (o *Op) Shows() int64 {
	if o.As != 0 {
		return o.As
	}
	return o.Time
}

// AttrMask says which fields of an Attr mean something.
type AttrMask uint16

// The fields of an Attr. A time that is set to the operation's own has no
// field.
const (
	SetMode AttrMask = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetAtimeNow
	SetMtimeNow
	SetFlags
	SetRdev
	SetVerifier
	SetBtime
	allAttrs = SetBtime<<1 - 1
)

// Attr is a set of attributes of a file. For a new object Mode has the type
// too, as in stat(2).
type Attr struct {
	Mask                AttrMask
	Mode, UID, GID      uint32
	Flags               uint32
	Size                uint64 // bytes
	Atime, Mtime, Btime int64  // Unix nanoseconds
	Rdev                uint64
	Verifier            uint64
}

// Request identifies a request of a client over its retransmissions: the XID
// and a checksum of the call's body.
type Request struct {
	XID uint32
	Sum uint64
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
