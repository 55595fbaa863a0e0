// Package vfs is the only way from varve to a disk. OS is the real one, Mem a
// disk in memory that can lose power, Faulty injects errors into either.
//
// Errors are *fail.Error: NotFound, Exists, NoSpace (ENOSPC, EDQUOT), Denied
// (EROFS, EACCES, EPERM), Invalid (misuse) and IO (EIO and the rest). The
// message names operation and file; the errno stays in the chain.
package vfs

import (
	"io"
	"io/fs"
)

// BlockSize is the alignment, in bytes, that WriteDurableAt wants of offset,
// length and memory to take its fast way.
const BlockSize = 4096

// FS is a file system. All methods are safe for concurrent use.
type FS interface {
	// Open opens a regular file. flag is os.O_RDONLY or os.O_RDWR, with any
	// of os.O_CREATE, os.O_EXCL, os.O_TRUNC. A created file survives a power
	// failure once SyncDir of its directory has returned.
	Open(name string, flag int, perm fs.FileMode) (File, error)

	// Rename replaces newname by oldname atomically; durable after SyncDir of
	// the directories of both.
	Rename(oldname, newname string) error

	// Remove removes a file or an empty directory; durable after SyncDir.
	Remove(name string) error

	// MkdirAll makes a directory and its missing parents; it is no error if
	// it exists.
	MkdirAll(name string, perm fs.FileMode) error

	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]Info, error)

	// Stat describes a file or directory.
	Stat(name string) (Info, error)

	// SyncDir makes creates, renames and removes inside a directory durable.
	SyncDir(name string) error

	// Lock takes an advisory lock on a file, which is made if it is missing,
	// without waiting. Who holds it exclusively leaves note (for example
	// "pid 4711 since 09:12") in the file; if the lock is held, the error is
	// Busy and its message includes the holder's note. The lock ends at Close
	// or with the process.
	Lock(name string, exclusive bool, note string) (io.Closer, error)

	// Space returns, in bytes, what an unprivileged process may still
	// allocate in the file system that holds name, and the size of the file
	// system as such a process sees it.
	Space(name string) (free, total int64, err error)
}

// Info describes a file or directory.
type Info struct {
	Name      string // the last element of its path
	Size      int64  // bytes
	Allocated int64  // bytes that it occupies on the disk
	Dir       bool
}

// File is an open file. All methods are safe for concurrent use, except that
// nothing may be called after Close. What is written survives a power failure
// only when Sync, or WriteDurableAt for its own range, has returned nil. After
// a failed Sync nothing is known about the unsynced writes, and no later Sync
// tells.
type File interface {
	io.Closer

	// ReadAt reads like io.ReaderAt, through the page cache.
	ReadAt(p []byte, off int64) (int, error)

	// TryReadAt reads only what needs no waiting for the disk. With ok false
	// nothing was read: the bytes are not all at hand, or cannot be had this
	// way; ReadAt knows more.
	TryReadAt(p []byte, off int64) (n int, ok bool, err error)

	// Prefetch says that a range will be read soon. The disk may begin with
	// it; nobody waits.
	Prefetch(off, n int64)

	// WriteAt writes all of p or fails. Nothing is durable yet, but large
	// writes start on their way to the disk, so that a later Sync finds
	// little to do. When the memory of p, off and len(p) are multiples of
	// BlockSize they go past the page cache.
	WriteAt(p []byte, off int64) (int, error)

	// WriteDurableAt writes p and makes that range durable, and the size of
	// the file as far as the range needs it. It says nothing about other
	// unsynced writes. It is fastest when the memory of p, off and len(p) are
	// multiples of BlockSize.
	WriteDurableAt(p []byte, off int64) error

	// Sync makes all writes of this file so far, and its size, durable.
	Sync() error

	// Allocate reserves the blocks of a range, which then reads as before,
	// or as zeros where nothing was written, and extends the file to its end.
	// A lack of space shows here as NoSpace.
	Allocate(off, n int64) error

	// PunchHole frees the whole blocks within a range; the range reads as
	// zeros. The size stays.
	PunchHole(off, n int64) error

	// Zero makes a range, which must lie within the file, read as zeros and have
	// all its space, as after PunchHole and Allocate. What the range occupied
	// stays its own meanwhile, where the file system knows how.
	Zero(off, n int64) error

	// Truncate sets the size in bytes.
	Truncate(size int64) error

	// Size returns the size in bytes.
	Size() (int64, error)
}
