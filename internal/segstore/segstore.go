// Package segstore says where segments live: the Store interface that the
// log writes to. Its implementations are dir (files in a directory) and mem
// (plain memory, for tests); segstoretest holds what all of them must pass.
package segstore

import (
	"cmp"

	"varve/internal/bytesize"
	"varve/internal/fail"
)

// Limits of a store, in bytes.
const (
	BlockSize      = 4096     // segment sizes are multiples of this
	MaxSuperblock  = 64 << 10 // the longest superblock
	MaxHint        = 4096     // the longest hint
	MinSegmentSize = 16 << 10
	MaxSegmentSize = 4 << 30 // a block index inside a segment has 20 bits
)

// Store holds numbered segments of a fixed size, a superblock, and a hint.
// Segments are numbered from 1. All methods are safe for concurrent use,
// except that nothing may be called after Close.
//
// Errors are *fail.Error: NotFound where a segment, superblock or hint does
// not exist, Exists where a segment already does, NoSpace, ReadOnly for a
// change to a store opened read-only, Corrupt for bytes past the end of a
// segment, IO for what the disk reports.
type Store interface {
	// SegmentSize is the size of every segment: bytes, a multiple of BlockSize.
	SegmentSize() int64

	// Superblock returns the whole superblock, at most MaxSuperblock bytes.
	Superblock() ([]byte, error)

	// WriteSuperblock replaces the superblock atomically; durable on return.
	WriteSuperblock(b []byte) error

	// Hint returns the hint, which may be older than the last SetHint.
	Hint() ([]byte, error)

	// SetHint replaces the hint, at most MaxHint bytes, atomically, and does
	// not make it durable.
	SetHint(b []byte) error

	// List returns all segments, ascending by number.
	List() ([]Segment, error)

	// Create makes segment n, with content as asked for, and allocates all of it.
	// Its existence and its space are durable on return; NoSpace leaves nothing
	// behind.
	Create(n uint64, c Content) error

	// Recycle gives a dead segment, which nobody uses, a new number. Its blocks
	// keep their old bytes, except that holes are allocated again and read as
	// zeros. Durable on return. NoSpace leaves it as it was.
	Recycle(old, new uint64) error

	// Remove frees a segment; durable on return.
	Remove(n uint64) error

	// ReadAt fills p from a segment or fails.
	ReadAt(n uint64, p []byte, off int64) error

	// TryReadAt is ReadAt that never waits for the disk: with ok false
	// nothing was read, and ReadAt has to be asked.
	TryReadAt(n uint64, p []byte, off int64) (ok bool, err error)

	// Prefetch says that a range will be read soon. The disk may begin with
	// it; nobody waits but for the file to be opened.
	Prefetch(n uint64, off, length int64)

	// WriteAt writes p into a segment, without making it durable.
	WriteAt(n uint64, p []byte, off int64) error

	// WriteDurableAt writes p and makes that range durable, and no more. It
	// is fastest when the memory of p, off and len(p) are multiples of
	// BlockSize.
	WriteDurableAt(n uint64, p []byte, off int64) error

	// Sync makes all writes to a segment so far durable.
	Sync(n uint64) error

	// GiveBack lets go of what is kept of removed segments to make new ones of: its
	// space is free for others, except what is there for the day when there is none
	// left, and no byte of it can be read below any more. Durable on return.
	GiveBack() error

	// Zero makes a range read as zeros, and keeps its space. Durable on return.
	Zero(n uint64, off, length int64) error

	// PunchHole frees the whole blocks within a range, which reads as zeros.
	PunchHole(n uint64, off, length int64) error

	// Space tells how much the store uses and may still use.
	Space() (Space, error)

	// SetCapacity changes how many bytes segments may occupy; durable on return. It
	// may be less than what they do occupy: then little or nothing is free, until
	// enough of them are gone. Invalid, or NoSpace where what lies below could never
	// hold so much.
	SetCapacity(bytes int64) error

	// DefaultCapacity is the capacity that this store would be made with now, in
	// bytes, if nobody chose one.
	DefaultCapacity() (int64, error)

	// Close closes the files and releases the lock.
	Close() error
}

// Content is what a new segment may have in it.
type Content uint8

const (
	Zeros    Content = iota // it reads as zeros
	Anything                // zeros, or what segments had that were removed

	// Written is Anything of which every block was written once, where there is
	// still space to make one, so that later syncs need not commit metadata of the
	// file system too.
	Written
)

// Segment is an entry of List.
type Segment struct {
	Number    uint64
	Allocated int64 // bytes on the disk
}

// Space is the space of a store, in bytes. Capacity is the most that segments
// may occupy, Used what they do occupy, Free what may still be allocated: the
// rest of the capacity, or what the file system below has beyond its floor,
// whichever is less.
type Space struct {
	Used, Free, Capacity int64
}

// ByNumber orders segments for slices.SortFunc.
func ByNumber(a, b Segment) int { return cmp.Compare(a.Number, b.Number) }

// CheckNumber returns an Invalid error for a number that no segment has.
func CheckNumber(n uint64) error {
	if n == 0 {
		return fail.New(fail.Invalid, "segments are numbered from 1")
	}
	return nil
}

// CheckRange returns a Corrupt error unless [off, off+length) lies inside a
// segment of size bytes: whoever asks has a wrong address.
func CheckRange(n uint64, off, length, size int64) error {
	if off >= 0 && length >= 0 && off <= size && length <= size-off {
		return nil
	}
	return fail.New(fail.Corrupt, "segment %d has %d bytes; asked for %d at %d", n, size, length, off)
}

// CheckSegmentSize returns an Invalid error for a size, in bytes, that no
// segment can have.
func CheckSegmentSize(size int64) error {
	if size < MinSegmentSize || size > MaxSegmentSize || size%BlockSize != 0 {
		return fail.New(fail.Invalid, "a segment cannot have %s", bytesize.Exact(size)).
			WithHint("choose a multiple of %s from %s to %s", bytesize.Exact(BlockSize), bytesize.Exact(MinSegmentSize), bytesize.Exact(int64(MaxSegmentSize)))
	}
	return nil
}

// CheckSuperblock returns a TooBig error for a superblock over the limit.
func CheckSuperblock(b []byte) error { return checkLen("superblock", b, MaxSuperblock) }

// CheckHint returns a TooBig error for a hint over the limit.
func CheckHint(b []byte) error { return checkLen("hint", b, MaxHint) }

func checkLen(what string, b []byte, limit int) error {
	if len(b) > limit {
		return fail.New(fail.TooBig, "a %s has at most %d bytes, not %d", what, limit, len(b))
	}
	return nil
}
