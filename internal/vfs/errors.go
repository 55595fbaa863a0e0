package vfs

import (
	"errors"
	"os"
	"syscall"

	"varve/internal/fail"
)

// wrap turns what the system said about a file into a *fail.Error. The errno
// stays in the chain; what package os says around it is dropped, since the
// message already names operation and file.
func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fail.Wrap(kindOf(err), err, "%s %s", op, name)
}

func kindOf(err error) fail.Kind {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fail.IO
	}
	switch errno {
	case syscall.ENOENT:
		return fail.NotFound
	case syscall.EEXIST, syscall.ENOTEMPTY:
		return fail.Exists
	case syscall.ENOSPC, syscall.EDQUOT:
		return fail.NoSpace
	case syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return fail.Denied
	case syscall.EINVAL, syscall.EBADF, syscall.EISDIR, syscall.ENOTDIR, syscall.ENAMETOOLONG, syscall.ELOOP:
		return fail.Invalid
	case syscall.EFBIG:
		return fail.TooBig
	case syscall.EOPNOTSUPP, syscall.ENOSYS:
		return fail.Unsupported
	case syscall.EBUSY, syscall.ETXTBSY:
		return fail.Busy
	}
	return fail.IO
}

// checkFlag refuses flags of Open that not every FS knows.
func checkFlag(name string, flag int) error {
	const known = os.O_RDWR | os.O_CREATE | os.O_EXCL | os.O_TRUNC
	if flag&^known != 0 {
		return fail.New(fail.Invalid, "open %s: unknown flags %#x", name, flag&^known)
	}
	if flag&os.O_RDWR == 0 && flag&os.O_TRUNC != 0 {
		return fail.New(fail.Invalid, "open %s: cannot truncate a file opened for reading", name)
	}
	return nil
}
