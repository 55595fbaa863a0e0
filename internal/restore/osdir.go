package restore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"varve/internal/dump"
	"varve/internal/fail"
)

// osDir is a directory of this machine. Everything is looked up relative to its
// descriptor, one component at a time, and never through a symbolic link.
type osDir struct {
	fd   int
	path string // for messages
	root bool   // we may give files away
}

// OpenDir opens a directory of this machine. With make it is made where it is not
// there; its parent must be. It makes the process give files the modes that it asks
// for: umask(2).
func OpenDir(path string, make bool) (Dir, error) {
	if make {
		if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, osError(err, "make the target")
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, osError(err, path)
	}
	unix.Umask(0) // modes are those of the archive
	return &osDir{fd, path, os.Geteuid() == 0}, nil
}

// osError gives an error of the system its kind.
func osError(err error, what string) error {
	if err == nil {
		return nil
	}
	kind := fail.IO
	var errno unix.Errno
	if errors.As(err, &errno) {
		switch errno {
		case unix.ENOENT:
			kind = fail.NotFound
		case unix.EEXIST, unix.ENOTEMPTY:
			kind = fail.Exists
		case unix.ENOTDIR, unix.EISDIR, unix.ELOOP, unix.EINVAL, unix.ENAMETOOLONG:
			kind = fail.Invalid
		case unix.EACCES, unix.EPERM:
			kind = fail.Denied
		case unix.ENOSPC, unix.EDQUOT:
			kind = fail.NoSpace
		case unix.EROFS:
			kind = fail.ReadOnly
		case unix.ENOTSUP, unix.ENOSYS, unix.ENOTTY:
			kind = fail.Unsupported
		case unix.EMLINK, unix.EFBIG, unix.E2BIG:
			kind = fail.TooBig
		case unix.EXDEV, unix.EBUSY:
			kind = fail.Busy
		}
	}
	return fail.Wrap(kind, err, "%s", what)
}

func (d *osDir) at(name string) string { return d.path + "/" + name }

func (d *osDir) Close() error { return osError(unix.Close(d.fd), d.path) }

func (d *osDir) Sync() error { return osError(unix.Syncfs(d.fd), d.path) }

func (d *osDir) Open(name string) (Dir, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, osError(err, d.at(name))
	}
	return &osDir{fd, d.at(name), d.root}, nil
}

func (d *osDir) Stat(name string) (Stat, error) {
	var s unix.Stat_t
	var err error
	if name == "" {
		err = unix.Fstat(d.fd, &s)
	} else {
		err = unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return Stat{}, osError(err, d.at(name))
	}
	return Stat{
		Mode: s.Mode, UID: s.Uid, GID: s.Gid, Size: uint64(s.Size),
		Mtime: dump.Time{Sec: s.Mtim.Sec, Nsec: uint32(s.Mtim.Nsec)},
		Major: unix.Major(s.Rdev), Minor: unix.Minor(s.Rdev), ID: [2]uint64{s.Dev, s.Ino},
	}, nil
}

func (d *osDir) Mkdir(name string) error {
	return osError(unix.Mkdirat(d.fd, name, 0o700), d.at(name))
}

func (d *osDir) Symlink(target, name string) error {
	return osError(unix.Symlinkat(target, d.fd, name), d.at(name))
}

func (d *osDir) Mknod(name string, mode, major, minor uint32) error {
	return osError(unix.Mknodat(d.fd, name, mode&dump.ModeType|0o600, int(unix.Mkdev(major, minor))), d.at(name))
}

func (d *osDir) Link(from Dir, fromName, name string) error {
	return osError(unix.Linkat(from.(*osDir).fd, fromName, d.fd, name, 0), d.at(name))
}

func (d *osDir) Rename(name string, to Dir, toName string) error {
	t := to.(*osDir)
	return d.insist(name, func() error {
		err := unix.Renameat(d.fd, name, t.fd, toName)
		if err == unix.EPERM {
			t.soften(toName)
		}
		return err
	})
}

func (d *osDir) Remove(name string) error {
	return d.insist(name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

func (d *osDir) Rmdir(name string) error {
	return d.insist(name, func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// insist does something to a name once more where file flags forbade it.
func (d *osDir) insist(name string, do func() error) error {
	err := do()
	if err == unix.EPERM && d.root {
		d.soften(name)
		err = do()
	}
	return osError(err, d.at(name))
}

// soften takes away the flags that forbid changes, from a directory and what is
// named in it. The directory gets its own back when it is dressed.
func (d *osDir) soften(name string) {
	setFlags(d.fd, 0, fsFrozen)
	var s unix.Stat_t // to open a device can do something
	if unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG && s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Fstat(fd, &s) == nil && (s.Mode&unix.S_IFMT == unix.S_IFREG || s.Mode&unix.S_IFMT == unix.S_IFDIR) {
		setFlags(fd, 0, fsFrozen)
	}
}

func (d *osDir) Readlink(name string) (string, error) {
	b := make([]byte, 4096)
	n, err := unix.Readlinkat(d.fd, name, b)
	return string(b[:max(n, 0)]), osError(err, d.at(name))
}

func (d *osDir) Read(name string) (io.ReadCloser, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, osError(err, d.at(name))
	}
	return osReader{os.NewFile(uintptr(fd), d.at(name))}, nil
}

// osReader is a file that is compared: a skipper.
type osReader struct{ *os.File }

func (r osReader) skipHole(off, to int64) (int64, error) {
	at, err := unix.Seek(int(r.Fd()), off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO: // no more data, up to the end of the file
		i, serr := r.Stat()
		if serr != nil {
			return off, osError(serr, r.Name())
		}
		at = max(off, i.Size())
	case err != nil: // it does not know
		return off, nil
	}
	at = min(at, to)
	_, err = r.Seek(at, io.SeekStart)
	return at, osError(err, r.Name())
}

func (d *osDir) Create(name string) (File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, osError(err, d.at(name))
	}
	return &osFile{fd, d.at(name), d.root}, nil
}

func (d *osDir) Dress(name string, a *Attr) ([]string, error) {
	if name == "" {
		return (&osFile{d.fd, d.path, d.root}).dress(a, fdPath(d.fd), dump.ModeDir)
	}
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, osError(err, d.at(name))
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return nil, osError(err, d.at(name))
	}
	kind := s.Mode & dump.ModeType
	if kind == dump.ModeFile || kind == dump.ModeDir { // file flags need it open
		real, err := unix.Open(fdPath(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, osError(err, d.at(name))
		}
		defer unix.Close(real)
		fd = real
	}
	return (&osFile{fd, d.at(name), d.root}).dress(a, fdPath(fd), kind)
}

// fdPath names an open object for calls that take no descriptor of it.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (d *osDir) Xattrs(name string) ([]dump.Xattr, error) {
	fd := d.fd
	if name != "" {
		var err error
		if fd, err = unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return nil, osError(err, d.at(name))
		}
		defer unix.Close(fd)
	}
	list, err := listXattrs(fdPath(fd))
	if err != nil {
		return nil, osError(err, d.at(name))
	}
	out := make([]dump.Xattr, 0, len(list))
	for _, x := range list {
		value, err := getXattr(fdPath(fd), x)
		if err != nil {
			return nil, osError(err, d.at(name))
		}
		out = append(out, dump.Xattr{Name: x, Value: value})
	}
	return out, nil
}
