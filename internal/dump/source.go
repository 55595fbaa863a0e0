package dump

import "context"

// A Source is a file system that an archive is made of: a share at a moment, or
// what a reader of a foreign file system found in an image. It does not change
// while it is used.
//
// All methods are safe for concurrent use: the writer scans inodes with one
// goroutine and reads files ahead with others. A method that waits for the disk
// gives up with ctx's error soon after ctx ends. Errors are *fail.Error: Corrupt
// names the damaged structure and where it is, Unsupported the feature.
type Source interface {
	// Info describes the file system. It is constant.
	Info() Info

	// Scan visits the allocated inodes in ascending order: all, or, if want is not
	// nil, those whose bit is set in want. Reserved inodes without a name in the
	// tree (journal, resize inode, ...) are left out, and so are inodes without a
	// link, but for the root. What fn gets is valid until fn returns: see
	// Inode.Clone. An error of fn ends the scan and is returned as it is.
	Scan(ctx context.Context, want *Map, fn func(*Inode) error) error

	// Entries visits the names of a directory in the order in which they lie, but
	// for "." and "..". An error of fn ends it and is returned as it is.
	Entries(ctx context.Context, dir *Inode, fn func(Entry) error) error

	// Parent returns the inode number of a directory's parent; the root's is itself.
	Parent(ctx context.Context, dir *Inode) (uint32, error)

	// Open opens the contents of a regular file. It is closed by forgetting it.
	Open(ctx context.Context, file *Inode) (File, error)

	// Target returns the target of a symbolic link: 1 to 4095 bytes.
	Target(ctx context.Context, link *Inode) (string, error)

	// Xattrs returns the extended attributes of an inode, ordered by name, or none.
	Xattrs(ctx context.Context, i *Inode) ([]Xattr, error)

	// Warnings returns what the user should know about what was read so far, a line
	// each: unclean file systems, what was left out. At most 1000, each of which is
	// there once.
	Warnings() []string
}

// Info describes a Source.
type Info struct {
	Kind      string // "share", "ext2", "ext3", "ext4", "ufs1", "ufs2"
	Label     string // of the file system, or ""
	MaxIno    uint32 // the largest inode number that there can be; below 1<<31
	BlockSize uint32 // bytes
	Inodes    uint64 // about how many inodes are allocated
	Used      uint64 // about how many bytes are allocated
}

// RootIno is the inode number of the root in every archive, and in every Source.
const RootIno = 2

// Time is a moment: seconds since 1970 and nanoseconds in [0, 1e9).
type Time struct {
	Sec  int64
	Nsec uint32
}

// An Inode is an object of a Source.
type Inode struct {
	Ino      uint32
	Mode     uint32 // type and permission bits as in stat(2): below 1<<16
	Nlink    uint32
	UID, GID uint32
	Flags    Flags

	// Size is in bytes: of a symbolic link that of its target; of a directory what
	// its own file system says, which no archive shows.
	Size uint64

	// Blocks is what is allocated to it, in units of 512 bytes: an estimate rests
	// on it, nothing else.
	Blocks uint64

	Atime, Mtime, Ctime Time
	Birth               Time // zero if the file system does not know

	Major, Minor uint32 // of a device; else 0

	// HasXattrs is false where Xattrs would certainly return none.
	HasXattrs bool

	// Raw is the Source's own form of the inode, so that Open need not look it up
	// again. Nobody else reads it.
	Raw []byte
}

// Clone returns an i that stays valid. It shares nothing with i.
func (i *Inode) Clone() *Inode {
	c := *i
	c.Raw = append([]byte(nil), i.Raw...)
	return &c
}

// The types of objects: the bits of Mode under ModeType, as in stat(2).
const (
	ModeType   = 0o170000
	ModeFIFO   = 0o010000
	ModeChar   = 0o020000
	ModeDir    = 0o040000
	ModeBlock  = 0o060000
	ModeFile   = 0o100000
	ModeLink   = 0o120000
	ModeSocket = 0o140000
)

// IsDir reports whether i is a directory.
func (i *Inode) IsDir() bool { return i.Mode&ModeType == ModeDir }

// IsDevice reports whether i has a device number.
func (i *Inode) IsDevice() bool {
	t := i.Mode & ModeType
	return t == ModeChar || t == ModeBlock
}

// Flags are the file flags that mean the same in all the file systems.
type Flags uint32

// The flags.
const (
	Nodump    Flags = 1 << iota // dump leaves it out, and what is below it
	Immutable                   // ext's i, UFS's schg and uchg
	Append                      // ext's a, UFS's sappnd and uappnd
	Snapshot                    // a snapshot file of UFS: dumped with size 0

	// TailHole is in headers alone: the last record of the file's data is a hole, though
	// it is written.
	TailHole
)

// Entry is a name in a directory.
type Entry struct {
	Ino  uint32
	Type uint8  // Mode>>12 of what has the name, or 0 where only its inode knows
	Name string // 1 to 255 bytes, neither "." nor "..", without "/" and NUL
}

// Xattr is an extended attribute. Its name is Linux's, with the prefix: user.*,
// trusted.*, security.*, system.posix_acl_access and system.posix_acl_default. The
// values of the last two are as getxattr(2) returns them. A UFS attribute of the
// namespace user is user.*, of the namespace system it is system.*.
type Xattr struct {
	Name  string
	Value []byte
}

// File is the contents of a regular file. Safe for concurrent use.
type File interface {
	// Next returns the first range [from, to) of data at or after off, cut at the
	// file's size; from = to = the size if there is none. What is between ranges is a hole
	// and reads as zeros. Unwritten extents are holes. from is a multiple of 512.
	// Neighbouring ranges may touch.
	Next(ctx context.Context, off uint64) (from, to uint64, err error)

	// Read fills p from byte off; holes, and what is beyond the size, read as zeros.
	Read(ctx context.Context, p []byte, off uint64) error
}
