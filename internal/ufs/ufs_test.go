package ufs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/dump"
	"varve/test/plant"
)

// image makes a UFS image of a tree. order is le or be.
func image(t testing.TB, dir, order string, version, bsize int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "u.img")
	plant.Run(t, "makefs", "-t", "ffs", "-B", order, "-s", "48m", "-o", fmt.Sprintf("version=%d,bsize=%d,fsize=%d,density=8192", version, bsize, bsize/8), path, dir)
	return path
}

func opened(t testing.TB, image string) *FS {
	t.Helper()
	file, err := os.Open(image)
	plant.Must(t, err)
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	plant.Must(t, err)
	f, err := Open(context.Background(), file, info.Size())
	plant.Must(t, err)
	return f
}

// names returns all paths of a file system with their inodes.
func names(t testing.TB, f *FS) map[string]*dump.Inode {
	t.Helper()
	ctx := context.Background()
	inodes, found := map[uint32]*dump.Inode{}, map[string]*dump.Inode{}
	plant.Must(t, f.Scan(ctx, nil, func(i *dump.Inode) error { inodes[i.Ino] = i.Clone(); return nil }))
	var visit func(path string, i *dump.Inode, parent uint32)
	visit = func(path string, i *dump.Inode, parent uint32) {
		found[path] = i
		if i == nil || !i.IsDir() {
			return
		}
		if got, err := f.Parent(ctx, i); err != nil || got != parent {
			t.Errorf("%s: parent %d, %v, want %d", path, got, err, parent)
		}
		plant.Must(t, f.Entries(ctx, i, func(e dump.Entry) error {
			if child := inodes[e.Ino]; child == nil || uint32(e.Type) != child.Mode>>12 {
				t.Errorf("%s/%s: inode %d, type %d: %v", path, e.Name, e.Ino, e.Type, child)
			}
			visit(filepath.Join(path, e.Name), inodes[e.Ino], i.Ino)
			return nil
		}))
	}
	visit(".", inodes[rootIno], rootIno)
	if len(inodes) > len(found) {
		t.Errorf("%d inodes for %d names", len(inodes), len(found))
	}
	return found
}

// TestMakefs: what makefs makes of a tree reads as that tree, for both versions, byte
// orders and three sizes of blocks.
func TestMakefs(t *testing.T) {
	tree := t.TempDir()
	plant.Tree(t, tree)
	plant.Must(t, os.Remove(filepath.Join(tree, "socket")))                                 // makefs has none
	plant.Must(t, os.Remove(filepath.Join(tree, "big")))                                    // and it writes holes out
	plant.Must(t, os.WriteFile(filepath.Join(tree, "dense"), plant.Noise(9, 9<<20), 0o600)) // two levels of pointers
	for _, version := range []int{1, 2} {
		for _, order := range []string{"le", "be"} {
			for _, bsize := range []int{4096, 16384, 65536} {
				t.Run(fmt.Sprintf("ufs%d-%s-%d", version, order, bsize), func(t *testing.T) {
					t.Parallel()
					f := opened(t, image(t, tree, order, version, bsize))
					if want := fmt.Sprintf("ufs%d", version); f.Info().Kind != want || len(f.Warnings()) > 0 {
						t.Errorf("%s, %v", f.Info().Kind, f.Warnings())
					}
					compare(t, f, tree)
				})
			}
		}
	}
}

func compare(t *testing.T, f *FS, tree string) {
	t.Helper()
	found := names(t, f)
	count := 0
	plant.Must(t, filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		plant.Must(t, err)
		rel, err := filepath.Rel(tree, path)
		plant.Must(t, err)
		count++
		if i := found[rel]; i == nil {
			t.Errorf("%s is missing", rel)
		} else {
			compareInode(t, f, path, i)
		}
		return nil
	}))
	if len(found) != count {
		t.Errorf("%d names, want %d", len(found), count)
	}
}

func compareInode(t *testing.T, f *FS, path string, i *dump.Inode) {
	t.Helper()
	var st unix.Stat_t
	plant.Must(t, unix.Lstat(path, &st))
	got, want := *i, *i
	want.Mode, want.Nlink, want.UID, want.GID = st.Mode, uint32(st.Nlink), st.Uid, st.Gid
	want.Mtime.Sec = st.Mtim.Sec
	if i.IsDevice() {
		want.Major, want.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if !i.IsDir() && !i.IsDevice() {
		want.Size = uint64(st.Size)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got  %+v\n want %+v", path, got, want)
	}
	ctx := context.Background()
	switch i.Mode & dump.ModeType {
	case dump.ModeLink:
		got, err := f.Target(ctx, i)
		if want, _ := os.Readlink(path); err != nil || got != want {
			t.Errorf("%s: target %.60q, %v", path, got, err)
		}
	case dump.ModeFile:
		compareContents(t, f, path, i)
	}
}

// compareContents compares the data; all that is not data must be zeros there.
func compareContents(t *testing.T, f *FS, path string, i *dump.Inode) {
	t.Helper()
	ctx := context.Background()
	contents, err := f.Open(ctx, i)
	plant.Must(t, err)
	file, err := os.Open(path)
	plant.Must(t, err)
	defer file.Close()
	buf, want, zeros := make([]byte, 1<<16), make([]byte, 1<<16), make([]byte, 1<<16)
	check := func(from, to uint64, hole bool) {
		if hole && to-from > 64<<20 { // known to be one: see plant.Tree
			to = from + 64<<20
		}
		for at := from; at < to; {
			n := min(to-at, uint64(len(buf)))
			plant.Must(t, contents.Read(ctx, buf[:n], at))
			_, err := file.ReadAt(want[:n], int64(at))
			plant.Must(t, err)
			if !bytes.Equal(buf[:n], want[:n]) || hole && !bytes.Equal(want[:n], zeros[:n]) {
				t.Errorf("%s: other bytes in [%d, %d), hole: %v", path, at, at+n, hole)
				return
			}
			at += n
		}
	}
	for at := uint64(0); ; {
		from, to, err := contents.Next(ctx, at)
		plant.Must(t, err)
		check(at, from, true)
		check(from, to, false)
		if from == to {
			if from != i.Size {
				t.Errorf("%s: the data ends at %d of %d", path, from, i.Size)
			}
			return
		}
		at = to
	}
}
