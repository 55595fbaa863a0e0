package fs

import (
	"slices"
	"strings"

	"varve/internal/inode"
)

// What may be wanted of an object, as in the permission bits.
const (
	wantExec  = 1
	wantWrite = 2
	wantRead  = 4
)

// in reports whether the caller is in a group.
func (c *Cred) in(gid uint32) bool { return c.GID == gid || slices.Contains(c.Groups, gid) }

// may reports whether the permission bits of i let the caller do all that is
// wanted. Root may everything but execute what nobody may.
func (c *Cred) may(i *inode.Inode, want uint32) bool {
	switch {
	case c.UID == 0:
		return want&wantExec == 0 || i.IsDir() || i.Mode&modeAnyX != 0
	case c.UID == i.UID:
		return i.Mode>>6&want == want
	case c.in(i.GID):
		return i.Mode>>3&want == want
	}
	return i.Mode&want == want
}

// owns reports whether the caller may do what only the owner may.
func (c *Cred) owns(i *inode.Inode) bool { return c.UID == 0 || c.UID == i.UID }

// mayWrite reports whether the caller may change the bytes of a file. Its owner
// always may: NFS has no open files, so a server can not tell who opened it
// while the bits let him (RFC 1813 section 4.4).
func (c *Cred) mayWrite(i *inode.Inode) bool { return c.UID == i.UID || c.may(i, wantWrite) }

// mayReadFile reports whether the caller may read the bytes of a file: also
// who may only execute it, since a server can not tell that from reading.
func (c *Cred) mayReadFile(i *inode.Inode) bool {
	return c.UID == i.UID || c.may(i, wantRead) || c.may(i, wantExec)
}

// mayEnter judges whether the caller may look up names in i.
func (c *Call) mayEnter(i *inode.Inode) error {
	switch {
	case !i.IsDir():
		return ErrNotDir
	case !c.Cred.may(i, wantExec):
		return ErrAccess
	}
	return nil
}

// mayTake reports whether the caller, who may write to dir, may take a name
// away from victim: in a sticky directory only owners may.
func (c *Cred) mayTake(dir, victim *inode.Inode) bool {
	return dir.Mode&modeSticky == 0 || c.owns(victim) || c.owns(dir)
}

// SnapshotDir is the name of the hidden directory of the past in every
// directory of the present.
const SnapshotDir = ".snapshot"

// checkName judges a name as such.
func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return ErrInval
	case len(name) > inode.MaxName:
		return ErrNameTooLong
	}
	return nil
}

// checkNew judges a name for a new object.
func checkNew(name string) error {
	switch name {
	case ".", "..":
		return ErrExist
	case SnapshotDir:
		return errReserved
	}
	return checkName(name)
}

// checkOld judges a name that is to go.
func checkOld(name string) error {
	switch name {
	case ".":
		return ErrInval
	case "..":
		return ErrNotEmpty
	case SnapshotDir:
		return errReserved
	}
	return checkName(name)
}
