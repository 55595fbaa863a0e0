//go:build linux

package fs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onKernel runs steps with the machine's own system calls, as another user
// where a step says so, below a directory.
type onKernel struct {
	t    *testing.T
	top  string
	root int // its file descriptor: paths need not be permitted above it
}

// kernelHere returns a directory of the machine for scripts, or nil where they
// cannot run: as another than root, or without extended attributes.
func kernelHere(t *testing.T) *onKernel {
	t.Helper()
	dir := t.TempDir()
	if os.Getuid() != 0 || unix.Setxattr(dir, "user.a", []byte("a"), 0) != nil {
		return nil
	}
	top := filepath.Join(dir, "top")
	if err := os.Mkdir(top, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o777); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &onKernel{t, top, fd}
}

// errno is the code of what a system call returned.
func (k *onKernel) errno(err error) Code {
	if err == nil {
		return CodeNone
	}
	var e syscall.Errno
	if !errors.As(err, &e) {
		k.t.Fatal(err)
	}
	c, ok := map[syscall.Errno]Code{
		unix.EPERM: CodePerm, unix.ENOENT: CodeNoEnt, unix.EACCES: CodeAccess, unix.EEXIST: CodeExist, unix.ENOTDIR: CodeNotDir,
		unix.EISDIR: CodeIsDir, unix.EINVAL: CodeInval, unix.ENOTEMPTY: CodeNotEmpty, unix.ENODATA: CodeNoData, unix.EMLINK: CodeMLink,
	}[e]
	if !ok {
		k.t.Fatalf("unexpected %v", e)
	}
	return c
}

// as runs fn with the file system identity of a caller, in this thread alone.
func (k *onKernel) as(c *Call, fn func() error) Code {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	groups := c.Cred.Groups
	setgroups := func(g []uint32) {
		var p unsafe.Pointer
		if len(g) > 0 {
			p = unsafe.Pointer(&g[0])
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(g)), uintptr(p), 0); e != 0 {
			k.t.Fatal(e)
		}
	}
	setgroups(groups)
	unix.SetfsgidRetGid(int(c.Cred.GID))
	unix.SetfsuidRetUid(int(c.Cred.UID))
	err := fn()
	unix.SetfsuidRetUid(0)
	unix.SetfsgidRetGid(0)
	setgroups(nil)
	return k.errno(err)
}

func (k *onKernel) run(s step) Code {
	return k.as(s.who, func() error {
		switch s.do {
		case "mkdir":
			return unix.Mkdirat(k.root, s.a, s.mode)
		case "create":
			return k.open(s.a, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, s.mode, nil)
		case "open":
			var st unix.Stat_t
			if err := unix.Fstatat(k.root, s.a, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
				return unix.EEXIST
			}
			return k.open(s.a, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, s.mode, nil)
		case "symlink":
			return unix.Symlinkat(nowhere, k.root, s.a)
		case "mkfifo":
			return unix.Mknodat(k.root, s.a, unix.S_IFIFO|s.mode, 0)
		case "link":
			return unix.Linkat(k.root, s.a, k.root, s.b, 0)
		case "remove":
			return unix.Unlinkat(k.root, s.a, 0)
		case "rmdir":
			return unix.Unlinkat(k.root, s.a, unix.AT_REMOVEDIR)
		case "rename":
			return unix.Renameat(k.root, s.a, k.root, s.b)
		case "chown":
			return unix.Fchownat(k.root, s.a, s.uid, s.gid, unix.AT_SYMLINK_NOFOLLOW)
		}
		return k.runObject(s)
	})
}

func (k *onKernel) open(path string, flags int, mode uint32, do func(fd int) error) error {
	fd, err := unix.Openat(k.root, path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if do != nil {
		return do(fd)
	}
	return nil
}

func (k *onKernel) runObject(s step) error {
	switch s.do {
	case "chmod":
		return unix.Fchmodat(k.root, s.a, s.mode, 0)
	case "utimes":
		ts := unix.NsecToTimespec(s.time)
		return unix.UtimesNanoAt(k.root, s.a, []unix.Timespec{ts, ts}, 0)
	case "touch":
		return unix.UtimesNanoAt(k.root, s.a, []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}, 0)
	case "list":
		return k.open(s.a, unix.O_RDONLY|unix.O_DIRECTORY, 0, nil)
	}
	path, err := k.path(s.a)
	if err != nil {
		return err
	}
	switch s.do {
	case "setxattr":
		return unix.Setxattr(path, s.name, s.content[:min(len(s.content), 100)], 0)
	case "rmxattr":
		return unix.Removexattr(path, s.name)
	case "truncate":
		return unix.Truncate(path, int64(s.off))
	}
	var st unix.Stat_t
	if err := unix.Fstatat(k.root, s.a, &st, 0); err != nil {
		return err
	}
	if t := st.Mode & unix.S_IFMT; t == unix.S_IFIFO || t == unix.S_IFDIR {
		return unix.EINVAL
	}
	if s.do == "read" {
		return k.open(s.a, unix.O_RDONLY, 0, nil)
	}
	return k.open(s.a, unix.O_WRONLY, 0, func(fd int) error {
		_, err := unix.Pwrite(fd, s.content, int64(s.off))
		return err
	})
}

