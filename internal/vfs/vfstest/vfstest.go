// Package vfstest holds what every vfs.FS must pass.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/vfs"
)

// Run runs the suite. disk returns a file system and an empty directory in it.
func Run(t *testing.T, disk func(t *testing.T) (fsys vfs.FS, root string)) {
	tests := []struct {
		name string
		run  func(*testing.T, vfs.FS, string)
	}{
		{"Open", testOpen},
		{"Directories", testDirectories},
		{"Rename", testRename},
		{"ReadWrite", testReadWrite},
		{"Holes", testHoles},
		{"Truncate", testTruncate},
		{"Allocate", testAllocate},
		{"Removed", testRemoved},
		{"Closed", testClosed},
		{"Lock", testLock},
		{"Space", testSpace},
		{"Concurrent", testConcurrent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, root := disk(t)
			test.run(t, fsys, root)
		})
	}
}

const create = os.O_RDWR | os.O_CREATE

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fail.Kind) {
	t.Helper()
	if !fail.Is(err, k) {
		t.Fatalf("error %v of kind %v, want %v", err, fail.KindOf(err), k)
	}
}

func open(t *testing.T, fsys vfs.FS, name string, flag int) vfs.File {
	t.Helper()
	f, err := fsys.Open(name, flag, 0o600)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, f vfs.File, p []byte, off int64) {
	t.Helper()
	n, err := f.WriteAt(p, off)
	check(t, err)
	if n != len(p) {
		t.Fatalf("wrote %d of %d bytes without an error", n, len(p))
	}
}

// content reads a whole file and checks its size on the way.
func content(t *testing.T, f vfs.File) []byte {
	t.Helper()
	size, err := f.Size()
	check(t, err)
	p := make([]byte, size+1)
	n, err := f.ReadAt(p, 0)
	if err != io.EOF || int64(n) != size {
		t.Fatalf("reading past the end of %d bytes: %d, %v", size, n, err)
	}
	return p[:n]
}

func noise(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func testOpen(t *testing.T, fsys vfs.FS, root string) {
	name := path.Join(root, "f")
	_, err := fsys.Open(name, os.O_RDWR, 0)
	wantKind(t, err, fail.NotFound)
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no errno in %v", err)
	}
	_, err = fsys.Open(path.Join(root, "no/f"), create, 0o600)
	wantKind(t, err, fail.NotFound)
	f := open(t, fsys, name, create|os.O_EXCL)
	write(t, f, []byte("hello"), 0)
	_, err = fsys.Open(name, create|os.O_EXCL, 0o600)
	wantKind(t, err, fail.Exists)
	if got := content(t, open(t, fsys, name, create)); string(got) != "hello" {
		t.Errorf("opening an existing file left %q", got)
	}
	r := open(t, fsys, name, os.O_RDONLY)
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote to a file opened for reading")
	}
	if err := r.WriteDurableAt(make([]byte, 4096), 0); err == nil {
		t.Error("wrote durably to a file opened for reading")
	}
	if got := content(t, open(t, fsys, name, create|os.O_TRUNC)); len(got) != 0 {
		t.Errorf("truncating left %q", got)
	}
	_, err = fsys.Open(root, os.O_RDONLY, 0)
	wantKind(t, err, fail.Invalid)
	_, err = fsys.Open(name, os.O_RDWR|os.O_APPEND, 0)
	wantKind(t, err, fail.Invalid)
	_, err = fsys.Open(name, os.O_RDONLY|os.O_TRUNC, 0)
	wantKind(t, err, fail.Invalid)
	_, err = fsys.Open(path.Join(name, "below"), create, 0o600)
	wantKind(t, err, fail.Invalid)
}

