package scsi

import (
	"varve/internal/engine"
	"varve/internal/vol"
)

// Span is a piece of a disk: stored data, or a hole.
type Span = vol.Span

// Identity is what a logical unit is, whatever it is called: the same over
// renames, rollbacks and restarts, another for every clone and every moment.
type Identity struct {
	Pool    [16]byte
	Dataset uint64
	LSN     uint64 // of a past moment; 0: the head
}

// Disk is an open disk of one nexus. Its methods may be called concurrently.
// Every range lies within Size and is not empty, offsets and lengths are bytes.
// Buffers are the caller's again when a method returns. Errors are *fail.Error.
type Disk interface {
	Identity() Identity

	// Name is what people call it; for INQUIRY and messages.
	Name() string

	// Size is the size now, in bytes: it may have grown. It is cheap.
	Size() uint64

	ReadOnly() bool

	// PhysicalBlock is the granule to show to initiators, which align to it: 512
	// or 4096.
	PhysicalBlock() int

	// WriteCache is whether initiators are to find the write cache enabled: else every
	// write is durable before it is answered.
	WriteCache() bool

	// ReadAt fills p, with zeros for holes. TryReadAt does not wait for the
	// disk: false where ReadAt would have to.
	ReadAt(p []byte, off uint64, spans *[]Span) error
	TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error)

	// WriteAt returns when p is readable; it is durable after Flush. TryWriteAt does
	// not wait, neither for the disk nor for room: false where WriteAt would have to,
	// or would fail, and nothing has happened.
	WriteAt(p []byte, off uint64) error
	TryWriteAt(p []byte, off uint64) bool

	// Update replaces the bytes [off, off+n), at most MaxAtomic whatever the
	// alignment, by what change makes of them: in one step of which nobody
	// sees a part, and with no other write, of any client of the volume,
	// between what change was given and what it left. change may run several
	// times, each time on the bytes as they then are; where it returns false
	// nothing is written.
	Update(off, n uint64, change func(p []byte) bool) error

	// Zero makes a range read as zeros: holes where whole blocks allow.
	Zero(off, n uint64, noHole bool) error

	// Map visits the spans of a range, until fn returns false.
	Map(off, n uint64, fn func(Span) bool) error

	// Flush returns when everything written before, by anyone, is durable.
	Flush() error

	// State is what SetState kept for the volume: over restarts, renames and
	// rollbacks, not for clones. SetState returns when it is durable; p is at
	// most MaxState bytes, none removes it.
	State() ([]byte, error)
	SetState(p []byte) error

	// MayErase tells whether SANITIZE is allowed now (nil), or why it is not.
	// Erased is called when every block was overwritten or made a hole: it
	// forgets all that the volume held before.
	MayErase() error
	Erased() error

	// Used is how much of the least room that limits the volume (pool, quota,
	// budget) is taken, in percent.
	Used() int

	// Close is called once, when no other call is under way.
	Close()
}

// MaxAtomic bounds what COMPARE AND WRITE, ORWRITE and WRITE ATOMIC replace in
// one step: bytes.
const MaxAtomic = engine.MaxUpdate

// MaxState bounds the state of a unit that outlives restarts: bytes.
const MaxState = engine.MaxState