// path returns a path for calls that take no directory: through /proc, so that
// nothing above the top is looked at.
func (k *onKernel) path(p string) (string, error) {
	return fmt.Sprintf("/proc/self/fd/%d/%s", k.root, p), nil
}

func (k *onKernel) dump() map[string]string {
	objects, firsts := map[string]object{}, map[string]string{}
	err := filepath.WalkDir(k.top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == k.top {
			return err
		}
		rel, err := filepath.Rel(k.top, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		o := object{mode: st.Mode, uid: st.Uid, gid: st.Gid, nlink: uint32(st.Nlink), first: fmt.Sprint(st.Ino)}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			o.size, o.sum = uint64(st.Size), sum(b)
		case unix.S_IFLNK:
			if o.sum, err = os.Readlink(path); err != nil {
				return err
			}
		}
		o.xattrs = k.xattrs(path)
		if firsts[o.first] == "" || rel < firsts[o.first] {
			firsts[o.first] = rel
		}
		objects[rel] = o
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return described(objects, func(key string) string { return firsts[key] })
}

func (k *onKernel) xattrs(path string) (out []string) {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, name := range strings.Split(string(buf[:n]), "\x00") {
		if strings.HasPrefix(name, "user.") {
			v := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, name, v)
			if err != nil {
				k.t.Fatal(err)
			}
			out = append(out, name+"="+sum(v[:n]))
		}
	}
	return out
}

// A random script, by users with and without rights, ends in varve as it does
// in the machine's own file system: each step, and the tree.
func TestLikeTheKernel(t *testing.T) {
	kernel := kernelHere(t)
	if kernel == nil {
		t.Log("only root of a machine with extended attributes can compare")
		return
	}
	syscall.Umask(0)
	defer syscall.Umask(0o022)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(4) {
		w := newWorld(t)
		varve := &onVarve{w, w.mkdir(w.root, fmt.Sprint("top", round), 0o777)}
		if err := os.RemoveAll(kernel.top); err != nil {
			t.Fatal(err)
		}
		kernel = kernelHere(t)
		x := &scripter{rng: rand.New(rand.NewPCG(seed, round)), who: []*Call{root, root, as(1001, 2001), as(1002, 1001), as(2001)}}
		x.modes = []uint32{0o777, 0o755, 0o700, 0o775, 0o770, 0o711, 0o755, 0o777, 0o1777, 0o2775, 0o2755, 0o6755, 0o4711, 0o640, 0o660, 0o600, 0, 0o111, 0o444, 0o555}
		if round == 0 {
			x.who = x.who[:2]
		}
		compareScripts(t, x, varve, kernel, 4000)
	}
}

func compareScripts(t *testing.T, x *scripter, varve, other system, steps int) {
	t.Helper()
	worked := 0
	for i := range steps {
		s := x.step()
		if s.do == "link" {
			s.who = root // distributions differ in whose files may be linked
		}
		got, want := varve.run(s), other.run(s)
		if got != want && !alike(s, got, want) {
			t.Fatalf("%v: %q, but there %q", s, got, want)
		}
		if got == CodeNone {
			worked++
		}
		if i%250 == 249 {
			same(t, s.String(), varve.dump(), other.dump())
		}
	}
	if worked < steps/25 {
		t.Errorf("only %d of %d steps did something", worked, steps)
	}
}

// alike reports whether systems may differ so.
func alike(s step, a, b Code) bool {
	// Onto a directory above it: not empty, the kernel finds first of all.
	return s.do == "rename" && strings.HasPrefix(s.a, s.b+"/") && a != CodeNone && b == CodeNotEmpty
}
