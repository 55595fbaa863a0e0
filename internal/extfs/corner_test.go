package extfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/dump"
	"varve/internal/fail"
	"varve/test/plant"
)

// TestExtents: trees of extents two levels deep, unwritten extents over deleted data,
// holes punched into the middle, space beyond the end.
func TestExtents(t *testing.T) {
	x := image(t, t.TempDir(), "24M", "-t", "ext4", "-b", "1024")
	dir := mount(t, x, "rw")
	at := func(name string) string { return filepath.Join(dir, name) }
	old, err := os.Create(at("old"))
	plant.Must(t, err)
	for i := range 12 { // secrets all over
		_, err = old.Write(plant.Noise(i, 1<<20))
		plant.Must(t, err)
	}
	plant.Must(t, old.Sync())
	plant.Must(t, old.Close())
	plant.Must(t, os.Remove(old.Name()))
	plant.Run(t, "sync", "-f", dir)
	open := func(name string) int {
		f, err := os.Create(at(name))
		plant.Must(t, err)
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	write := func(fd int, off int64, n int) {
		t.Helper()
		_, err := unix.Pwrite(fd, plant.Noise(int(off)+1, n), off)
		plant.Must(t, err)
	}
	fds := []int{open("unwritten"), open("punched"), open("pieces"), open("beyond")}
	plant.Must(t, unix.Fallocate(fds[0], 0, 0, 3<<20))
	write(fds[0], 1<<20, 5000)
	write(fds[1], 0, 1<<20)
	plant.Must(t, unix.Fallocate(fds[1], unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100<<10, 300<<10))
	plant.Must(t, unix.Fallocate(fds[1], unix.FALLOC_FL_ZERO_RANGE, 500<<10, 100<<10))
	for i := range int64(1500) { // more runs than a window of the map has
		write(fds[2], i*2048, 1024)
	}
	write(fds[3], 0, 3000)
	plant.Must(t, unix.Fallocate(fds[3], unix.FALLOC_FL_KEEP_SIZE, 0, 2<<20))
	for _, fd := range fds {
		plant.Must(t, unix.Close(fd))
	}
	plant.Run(t, "chattr", "+d", at("beyond"))
	plant.Unmount(t, dir)
	f := judge(t, x)
	if i := names(t, f)["beyond"]; i.Flags != dump.Nodump {
		t.Errorf("flags %v", i.Flags)
	}
	pieces := names(t, f)["pieces"]
	if depth := binary.LittleEndian.Uint16(rawInode(pieces.Raw).blockMap()[6:]); depth < 2 {
		t.Errorf("the tree of extents is %d deep", depth)
	}
}

// TestScanWanted: a scan of some inodes visits those, in order, and allocates nothing for
// each.
func TestScanWanted(t *testing.T) {
	tree := t.TempDir()
	plant.Tree(t, tree)
	for i := range 900 {
		plant.Must(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), nil, 0o600))
	}
	f := opened(t, image(t, tree, "32M", "-t", "ext4", "-b", "1024", "-g", "8192", "-N", "4096"))
	ctx := context.Background()
	want := dump.NewMap(f.Info().MaxIno)
	var all, some, wanted []uint32
	plant.Must(t, f.Scan(ctx, nil, func(i *dump.Inode) error {
		all = append(all, i.Ino)
		if i.Ino%7 == 0 || i.Ino > 3000 {
			want.Set(i.Ino)
			wanted = append(wanted, i.Ino)
		}
		return nil
	}))
	want.Set(f.Info().MaxIno) // not in use
	plant.Must(t, f.Scan(ctx, want, func(i *dump.Inode) error { some = append(some, i.Ino); return nil }))
	if len(all) < 900 || fmt.Sprint(some) != fmt.Sprint(wanted) {
		t.Errorf("%d inodes, of which %v, wanted %v", len(all), some, wanted)
	}
	if n := testing.AllocsPerRun(3, func() { plant.Must(t, f.Scan(ctx, nil, func(*dump.Inode) error { return nil })) }); n > 20 {
		t.Errorf("%v allocations for %d inodes", n, len(all))
	}
	stop := errors.New("stop")
	if err := f.Scan(ctx, nil, func(*dump.Inode) error { return stop }); err != stop {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Scan(gone, nil, func(*dump.Inode) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestRefused: features that cannot be read are named, images that are none or cut off
// too.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		what, says string
		kind       fail.Kind
		change     func(b []byte) []byte
	}{
		{"encrypt", "encrypt", fail.Unsupported, incompat(0x10000)},
		{"casefold", "casefold", fail.Unsupported, incompat(0x20000)},
		{"compression", "compression", fail.Unsupported, incompat(0x1)},
		{"two unknown ones", "0x600000", fail.Unsupported, incompat(0x600000)},
		{"verity", "verity", fail.Unsupported, func(b []byte) []byte { b[1024+101] |= 0x80; return b }},
		{"no file system", "no ext2", fail.NotFound, func(b []byte) []byte { b[1024+56] = 0; return b }},
		{"an empty image", "too few", fail.NotFound, func([]byte) []byte { return nil }},
		{"a cut off image", "copy it again", fail.Corrupt, func(b []byte) []byte { return b[:len(b)/2] }},
		{"an external journal", "another device", fail.Unsupported, func(b []byte) []byte { b[1024+92] |= 4; b[1024+96] |= 4; return b }},
	} {
		t.Run(c.what, func(t *testing.T) {
			base, err := os.ReadFile(image(t, t.TempDir(), "2M", "-t", "ext2", "-b", "1024"))
			plant.Must(t, err)
			b := c.change(base)
			if _, err := Open(context.Background(), &plant.Image{Base: b}, int64(len(b))); fail.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Error(err)
			}
		})
	}
}

