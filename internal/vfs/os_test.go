package vfs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/fail"
	"varve/internal/vfs"
)

// page returns aligned memory, as direct writes want it.
func page(t *testing.T, n int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	check(t, err)
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

func TestOSHotPathAllocatesNothing(t *testing.T) {
	f, err := vfs.OS().Open(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	defer f.Close()
	p := page(t, 8192)
	check(t, f.WriteDurableAt(p, 0)) // opens the second descriptor
	odd, long := p[1:4097], page(t, 128<<10)
	allocs := testing.AllocsPerRun(20, func() {
		_, err := f.WriteAt(p, 0)
		check(t, err)
		_, err = f.WriteAt(long, 0)
		check(t, err)
		f.Prefetch(0, 4096)
		check(t, f.WriteDurableAt(p, 0))
		check(t, f.WriteDurableAt(odd, 4095))
		check(t, f.Sync())
		_, err = f.ReadAt(p, 0)
		check(t, err)
		_, _, err = f.TryReadAt(p, 0)
		check(t, err)
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// Writes past the page cache and through it show the same file.
func TestOSWritesOfAllLengthsAgree(t *testing.T) {
	f, err := vfs.OS().Open(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	defer f.Close()
	long, got := page(t, 256<<10), make([]byte, 256<<10)
	model := make([]byte, len(got))
	for round := range byte(20) {
		for i, w := range []struct{ n, from, to int }{
			{256 << 10, 0, 0}, {4096, 8192, 8192}, {100 << 10, 1, 12345}, {64 << 10, 4096, 128 << 10}, {128 << 10, 0, 4097},
		} {
			for j := range long {
				long[j] = round + byte(i*j)
			}
			p := long[w.from:][:w.n]
			if n, err := f.WriteAt(p, int64(w.to)); n != w.n || err != nil {
				t.Fatalf("%d bytes to %d: %d, %v", w.n, w.to, n, err)
			}
			copy(model[w.to:], p)
			_, err := f.ReadAt(got, 0)
			check(t, err)
			if !bytes.Equal(got, model) {
				t.Fatalf("after %d bytes to %d the file is another", w.n, w.to)
			}
		}
		check(t, f.Sync())
	}
}

func TestOSReadsCachedPagesWithoutWaiting(t *testing.T) {
	f, err := vfs.OS().Open(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("cached"), 0)
	check(t, err)
	p := make([]byte, 6)
	if n, ok, err := f.TryReadAt(p, 0); err != nil || ok && (n != 6 || string(p) != "cached") {
		t.Errorf("%d, %v, %v: %q", n, ok, err, p)
	}
	if n, ok, err := f.TryReadAt(make([]byte, 7), 0); n != 0 || ok || err != nil {
		t.Errorf("a short read: %d, %v, %v", n, ok, err)
	}
}

// The kernel's own devices fail as disks do.
func TestOSErrors(t *testing.T) {
	full, err := vfs.OS().Open("/dev/full", os.O_RDWR, 0)
	check(t, err)
	defer full.Close()
	_, err = full.WriteAt([]byte("x"), 0)
	wantKind(t, err, fail.NoSpace)
	if want := "write /dev/full: no space left on device"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	memory, err := vfs.OS().Open("/proc/self/mem", os.O_RDONLY, 0)
	check(t, err)
	defer memory.Close()
	_, err = memory.ReadAt(make([]byte, 1), 0)
	wantKind(t, err, fail.IO)
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("no EIO in %v", err)
	}
}

// After a failure to make something durable, no sync may claim success.
func TestOSSyncFailureStays(t *testing.T) {
	full, err := vfs.OS().Open("/dev/full", os.O_RDWR, 0)
	check(t, err)
	defer full.Close()
	wantKind(t, full.WriteDurableAt([]byte("x"), 0), fail.NoSpace)
	for range 2 {
		wantKind(t, full.Sync(), fail.NoSpace)
	}
}

// TestOSLockEndsWithProcess runs itself as a process that takes a lock and is
// killed.
func TestOSLockEndsWithProcess(t *testing.T) {
	if name := os.Getenv("VARVE_TEST_LOCK"); name != "" {
		_, err := vfs.OS().Lock(name, true, "the child")
		fmt.Println("locked:", err)
		select {}
	}
	name := filepath.Join(t.TempDir(), "lock")
	child := exec.Command(os.Args[0], "-test.run=^TestOSLockEndsWithProcess$")
	child.Env = append(os.Environ(), "VARVE_TEST_LOCK="+name)
	out, err := child.StdoutPipe()
	check(t, err)
	check(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "locked: <nil>\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	_, err = vfs.OS().Lock(name, false, "")
	if !fail.Is(err, fail.Busy) || !strings.Contains(err.Error(), "the child") {
		t.Fatalf("beside the child: %v", err)
	}
	check(t, child.Process.Kill())
	_ = child.Wait() // killed
	lock, err := vfs.OS().Lock(name, false, "")
	check(t, err)
	defer lock.Close()
	_, err = vfs.OS().Lock(name, true, "")
	if !fail.Is(err, fail.Busy) || strings.Contains(err.Error(), "the child") {
		t.Errorf("the dead child is blamed for a reader's lock: %v", err)
	}
}
