package restore

import (
	"io"

	"varve/internal/dump"
)

// Attr is what an object gets besides its type and its data. All of it is set:
// extended attributes of the classes user, trusted and ACLs that are not in Xattrs
// go, if there are any.
type Attr struct {
	Mode         uint32 // permissions, 07777
	UID, GID     uint32
	Atime, Mtime dump.Time
	Flags        dump.Flags
	Xattrs       []dump.Xattr
}

// Stat is what a Target tells of an object.
type Stat struct {
	Mode         uint32 // type and permissions
	UID, GID     uint32
	Size         uint64
	Mtime        dump.Time
	Major, Minor uint32
	ID           [2]uint64 // the same for two names of one object
}

// Dir is an open directory of the tree that is made or compared. Names are single
// components that were checked; none is followed where it is a symbolic link.
// Errors are *fail.Error: NotFound, Exists, and Invalid where an object has the
// wrong type.
type Dir interface {
	// Open opens a directory in this one.
	Open(name string) (Dir, error)
	Stat(name string) (Stat, error)
	Mkdir(name string) error
	// Create makes a file that nobody else can read yet.
	Create(name string) (File, error)
	Symlink(target, name string) error
	Mknod(name string, mode, major, minor uint32) error
	// Link gives what is named from in another directory one more name here.
	Link(from Dir, fromName, name string) error
	// Rename replaces what there is, unless it is a directory.
	Rename(name string, to Dir, toName string) error
	// Remove removes what is no directory, Rmdir an empty directory: Exists if it
	// is not empty.
	Remove(name string) error
	Rmdir(name string) error
	// Dress gives an object its attributes, or with "" the directory itself. It
	// returns what could not be set, in words.
	Dress(name string, a *Attr) (lost []string, err error)
	// Read opens a file for reading.
	Read(name string) (io.ReadCloser, error)
	Readlink(name string) (string, error)
	Xattrs(name string) ([]dump.Xattr, error)
	// Sync makes the whole tree durable.
	Sync() error
	Close() error
}

// File is a file that is being made.
type File interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Dress(a *Attr) (lost []string, err error)
	// Sync makes what was written durable.
	Sync() error
	Close() error
}
