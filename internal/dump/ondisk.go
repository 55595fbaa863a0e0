package dump

import "time"

// FlagBits are file flags as the inodes of a family of file systems have them.
type FlagBits []struct {
	Flag Flags
	Bits uint32 // any of them, when read; all, when written
}

// The file flags of ext2, ext3 and ext4, which are those of FS_IOC_GETFLAGS too, and of
// UFS: where that has two, the owner's and the system's.
var (
	ExtFlags = FlagBits{{Immutable, 0x10}, {Append, 0x20}, {Nodump, 0x40}}
	UFSFlags = FlagBits{{Nodump, 0x1}, {Immutable, 0x2 | 0x20000}, {Append, 0x4 | 0x40000}, {Snapshot, 0x200000}}
)

// Read returns the flags that an inode has.
func (b FlagBits) Read(inode uint32) (f Flags) {
	for _, x := range b {
		if inode&x.Bits != 0 {
			f |= x.Flag
		}
	}
	return f
}

// Write returns what an inode has for flags; those it cannot have are left out.
func (b FlagBits) Write(f Flags) (inode uint32) {
	for _, x := range b {
		if f&x.Flag != 0 {
			inode |= x.Bits
		}
	}
	return inode
}

// extPrefixes are the beginnings of names of extended attributes by the number that an
// entry of ext2, ext3 and ext4 has of them. The names of ACLs are whole.
var extPrefixes = [...]string{
	1: "user.", ExtACL: "system.posix_acl_access", ExtDefaultACL: "system.posix_acl_default",
	4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// Numbers of ACLs: see ExtPrefix.
const (
	ExtACL        = 2
	ExtDefaultACL = 3
)

// ExtPrefix returns the beginning of a name by its number; "" if there is none.
func ExtPrefix(index uint8) string {
	if int(index) < len(extPrefixes) {
		return extPrefixes[index]
	}
	return ""
}

// TimeOf splits nanoseconds since 1970.
func TimeOf(ns int64) Time {
	t := time.Unix(0, ns)
	return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}