func incompat(bits uint32) func([]byte) []byte {
	return func(b []byte) []byte {
		at := b[1024+96:]
		binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)|bits)
		return b
	}
}

// TestUncleanWithoutJournal: a file system without a journal that was not unmounted is
// read with a warning.
func TestUncleanWithoutJournal(t *testing.T) {
	base, err := os.ReadFile(image(t, t.TempDir(), "2M", "-t", "ext2", "-b", "1024"))
	plant.Must(t, err)
	base[1024+58] &^= 1
	f, err := Open(context.Background(), &plant.Image{Base: base}, int64(len(base)))
	plant.Must(t, err)
	if w := fmt.Sprint(f.Warnings()); !strings.Contains(w, "not unmounted") {
		t.Error(w)
	}
}

// TestLargeBlocks: the same tree in blocks of 64 KiB, which hardly any kernel mounts, has
// the same contents as in blocks of 4 KiB, in files and in a large directory.
func TestLargeBlocks(t *testing.T) {
	tree := t.TempDir()
	plant.Tree(t, tree)
	for _, name := range []string{"big", "sparse", "tail", "empty"} { // whose holes depend on the blocks
		plant.Must(t, os.Remove(filepath.Join(tree, name)))
	}
	for i := range 2000 {
		plant.Must(t, os.WriteFile(filepath.Join(tree, "deep", strings.Repeat("n", 40)+fmt.Sprint(i)), nil, 0o600))
	}
	var walked [2]plant.Walked
	var found [2][]string
	for k, block := range []string{"4096", "65536"} {
		f := opened(t, image(t, tree, "64M", "-t", "ext4", "-b", block, "-m", "0", "-N", "4096", "-O", "^has_journal"))
		var err error
		walked[k], err = plant.Walk(f, 1<<20)
		plant.Must(t, err)
		for name, i := range names(t, f) {
			found[k] = append(found[k], fmt.Sprintf("%s %o", name, i.Mode))
		}
		slices.Sort(found[k])
	}
	if walked[0].Contents != walked[1].Contents || len(found[0]) < 2000 || !slices.Equal(found[0], found[1]) {
		t.Errorf("%d and %d names, contents %x and %x", len(found[0]), len(found[1]), walked[0].Contents, walked[1].Contents)
	}
}
