package vfs

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS returns the file system of the machine. It makes plain blocking system
// calls on raw descriptors: for regular files the poller of package os is of
// no use.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string, flag int, perm fs.FileMode) (File, error) {
	if err := checkFlag(name, flag); err != nil {
		return nil, err
	}
	fd, err := openFD(name, flag|unix.O_CLOEXEC, uint32(perm.Perm()))
	if err != nil {
		return nil, wrap("open", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, wrap("open", name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		unix.Close(fd)
		return nil, wrap("open", name, unix.EISDIR)
	}
	f := &osFile{name: name, fd: fd}
	f.direct.Store(directUntried)
	if flag&os.O_RDWR == 0 {
		f.direct.Store(directUnavailable) // that descriptor would be for writing
	}
	return f, nil
}

func (osFS) Rename(oldname, newname string) error {
	return wrap("rename", oldname, again(func() error { return unix.Rename(oldname, newname) }))
}

func (osFS) Remove(name string) error {
	return wrap("remove", name, os.Remove(name))
}

func (osFS) MkdirAll(name string, perm fs.FileMode) error {
	return wrap("mkdir", name, os.MkdirAll(name, perm))
}

func (osFS) ReadDir(name string) ([]Info, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, wrap("list", name, err)
	}
	list := make([]Info, 0, len(entries))
	for _, e := range entries {
		fi, err := e.Info()
		if os.IsNotExist(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, wrap("list", name, err)
		}
		list = append(list, infoOf(fi))
	}
	return list, nil
}

func (osFS) Stat(name string) (Info, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return Info{}, wrap("stat", name, err)
	}
	return infoOf(fi), nil
}

func infoOf(fi fs.FileInfo) Info {
	info := Info{Name: fi.Name(), Size: fi.Size(), Dir: fi.IsDir()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		info.Allocated = st.Blocks * 512
	}
	return info
}

func (osFS) SyncDir(name string) error {
	fd, err := openFD(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("sync directory", name, err)
	}
	defer unix.Close(fd)
	return wrap("sync directory", name, again(func() error { return unix.Fsync(fd) }))
}

func (osFS) Space(name string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, 0, wrap("statfs", name, err)
	}
	block := uint64(st.Frsize)
	if block == 0 {
		block = uint64(st.Bsize)
	}
	free = int64(st.Bavail * block)
	used := int64((st.Blocks - st.Bfree) * block)
	return free, used + free, nil
}

func openFD(name string, flag int, perm uint32) (fd int, err error) {
	err = again(func() (err error) {
		fd, err = unix.Open(name, flag, perm)
		return err
	})
	return fd, err
}

// again repeats a system call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