func testDirectories(t *testing.T, fsys vfs.FS, root string) {
	check(t, fsys.MkdirAll(path.Join(root, "a/b/c"), 0o700))
	check(t, fsys.MkdirAll(path.Join(root, "a/b"), 0o700))
	for _, name := range []string{"z", "b1", "0"} {
		write(t, open(t, fsys, path.Join(root, "a", name), create), noise(1, 5000), 0)
	}
	list, err := fsys.ReadDir(path.Join(root, "a"))
	check(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
		if e.Dir != (e.Name == "b") || !e.Dir && e.Size != 5000 {
			t.Errorf("wrong entry %+v", e)
		}
	}
	if want := []string{"0", "b", "b1", "z"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	info, err := fsys.Stat(path.Join(root, "a/z"))
	check(t, err)
	if info.Name != "z" || info.Size != 5000 || info.Dir {
		t.Errorf("stat: %+v", info)
	}
	check(t, fsys.SyncDir(path.Join(root, "a")))
	wantKind(t, fsys.Remove(path.Join(root, "a")), fail.Exists) // not empty
	wantKind(t, fsys.MkdirAll(path.Join(root, "a/z/y"), 0o700), fail.Invalid)
	check(t, fsys.Remove(path.Join(root, "a/b/c")))
	check(t, fsys.Remove(path.Join(root, "a/z")))
	missing := path.Join(root, "a/z")
	wantKind(t, fsys.Remove(missing), fail.NotFound)
	wantKind(t, fsys.SyncDir(missing), fail.NotFound)
	_, err = fsys.Stat(missing)
	wantKind(t, err, fail.NotFound)
	_, err = fsys.ReadDir(missing)
	wantKind(t, err, fail.NotFound)
	_, err = fsys.ReadDir(path.Join(root, "a/0"))
	wantKind(t, err, fail.Invalid)
}

func testRename(t *testing.T, fsys vfs.FS, root string) {
	a, b := path.Join(root, "a"), path.Join(root, "b")
	wantKind(t, fsys.Rename(a, b), fail.NotFound)
	fa := open(t, fsys, a, create)
	write(t, fa, []byte("from a"), 0)
	fb := open(t, fsys, b, create)
	write(t, fb, []byte("from b"), 0)
	check(t, fsys.Rename(a, b))
	check(t, fsys.SyncDir(root))
	_, err := fsys.Stat(a)
	wantKind(t, err, fail.NotFound)
	if got := content(t, open(t, fsys, b, os.O_RDONLY)); string(got) != "from a" {
		t.Errorf("after the rename: %q", got)
	}
	if got := content(t, fb); string(got) != "from b" {
		t.Errorf("the open file that was replaced holds %q", got)
	}
	write(t, fa, []byte("FROM"), 0)
	check(t, fa.WriteDurableAt(noise(1, 4096), 4096)) // the file, not the name
	if got := content(t, open(t, fsys, b, os.O_RDONLY)); string(got[:6]) != "FROM a" || len(got) != 8192 {
		t.Errorf("writing through the old file: %d bytes, %q", len(got), got[:6])
	}
	check(t, fsys.MkdirAll(path.Join(root, "d/e"), 0o700))
	check(t, fsys.Rename(b, path.Join(root, "d/e/f")))
	check(t, fsys.SyncDir(path.Join(root, "d/e")))
	wantKind(t, fsys.Rename(path.Join(root, "d"), path.Join(root, "d/e/g")), fail.Invalid)
	check(t, fsys.Rename(path.Join(root, "d/e"), path.Join(root, "h")))
	if got := content(t, open(t, fsys, path.Join(root, "h/f"), os.O_RDONLY)); len(got) != 8192 {
		t.Errorf("after renaming its directory: %d bytes", len(got))
	}
}

// testReadWrite compares a file with a plain slice.
func testReadWrite(t *testing.T, fsys vfs.FS, root string) {
	f := open(t, fsys, path.Join(root, "f"), create)
	rng := rand.New(rand.NewPCG(1, 1))
	var model []byte
	for i := range 400 {
		off, n := rng.IntN(100_000), rng.IntN(20_000)
		if i%4 == 0 {
			off, n = off&^4095, n&^4095
		}
		if i == 100 {
			n = 1 << 20 // long enough for early writeback
		}
		p := noise(byte(i), n)
		if i%2 == 0 {
			write(t, f, p, int64(off))
		} else {
			check(t, f.WriteDurableAt(p, int64(off)))
		}
		if n > 0 {
			model = append(model, make([]byte, max(0, off+n-len(model)))...)
			copy(model[off:], p)
		}
		if i%20 == 0 {
			check(t, f.Sync())
		}
		if size, err := f.Size(); err != nil || size != int64(len(model)) {
			t.Fatalf("step %d: size %d, %v, want %d", i, size, err, len(model))
		}
		compareRead(t, f, model, rng.IntN(len(model)+1), rng.IntN(30_000))
	}
	if !bytes.Equal(content(t, f), model) {
		t.Fatal("the file differs")
	}
	if n, err := f.ReadAt(make([]byte, 1), -1); n != 0 || fail.KindOf(err) != fail.Invalid {
		t.Errorf("read at -1: %d, %v", n, err)
	}
	_, _, err := f.TryReadAt(make([]byte, 1), -1)
	wantKind(t, err, fail.Invalid)
	_, err = f.WriteAt(make([]byte, 1), -1)
	wantKind(t, err, fail.Invalid)
	wantKind(t, f.WriteDurableAt(make([]byte, 1), -1), fail.Invalid)
}

func compareRead(t *testing.T, f vfs.File, model []byte, off, n int) {
	t.Helper()
	want := model[off:min(len(model), off+n)]
	p := make([]byte, n)
	got, err := f.ReadAt(p, int64(off))
	if got != len(want) || (err == nil) != (got == n) || err != nil && err != io.EOF {
		t.Fatalf("read %d at %d of %d: %d, %v", n, off, len(model), got, err)
	}
	if !bytes.Equal(p[:got], want) {
		t.Fatalf("wrong bytes at %d", off)
	}
	clear(p)
	got, ok, err := f.TryReadAt(p, int64(off))
	check(t, err)
	if ok && (got != n || !bytes.Equal(p, want)) {
		t.Fatalf("wrong bytes at %d, read without waiting", off)
	}
}

func testHoles(t *testing.T, fsys vfs.FS, root string) {
	name := path.Join(root, "f")
	f := open(t, fsys, name, create)
	model := noise(1, 100_000)
	write(t, f, model, 0)
	check(t, f.Sync())
	before, err := fsys.Stat(name)
	check(t, err)
	for _, r := range [][2]int{{4096, 8192}, {30_000, 20_000}, {60_000, 10}, {90_112, 9888}, {50_000, 0}} {
		check(t, f.PunchHole(int64(r[0]), int64(r[1])))
		clear(model[r[0]:][:r[1]])
		if !bytes.Equal(content(t, f), model) {
			t.Fatalf("wrong content after punching %v", r)
		}
	}
	check(t, f.PunchHole(99_999, 1_000_000)) // past the end
	model[99_999] = 0
	if !bytes.Equal(content(t, f), model) {
		t.Fatal("punching past the end changed more")
	}
	after, err := fsys.Stat(name)
	check(t, err)
	if freed := before.Allocated - after.Allocated; freed < 6*4096 {
		t.Errorf("holes freed %d bytes of %d", freed, before.Allocated)
	}
	check(t, f.WriteDurableAt(noise(2, 4096), 4096))
	copy(model[4096:], noise(2, 4096))
	if !bytes.Equal(content(t, f), model) {
		t.Fatal("wrong content after writing into a hole")
	}
	check(t, f.Zero(4096, 90_112-4096)) // holes and data
	clear(model[4096:90_112])
	if !bytes.Equal(content(t, f), model) {
		t.Fatal("wrong content after zeroing")
	}
	zeroed, err := fsys.Stat(name)
	check(t, err)
	if zeroed.Allocated < before.Allocated-3*4096 {
		t.Errorf("a range that was zeroed has not all its space: %d bytes of %d", zeroed.Allocated, before.Allocated)
	}
}

func testTruncate(t *testing.T, fsys vfs.FS, root string) {
	f := open(t, fsys, path.Join(root, "f"), create)
	model := noise(1, 20_000)
	write(t, f, model, 0)
	for _, size := range []int{15_000, 40_000, 8192, 9000, 0, 5000} {
		check(t, f.Truncate(int64(size)))
		model = append(model[:min(size, len(model)):min(size, len(model))], make([]byte, max(0, size-len(model)))...)
		if !bytes.Equal(content(t, f), model) {
			t.Fatalf("wrong content after truncating to %d", size)
		}
	}
	wantKind(t, f.Truncate(-1), fail.Invalid)
}

func testAllocate(t *testing.T, fsys vfs.FS, root string) {
	name := path.Join(root, "f")
	f := open(t, fsys, name, create)
	write(t, f, []byte("kept"), 0)
	check(t, f.Allocate(0, 1<<20))
	check(t, f.Sync())
	info, err := fsys.Stat(name)
	check(t, err)
	if info.Size != 1<<20 || info.Allocated < 1<<20 {
		t.Errorf("after Allocate: %+v", info)
	}
	want := make([]byte, 1<<20)
	copy(want, "kept")
	if !bytes.Equal(content(t, f), want) {
		t.Error("Allocate changed the content")
	}
	check(t, f.Allocate(0, 4096)) // inside
	if size, err := f.Size(); err != nil || size != 1<<20 {
		t.Errorf("size %d, %v", size, err)
	}
	wantKind(t, f.Allocate(-4096, 4096), fail.Invalid)
}

func testRemoved(t *testing.T, fsys vfs.FS, root string) {
	name := path.Join(root, "f")
	f := open(t, fsys, name, create)
	write(t, f, []byte("old"), 0)
	check(t, fsys.Remove(name))
	g := open(t, fsys, name, create)
	check(t, g.WriteDurableAt([]byte("new!"), 0))
	check(t, f.WriteDurableAt(noise(1, 8192), 0))
	check(t, f.Sync())
	if got := content(t, open(t, fsys, name, os.O_RDONLY)); string(got) != "new!" {
		t.Errorf("the new file of the name holds %.20q", got)
	}
	if got := content(t, f); !bytes.Equal(got, noise(1, 8192)) {
		t.Error("the removed file lost its content while open")
	}
}

func testClosed(t *testing.T, fsys vfs.FS, root string) {
	f := open(t, fsys, path.Join(root, "f"), create)
	check(t, f.Close())
	if f.Close() == nil {
		t.Error("closed a file twice")
	}
}

func testLock(t *testing.T, fsys vfs.FS, root string) {
	name := path.Join(root, "lock")
	lock, err := fsys.Lock(name, true, "pid 4711 since 09:12")
	check(t, err)
	for _, exclusive := range []bool{true, false} {
		_, err = fsys.Lock(name, exclusive, "me")
		wantKind(t, err, fail.Busy)
		if want := name + " is locked by pid 4711 since 09:12"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	check(t, lock.Close())
	first, err := fsys.Lock(name, false, "reader")
	check(t, err)
	second, err := fsys.Lock(name, false, "reader")
	check(t, err)
	check(t, first.Close())
	_, err = fsys.Lock(name, true, "me")
	wantKind(t, err, fail.Busy)
	check(t, second.Close())
	lock, err = fsys.Lock(name, true, "pid 1")
	check(t, err)
	check(t, lock.Close())
	_, err = fsys.Lock(path.Join(root, "no/lock"), true, "")
	wantKind(t, err, fail.NotFound)
}

func testSpace(t *testing.T, fsys vfs.FS, root string) {
	free, total, err := fsys.Space(root)
	check(t, err)
	if free <= 0 || free > total {
		t.Errorf("%d bytes free of %d", free, total)
	}
	_, _, err = fsys.Space(path.Join(root, "missing"))
	wantKind(t, err, fail.NotFound)
}

func testConcurrent(t *testing.T, fsys vfs.FS, root string) {
	f := open(t, fsys, path.Join(root, "f"), create)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 40 {
				off := int64(w+4*i) * 4096
				p := noise(byte(w*40+i), 4096)
				var err error
				switch i % 3 {
				case 0:
					_, err = f.WriteAt(p, off)
				case 1:
					err = f.WriteDurableAt(p, off)
				case 2:
					if _, err = f.WriteAt(p, off); err == nil {
						err = f.Sync()
					}
				}
				got := make([]byte, 4096)
				if err == nil {
					_, err = f.ReadAt(got, off)
				}
				if err != nil || !bytes.Equal(got, p) {
					t.Errorf("worker %d, write %d: wrong bytes, %v", w, i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if size, err := f.Size(); err != nil || size != 160*4096 {
		t.Errorf("size %d, %v", size, err)
	}
}
