package vfs

import (
	"io"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// directMin is the length, in bytes, from which a write that is aligned
	// goes straight to the disk. The page cache would want fresh memory for
	// it, copy it, and write it back when that suits nobody.
	directMin = 64 << 10

	// writebackMin is the length, in bytes, from which a write to the page
	// cache is sent on its way to the disk at once.
	writebackMin = 256 << 10
)

// States of osFile.direct that are not descriptors.
const (
	directUntried     = -1
	directUnavailable = -2
)

// osFile is a File of the machine: one buffered descriptor, and one opened
// with O_DIRECT when a write first has use for it.
type osFile struct {
	name   string
	fd     int
	direct atomic.Int64 // O_DIRECT descriptor, or a state

	noNowait  atomic.Bool // the file system cannot read without waiting
	noDsync   atomic.Bool // the kernel lacks RWF_DSYNC for this file
	closed    atomic.Bool
	syncError atomic.Pointer[error] // of the first failed sync
}

func (f *osFile) Close() error {
	if !f.closed.CompareAndSwap(false, true) {
		return wrap("close", f.name, unix.EBADF)
	}
	if fd := f.direct.Load(); fd >= 0 {
		unix.Close(int(fd))
	}
	return wrap("close", f.name, unix.Close(f.fd))
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, wrap("read", f.name, err)
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

func (f *osFile) TryReadAt(p []byte, off int64) (int, bool, error) {
	if off < 0 { // the kernel would take -1 for the descriptor's position
		return 0, false, wrap("read", f.name, unix.EINVAL)
	}
	if f.noNowait.Load() || len(p) == 0 {
		return 0, len(p) == 0, nil
	}
	n, err := unix.Preadv2(f.fd, [][]byte{p}, off, unix.RWF_NOWAIT)
	switch {
	case err == nil:
		if n < len(p) {
			return 0, false, nil
		}
		return n, true, nil
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, false, nil
	case err == unix.EOPNOTSUPP || err == unix.ENOSYS:
		f.noNowait.Store(true)
		return 0, false, nil
	}
	return 0, false, wrap("read", f.name, err)
}

func (f *osFile) Prefetch(off, n int64) {
	_ = unix.Fadvise(f.fd, off, n, unix.FADV_WILLNEED) // advice may be ignored
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	if len(p) >= directMin {
		n, ok, err := f.writeDirect(p, off, 0)
		if ok || err != nil {
			return n, wrap("write", f.name, err)
		}
		done = n
	}
	for done < len(p) {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return done, wrap("write", f.name, io.ErrShortWrite)
		case err != nil:
			return done, wrap("write", f.name, err)
		default:
			done += n
		}
	}
	if len(p) >= writebackMin {
		// Only a start of writeback: whether it succeeds is for Sync to say,
		// and a file system that has no such call loses nothing but speed.
		_ = unix.SyncFileRange(f.fd, off, int64(len(p)), unix.SYNC_FILE_RANGE_WRITE)
	}
	return done, nil
}

func (f *osFile) Sync() error {
	return f.believe("sync", again(func() error { return unix.Fdatasync(f.fd) }))
}

// believe returns the first failure to make something durable, now or ever
// before: the kernel reports a failed writeback once, marks the pages clean,
// and would call the next sync a success.
func (f *osFile) believe(op string, err error) error {
	if err != nil {
		failure := wrap(op, f.name, err)
		f.syncError.CompareAndSwap(nil, &failure)
	}
	if first := f.syncError.Load(); first != nil {
		return *first
	}
	return nil
}

func (f *osFile) WriteDurableAt(p []byte, off int64) error {
	if off < 0 { // the kernel would take -1 for the descriptor's position
		return wrap("write durably", f.name, unix.EINVAL)
	}
	if len(p) == 0 {
		return nil
	}
	done, ok, err := f.writeDirect(p, off, unix.RWF_DSYNC)
	if ok || err != nil {
		return f.believe("write durably", err)
	}
	return f.writeDurableBuffered(p[done:], off+int64(done))
}

// writeDirect writes p past the page cache. If that is not possible here, ok is
// false, and only the first done bytes are written.
func (f *osFile) writeDirect(p []byte, off int64, flags int) (done int, ok bool, err error) {
	if !aligned(p, off) {
		return 0, false, nil
	}
	fd := f.directFD()
	if fd < 0 {
		return 0, false, nil
	}
	done, err = writeAll(fd, p, off, flags)
	switch err {
	case nil:
		return done, true, nil
	case unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS: // this file system has other ideas of alignment
		return done, false, nil
	}
	return done, false, err
}

// writeDurableBuffered goes through the page cache, where any alignment does.
func (f *osFile) writeDurableBuffered(p []byte, off int64) error {
	if !f.noDsync.Load() {
		n, err := writeAll(f.fd, p, off, unix.RWF_DSYNC)
		if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
			return f.believe("write durably", err)
		}
		f.noDsync.Store(true)
		p, off = p[n:], off+int64(n)
	}
	if _, err := f.WriteAt(p, off); err != nil {
		return f.believe("write durably", err)
	}
	return f.Sync()
}

// writeAll writes all of p. With RWF_DSYNC it makes each part durable as it
// goes.
func writeAll(fd int, p []byte, off int64, flags int) (done int, err error) {
	for done < len(p) {
		n, err := unix.Pwritev2(fd, [][]byte{p[done:]}, off+int64(done), flags)
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return done, io.ErrShortWrite
		case err != nil:
			return done, err
		default:
			done += n
		}
	}
	return done, nil
}

// aligned reports whether a direct write may go from p to off.
func aligned(p []byte, off int64) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return (uint64(at)|uint64(off)|uint64(len(p)))%BlockSize == 0
}

// directFD returns the O_DIRECT descriptor, opened on first use, or a negative
// number. It is opened by way of the other descriptor, since the file may have
// been renamed.
func (f *osFile) directFD() int {
	fd := f.direct.Load()
	if fd != directUntried {
		return int(fd)
	}
	opened, err := openFD("/proc/self/fd/"+strconv.Itoa(f.fd), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		opened = directUnavailable
	}
	if !f.direct.CompareAndSwap(directUntried, int64(opened)) && opened >= 0 {
		unix.Close(opened) // another goroutine was first
	}
	return int(f.direct.Load())
}

func (f *osFile) Allocate(off, n int64) error {
	return wrap("allocate", f.name, f.fallocate(0, off, n))
}

func (f *osFile) PunchHole(off, n int64) error {
	return wrap("punch a hole in", f.name, f.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n))
}

func (f *osFile) Zero(off, n int64) error {
	err := f.fallocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if err != unix.EOPNOTSUPP {
		return wrap("zero", f.name, err)
	}
	if err := f.PunchHole(off, n); err != nil {
		return err
	}
	return f.Allocate(off, n)
}

func (f *osFile) fallocate(mode uint32, off, n int64) error {
	if n == 0 {
		return nil
	}
	return again(func() error { return unix.Fallocate(f.fd, mode, off, n) })
}

func (f *osFile) Truncate(size int64) error {
	return wrap("truncate", f.name, again(func() error { return unix.Ftruncate(f.fd, size) }))
}

// Size asks for the end of the file, which block devices know too. Nothing
// else uses the descriptor's position.
func (f *osFile) Size() (int64, error) {
	size, err := unix.Seek(f.fd, 0, io.SeekEnd)
	return size, wrap("size of", f.name, err)
}
