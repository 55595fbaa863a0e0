package vfs

import (
	"bytes"
	"io"

	"golang.org/x/sys/unix"

	"varve/internal/fail"
)

// maxNote is the most, in bytes, that is kept of the note in a lock file.
const maxNote = 256

// osLock is a lock taken with flock(2): it belongs to the open file, so that
// two locks of one process exclude each other too, and ends with the process.
type osLock struct {
	file      *osFile
	exclusive bool
}

func (fsys osFS) Lock(name string, exclusive bool, note string) (io.Closer, error) {
	const rw = unix.O_RDWR | unix.O_CREAT
	file, err := fsys.Open(name, rw, 0o600)
	if fail.Is(err, fail.Denied) && !exclusive {
		file, err = fsys.Open(name, unix.O_RDONLY, 0) // on a read-only file system
	}
	if err != nil {
		return nil, err
	}
	f := file.(*osFile)
	how := unix.LOCK_SH | unix.LOCK_NB
	if exclusive {
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	err = again(func() error { return unix.Flock(f.fd, how) })
	if err == unix.EWOULDBLOCK {
		defer f.Close()
		return nil, busy(f, name)
	}
	if err == nil && exclusive {
		err = writeNote(f, note)
	} else if err == nil {
		// Whoever left a note here has died: it must not be blamed for what
		// readers hold. On a read-only file system it stays.
		_ = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, wrap("lock", name, err)
	}
	return &osLock{f, exclusive}, nil
}

// Close gives the lock up. The note goes first: while the lock is held no
// other process can have written its own.
func (l *osLock) Close() error {
	var err error
	if l.exclusive {
		err = l.file.Truncate(0)
	}
	if e := l.file.Close(); err == nil {
		err = e
	}
	return err
}

// writeNote leaves the note of who has the lock. On a full disk there is none: the
// lock holds without it, and who opens a pool there may do so to free space.
func writeNote(f File, note string) error {
	if len(note) > maxNote {
		note = note[:maxNote]
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(note), 0)
	if fail.Is(err, fail.NoSpace) {
		return nil
	}
	return err
}

// busy says who holds a lock, as far as the note in the file tells.
func busy(f File, name string) error {
	note := make([]byte, maxNote)
	n, _ := f.ReadAt(note, 0) // without a note there is still an answer
	note = bytes.TrimSpace(note[:n])
	if len(note) == 0 {
		return fail.New(fail.Busy, "%s is locked by another process", name)
	}
	return fail.New(fail.Busy, "%s is locked by %s", name, note)
}
