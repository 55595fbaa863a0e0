// Package plant grows trees of files for tests: everything that a file system of Linux
// can hold, in the sizes at which readers go wrong.
package plant

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Noise returns n bytes that no other seed gives.
func Noise(seed, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	p := make([]byte, 0, n+8)
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, r.Uint64())
	}
	return p[:n]
}

func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Tree grows a tree of everything that a file system of Linux can hold. Files have
// the sizes at which block maps change their shape.
func Tree(t testing.TB, dir string) {
	t.Helper()
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	for _, n := range []int{0, 1, 59, 60, 61, 100, 159, 160, 161, 400, 1023, 1024, 4095, 4096, 4097, 12288, 12289, 49152, 49153, 300000} {
		Must(t, os.WriteFile(at(fmt.Sprintf("size%d", n)), Noise(n, n), 0o640))
	}
	Must(t, os.Mkdir(at("deep"), 0o711))
	Must(t, os.MkdirAll(at("deep/er/est"), 0o755))
	for i := range 40 {
		Must(t, os.WriteFile(at("deep/er", fmt.Sprintf("%s%d", strings.Repeat("n", 3*i+1), i)), Noise(i, 10*i), 0o600))
	}
	Must(t, os.Mkdir(at("short"), 0o755)) // small enough to be inline
	Must(t, os.WriteFile(at("short/a"), []byte("a"), 0o444))
	Must(t, os.Mkdir(at("short/d"), 0o1777))
	Must(t, os.Link(at("size4097"), at("deep/hard")))
	for _, n := range []int{1, 58, 59, 60, 61, 150, 170, 500, 1020} {
		Must(t, os.Symlink(strings.Repeat("x", n), at(fmt.Sprintf("link%d", n))))
	}
	for name, dev := range map[string]struct {
		mode         uint32
		major, minor uint32
	}{
		"char": {unix.S_IFCHR, 1, 3}, "block": {unix.S_IFBLK, 259, 300}, "wide": {unix.S_IFCHR, 4095, 1<<20 - 1}, "minor": {unix.S_IFCHR, 1, 256},
	} {
		Must(t, unix.Mknod(at(name), dev.mode|0o600, int(unix.Mkdev(dev.major, dev.minor))))
	}
	Must(t, unix.Mkfifo(at("fifo"), 0o622))
	Must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o755, 0))
	Sparse(t, at("sparse"), 2<<20, 0, 4096*3, 1<<20)
	Sparse(t, at("tail"), 5<<20+17, 8192)     // a hole at the end
	Sparse(t, at("empty"), 3<<20+1)           // nothing but a hole
	Sparse(t, at("big"), 5<<30, 3<<30, 1<<31) // beyond what 32 bits count
	Must(t, os.WriteFile(at("owned"), []byte("x"), 0o4755))
	Must(t, os.Chown(at("owned"), 70000, 80001))
	Must(t, os.Chmod(at("owned"), 0o755|os.ModeSetuid|os.ModeSetgid))
	Must(t, os.WriteFile(at("old"), []byte("x"), 0o644))
	Must(t, os.Chtimes(at("old"), time.Unix(-315619200, 5), time.Unix(-315619200, 123456789)))
}

// Sparse makes a file of a size with a block of noise at each offset.
func Sparse(t testing.TB, path string, size int64, offsets ...int64) {
	t.Helper()
	f, err := os.Create(path)
	Must(t, err)
	defer f.Close()
	for i, o := range offsets {
		_, err := f.WriteAt(Noise(i+1, 4096), o)
		Must(t, err)
	}
	Must(t, f.Truncate(size))
}

// Xattrs gives files of a mounted tree xattrs of all kinds and sizes. big is the size of
// the largest.
func Xattrs(t testing.TB, dir string, big int) {
	t.Helper()
	set := func(name, attr string, value []byte) {
		t.Helper()
		if err := unix.Lsetxattr(filepath.Join(dir, name), attr, value, 0); err != nil {
			t.Fatalf("%s of %s: %v", attr, name, err)
		}
	}
	set("size1", "user.small", []byte("v"))
	set("size1", "user.empty", nil)
	set("size1", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	set("size4096", "user.big", bytes.Repeat([]byte("big!"), big/4))
	set("size4096", "trusted.t", Noise(3, 77))
	for i := range 6 {
		set("size4095", fmt.Sprintf("user.number%d", i), Noise(i, 40))
	}
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x08\x00\x06\x00\x71\x11\x01\x00\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x01\x00\xff\xff\xff\xff"
	set("size400", "system.posix_acl_access", []byte(acl))
	set("deep", "system.posix_acl_default", []byte(acl))
	set("deep", "system.posix_acl_access", []byte(acl))
	set("short", "user.dir", []byte("of a directory"))
	set("link59", "trusted.link", []byte("of a link"))
	set("fifo", "trusted.fifo", []byte("of a fifo"))
}

// Unmount unmounts a directory. A process that is just being started, by another
// test, holds open files for a moment.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Unmount(dir, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY || time.Now().After(end) {
			t.Fatalf("unmount %s: %v", dir, err)
		}
	}
}

// Run runs a program and fails the test with what it said if it fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
