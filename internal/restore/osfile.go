package restore

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"varve/internal/dump"
)

// osFile is a file of this machine that is being made.
type osFile struct {
	fd   int
	path string
	root bool
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, osError(err, f.path)
		}
		done += n
	}
	return len(p), nil
}

func (f *osFile) Truncate(size int64) error { return osError(unix.Ftruncate(f.fd, size), f.path) }

func (f *osFile) Sync() error { return osError(unix.Fsync(f.fd), f.path) }

func (f *osFile) Close() error { return osError(unix.Close(f.fd), f.path) }

func (f *osFile) Dress(a *Attr) ([]string, error) {
	return f.dress(a, fdPath(f.fd), dump.ModeFile)
}

// dress sets everything in the order in which none takes another away: changing
// the owner clears set-id bits and capabilities, and flags forbid what follows.
func (f *osFile) dress(a *Attr, path string, kind uint32) (lost []string, err error) {
	if f.root {
		if err := unix.Fchownat(f.fd, "", int(a.UID), int(a.GID), unix.AT_EMPTY_PATH); err != nil {
			return nil, osError(err, f.path)
		}
	}
	lost = f.xattrs(a, path)
	if kind != dump.ModeLink {
		mode := a.Mode & permissions
		if mode&setID != 0 && !f.owned(a) {
			mode &^= setID // they would give the rights of somebody else
			lost = append(lost, "its set-user-ID and set-group-ID bits, since its owner or group could not be set")
		}
		if err := unix.Fchmodat(unix.AT_FDCWD, path, mode, 0); err != nil {
			return lost, osError(err, f.path)
		}
	}
	times := []unix.Timespec{{Sec: a.Atime.Sec, Nsec: int64(a.Atime.Nsec)}, {Sec: a.Mtime.Sec, Nsec: int64(a.Mtime.Nsec)}}
	if err := unix.UtimesNanoAt(f.fd, "", times, unix.AT_EMPTY_PATH); err != nil {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil {
			lost = append(lost, fmt.Sprintf("its times: %v", err))
		}
	}
	if kind == dump.ModeFile || kind == dump.ModeDir {
		if err := setFlags(f.fd, int(dump.ExtFlags.Write(a.Flags)), fsRestored); err != nil {
			lost = append(lost, fmt.Sprintf("its file flags: %v", err))
		}
	}
	return lost, nil
}

// setID are the bits of a mode that give rights of the owner and of the group.
const setID = 0o6000

// owned reports whether the object has the owner and the group that it should have.
func (f *osFile) owned(a *Attr) bool {
	var s unix.Stat_t
	return unix.Fstat(f.fd, &s) == nil && s.Uid == a.UID && s.Gid == a.GID
}

// xattrs makes extended attributes what they should be.
func (f *osFile) xattrs(a *Attr, path string) (lost []string) {
	have, err := listXattrs(path)
	if err != nil && err != unix.ENOTSUP {
		lost = append(lost, fmt.Sprintf("its extended attributes: %v", err))
	}
	for _, name := range have {
		if !removable(name) || named(a.Xattrs, name) {
			continue
		}
		if err := unix.Removexattr(path, name); err != nil && err != unix.ENODATA {
			lost = append(lost, fmt.Sprintf("that it has no extended attribute %q: %v", name, err))
		}
	}
	for _, x := range a.Xattrs {
		if err := unix.Setxattr(path, x.Name, x.Value, 0); err != nil {
			lost = append(lost, fmt.Sprintf("its extended attribute %q: %v", x.Name, err))
		}
	}
	return lost
}

func named(list []dump.Xattr, name string) bool {
	for _, x := range list {
		if x.Name == name {
			return true
		}
	}
	return false
}

// removable reports whether an attribute is there because somebody set it, rather than
// by a policy of the system.
func removable(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") ||
		strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

func listXattrs(path string) ([]string, error) {
	var small [1024]byte
	b := small[:]
	n, err := unix.Listxattr(path, b)
	if err == unix.ERANGE {
		b = make([]byte, 64<<10) // the most that there can be
		n, err = unix.Listxattr(path, b)
	}
	if err != nil || n == 0 {
		return nil, err
	}
	var list []string
	for name := range bytes.SplitSeq(bytes.TrimSuffix(b[:n], []byte{0}), []byte{0}) {
		list = append(list, string(name))
	}
	return list, nil
}

func getXattr(path, name string) ([]byte, error) {
	b := make([]byte, maxXattrValue)
	n, err := unix.Getxattr(path, name, b)
	if err != nil {
		return nil, &fs.PathError{Op: "getxattr", Path: name, Err: err}
	}
	return bytes.Clone(b[:n]), nil
}

// The flags of FS_IOC_GETFLAGS that forbid changes, and those that are restored.
var (
	fsFrozen   = int(dump.ExtFlags.Write(dump.Immutable | dump.Append))
	fsRestored = fsFrozen | int(dump.ExtFlags.Write(dump.Nodump))
)

// setFlags makes the flags in mask what want says. A file system without flags has
// none to take away.
func setFlags(fd, want, mask int) error {
	now, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		if want == 0 {
			return nil
		}
		return os.NewSyscallError("get flags", err)
	}
	if now&mask == want {
		return nil
	}
	return os.NewSyscallError("set flags", unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, now&^mask|want))
}
