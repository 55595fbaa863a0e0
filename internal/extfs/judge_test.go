package extfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/dump"
	"varve/test/plant"
)

// mount mounts an image and returns where; the test's end unmounts it.
func mount(t testing.TB, image, options string) string {
	t.Helper()
	dir := t.TempDir()
	plant.Run(t, "mount", "-o", "loop,"+options, image, dir)
	t.Cleanup(func() {
		if err := exec.Command("mountpoint", "-q", dir).Run(); err == nil {
			plant.Unmount(t, dir)
		}
	})
	return dir
}

// opened opens an image file with the reader under test.
func opened(t testing.TB, image string) *FS {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(context.Background(), file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// judge compares all that the reader finds in an image with what the kernel shows of
// it: every name, inode, byte, hole, xattr.
func judge(t *testing.T, image string) *FS {
	t.Helper()
	f := opened(t, image)
	// a dirty journal would be replayed into the image: the kernel gets a copy
	twin := filepath.Join(t.TempDir(), "twin.img")
	plant.Run(t, "cp", "--sparse=always", image, twin)
	if f.super.incompat&incompatRecover != 0 || len(f.disk.replayed) > 0 {
		plant.Unmount(t, mount(t, twin, "noatime"))
	}
	compare(t, f, mount(t, twin, "ro"))
	return f
}

func compare(t *testing.T, f *FS, dir string) {
	t.Helper()
	ctx := context.Background()
	inodes := map[uint32]*dump.Inode{}
	last := uint32(0)
	err := f.Scan(ctx, nil, func(i *dump.Inode) error {
		if i.Ino <= last {
			t.Errorf("inode %d after %d", i.Ino, last)
		}
		last, inodes[i.Ino] = i.Ino, i.Clone()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	var visit func(path string, i *dump.Inode, parent uint32)
	visit = func(path string, i *dump.Inode, parent uint32) {
		same := compareInode(t, f, path, i)
		seen[i.Ino] = true
		if !same || !i.IsDir() {
			return
		}
		if got, err := f.Parent(ctx, i); err != nil || got != parent {
			t.Errorf("%s: parent %d, %v, want %d", path, got, err, parent)
		}
		var names []string
		err := f.Entries(ctx, i, func(e dump.Entry) error {
			names = append(names, e.Name)
			child := inodes[e.Ino]
			if child == nil {
				t.Errorf("%s/%s: inode %d is not in the scan", path, e.Name, e.Ino)
				return nil
			}
			if e.Type != 0 && uint32(e.Type) != child.Mode>>12 || e.Type == 0 && f.filetypes() {
				t.Errorf("%s/%s: type %d in the directory, mode %#o", path, e.Name, e.Type, child.Mode)
			}
			visit(path+"/"+e.Name, child, i.Ino)
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		list, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		if want := slices.Collect(func(yield func(string) bool) {
			for _, e := range list {
				if !yield(e.Name()) {
					return
				}
			}
		}); !slices.Equal(names, want) {
			t.Errorf("%s: %d names, the kernel has %d: %.200q, %.200q", path, len(names), len(want), names, want)
		}
	}
	visit(dir, inodes[rootIno], rootIno)
	for ino := range inodes {
		if !seen[ino] {
			t.Errorf("inode %d has no name", ino)
		}
	}
}

// compareInode compares one object with the kernel's view of it.
func compareInode(t *testing.T, f *FS, path string, i *dump.Inode) bool {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		t.Errorf("%s: %v", path, err)
		return false
	}
	stamp := func(s unix.StatxTimestamp) dump.Time { return dump.Time{Sec: s.Sec, Nsec: s.Nsec} }
	show := func(i dump.Inode) string {
		i.Raw, i.HasXattrs = nil, false
		return fmt.Sprintf("%+v", i)
	}
	want := dump.Inode{
		Ino: uint32(st.Ino), Mode: uint32(st.Mode), Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		Size: st.Size, Blocks: st.Blocks,
		Atime: stamp(st.Atime), Mtime: stamp(st.Mtime), Ctime: stamp(st.Ctime),
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		want.Birth = stamp(st.Btime)
	}
	if rawInode(i.Raw).flags()&flagInlineData != 0 && i.Mode&dump.ModeType == dump.ModeFile {
		want.Blocks -= (want.Size + 511) / 512 // the kernel counts what is in the inode
	}
	if i.IsDevice() {
		want.Major, want.Minor = st.Rdev_major, st.Rdev_minor
	}
	for attr, flag := range map[uint64]dump.Flags{unix.STATX_ATTR_NODUMP: dump.Nodump, unix.STATX_ATTR_IMMUTABLE: dump.Immutable, unix.STATX_ATTR_APPEND: dump.Append} {
		if st.Attributes&attr != 0 {
			want.Flags |= flag
		}
	}
	if show(*i) != show(want) {
		t.Errorf("%s:\n got  %s\n want %s", path, show(*i), show(want))
		return false
	}
	compareXattrs(t, f, path, i)
	switch i.Mode & dump.ModeType {
	case dump.ModeFile:
		compareContents(t, f, path, i)
	case dump.ModeLink:
		got, err := f.Target(context.Background(), i)
		if want, _ := os.Readlink(path); err != nil || got != want {
			t.Errorf("%s: target %q, %v, want %q", path, got, err, want)
		}
	}
	return true
}

func compareXattrs(t *testing.T, f *FS, path string, i *dump.Inode) {
	t.Helper()
	got, err := f.Xattrs(context.Background(), i)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	n, err := unix.Llistxattr(path, nil)
	if n == 0 && err == nil && len(got) == 0 {
		return
	}
	buf := make([]byte, 1<<17)
	n, err = unix.Llistxattr(path, buf)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	if len(names) != len(got) || len(got) > 0 && !i.HasXattrs {
		t.Errorf("%s: %d xattrs %v, want %v", path, len(got), got, names)
	}
	for _, x := range got {
		if n, err := unix.Lgetxattr(path, x.Name, buf); err != nil || !bytes.Equal(buf[:n], x.Value) {
			t.Errorf("%s: %s is %.60q, want %.60q, %v", path, x.Name, x.Value, buf[:max(n, 0)], err)
		}
	}
}

// compareContents compares data and holes, in pieces of an odd size.
func compareContents(t *testing.T, f *FS, path string, i *dump.Inode) {
	t.Helper()
	ctx := context.Background()
	contents, err := f.Open(ctx, i)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var ours, kernels [][2]uint64
	note := func(list *[][2]uint64, from, to uint64) {
		if n := len(*list); n > 0 && (*list)[n-1][1] == from {
			(*list)[n-1][1] = to
			return
		}
		*list = append(*list, [2]uint64{from, to})
	}
	for at := uint64(0); ; {
		from, to, err := contents.Next(ctx, at)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if from == to {
			if from != i.Size {
				t.Errorf("%s: the data ends at %d of %d", path, from, i.Size)
			}
			break
		}
		if from < at || to <= from {
			t.Fatalf("%s: data in [%d, %d) after %d", path, from, to, at)
		}
		note(&ours, from, to)
		at = to
	}
	inline := rawInode(i.Raw).flags()&flagInlineData != 0
	for at := int64(0); !inline; { // the kernel does not know its own answer there
		from, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if err != nil {
			break
		}
		to, err := unix.Seek(int(file.Fd()), from, unix.SEEK_HOLE)
		if err != nil || to <= from {
			t.Fatalf("%s: %d to %d, %v", path, from, to, err)
		}
		note(&kernels, uint64(from), uint64(to))
		at = to
	}
	if !inline && !slices.Equal(ours, kernels) {
		t.Errorf("%s: data in %v, the kernel says %v", path, ours, kernels)
	}
	for _, piece := range [...]int{1 << 18, 5003} {
		if piece < 1<<18 && (i.Size > 1<<18 || i.Size < 4096) {
			continue
		}
		compareBytes(t, contents, file, path, piece, append(ours, [2]uint64{max(i.Size, 100) - 100, i.Size + 100}))
	}
}

func compareBytes(t *testing.T, contents dump.File, file *os.File, path string, piece int, ranges [][2]uint64) {
	t.Helper()
	piece = min(piece, int(ranges[len(ranges)-1][1])+4097)
	got, want := make([]byte, piece), make([]byte, piece)
	for _, r := range ranges {
		for at := max(r[0], 4097) - 4097; at < r[1]+4097; at += uint64(piece) {
			copy(got, "what must be overwritten")
			clear(want)
			if err := contents.Read(context.Background(), got, at); err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if _, err := file.ReadAt(want, int64(at)); err != nil && err.Error() != "EOF" {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes in [%d, %d)", path, at, at+uint64(piece))
				return
			}
		}
	}
}

// names returns all paths of a file system with their inodes.
func names(t testing.TB, f *FS) map[string]*dump.Inode {
	t.Helper()
	ctx := context.Background()
	inodes, found := map[uint32]*dump.Inode{}, map[string]*dump.Inode{}
	if err := f.Scan(ctx, nil, func(i *dump.Inode) error { inodes[i.Ino] = i.Clone(); return nil }); err != nil {
		t.Fatal(err)
	}
	var visit func(path string, i *dump.Inode)
	visit = func(path string, i *dump.Inode) {
		found[path] = i
		if i == nil || !i.IsDir() {
			return
		}
		if err := f.Entries(ctx, i, func(e dump.Entry) error { visit(filepath.Join(path, e.Name), inodes[e.Ino]); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	visit(".", inodes[rootIno])
	return found
}
