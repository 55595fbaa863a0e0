package ufs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"varve/internal/dump"
	"varve/internal/fail"
	"varve/test/plant"
)

// sapling makes a small image of a small tree.
func sapling(t testing.TB, order string, version int) []byte {
	t.Helper()
	tree := t.TempDir()
	for name, n := range map[string]int{"tiny": 20, "frags": 3000, "blocks": 90000} {
		plant.Must(t, os.WriteFile(filepath.Join(tree, name), plant.Noise(n, n), 0o644))
	}
	plant.Must(t, os.Mkdir(filepath.Join(tree, "dir"), 0o755))
	for i := range 40 {
		plant.Must(t, os.WriteFile(filepath.Join(tree, "dir", fmt.Sprintf("a-name-of-some-length-%d", i)), nil, 0o600))
	}
	plant.Must(t, os.Symlink("elsewhere", filepath.Join(tree, "short")))
	plant.Must(t, os.Symlink(strings.Repeat("x", 200), filepath.Join(tree, "long")))
	path := filepath.Join(t.TempDir(), "u.img")
	plant.Run(t, "makefs", "-t", "ffs", "-B", order, "-s", "1m", "-o", fmt.Sprintf("version=%d,bsize=4096,fsize=512,density=8192", version), path, tree)
	b, err := os.ReadFile(path)
	plant.Must(t, err)
	return b
}

func open(base []byte) (*FS, error) {
	return Open(context.Background(), &plant.Image{Base: base}, int64(len(base)))
}

// edit changes the inode of a name in an image, in place.
func edit(t *testing.T, base []byte, name string, change func(f *FS, p []byte)) {
	t.Helper()
	f, err := open(base)
	plant.Must(t, err)
	ino := uint64(names(t, f)[name].Ino)
	at := f.super.table(ino/f.super.inodes) + ino%f.super.inodes*f.super.inodeSize()
	change(f, base[at:][:f.super.inodeSize()])
}

// extattr packs an attribute as UFS2 does.
func extattr(order binary.AppendByteOrder, space byte, name string, value []byte) []byte {
	head := (7 + len(name) + 7) &^ 7
	length := (head + len(value) + 7) &^ 7
	p := order.AppendUint32(nil, uint32(length))
	p = append(append(p, space, byte(length-head-len(value)), byte(len(name))), name...)
	p = append(p, make([]byte, head-len(p))...)
	return append(append(p, value...), make([]byte, length-head-len(value))...)
}

// TestXattrs: extended attributes of both namespaces, over two blocks, and access
// control lists, in both byte orders.
func TestXattrs(t *testing.T) {
	for name, order := range map[string]interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}{"le": binary.LittleEndian, "be": binary.BigEndian} {
		t.Run(name, func(t *testing.T) {
			base := sapling(t, name, 2)
			acl := order.AppendUint32(nil, 5)
			for _, e := range [][3]uint32{{1, 0, 7}, {2, 1001, 5}, {4, 0, 4}, {16, 0, 7}, {32, 0, 0}} {
				acl = order.AppendUint32(order.AppendUint32(acl, e[0]), e[1])
				acl = append(order.AppendUint16(acl, uint16(e[2])), 0, 0)
			}
			acl = append(acl, make([]byte, 388-len(acl))...) // as the kernel stores it
			area := extattr(order, 1, "mine", []byte("value"))
			area = append(area, extattr(order, 2, "posix1e.acl_access", acl)...)
			area = append(area, extattr(order, 2, "nfs4.acl", []byte("raw"))...)
			area = append(area, extattr(order, 1, "large", plant.Noise(1, 5000))...)
			edit(t, base, "tiny", func(f *FS, p []byte) {
				// the two blocks of attributes take the place of a file's data
				first := uint64(len(base))/f.super.fsize - 32
				order.PutUint32(p[92:], uint32(len(area)))
				order.PutUint64(p[96:], first+16)
				order.PutUint64(p[104:], first)
				copy(base[(first+16)*f.super.fsize:], area[:4096])
				copy(base[first*f.super.fsize:], area[4096:])
			})
			f, err := open(base)
			plant.Must(t, err)
			got, err := f.Xattrs(context.Background(), names(t, f)["tiny"])
			plant.Must(t, err)
			le := binary.LittleEndian
			linux := le.AppendUint32(nil, 2)
			for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 5, 1001}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 4, ^uint32(0)}} { // the mode is 0644
				linux = le.AppendUint32(le.AppendUint16(le.AppendUint16(linux, uint16(e[0])), uint16(e[1])), e[2])
			}
			want := []dump.Xattr{
				{Name: "system.nfs4.acl", Value: []byte("raw")},
				{Name: "system.posix_acl_access", Value: linux},
				{Name: "user.large", Value: plant.Noise(1, 5000)},
				{Name: "user.mine", Value: []byte("value")},
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %.300q\nwant %.300q", got, want)
			}
			edit(t, base, "tiny", func(f *FS, p []byte) { order.PutUint32(p[92:], uint32(len(area)-4)) })
			f, err = open(base)
			plant.Must(t, err)
			if _, err := f.Xattrs(context.Background(), names(t, f)["tiny"]); !fail.Is(err, fail.Corrupt) {
				t.Error(err)
			}
		})
	}
}

// TestHoles: pointers of 0 in the inode and in blocks of pointers are holes, at the end
// and far beyond 4 GiB too; a snapshot is empty; pointers in a circle end with an error.
func TestHoles(t *testing.T) {
	base := sapling(t, "be", 2)
	be := binary.BigEndian
	const size, far = 1<<38 + 77, (12 + 512 + 512*512 + (5*512+7)*512 + 9) * 4096
	last := uint64(len(base))/512 - 64 // fragments that nobody uses
	edit(t, base, "blocks", func(f *FS, p []byte) {
		clear(p[112+8*2 : 112+8*5])                     // blocks 2 to 4
		clear(base[be.Uint64(p[208:])*512+8*3:][:8])    // block 15
		be.PutUint64(p[224:], last)                     // the third level of pointers
		be.PutUint64(base[last*512+8*5:], last+8)       // the second below it
		be.PutUint64(base[(last+8)*512+8*7:], last+16)  // the first
		be.PutUint64(base[(last+16)*512+8*9:], last+24) // data
		copy(base[(last+24)*512:], plant.Noise(1, 4096))
		be.PutUint64(p[16:], size)
	})
	edit(t, base, "frags", func(_ *FS, p []byte) { be.PutUint32(p[88:], 0x200000|0x1) })
	f, err := open(base)
	plant.Must(t, err)
	found := names(t, f)
	ctx := context.Background()
	if i := found["frags"]; i.Size != 0 || i.Blocks != 0 || i.Flags != dump.Snapshot|dump.Nodump {
		t.Errorf("a snapshot: %+v", i)
	}
	file, err := f.Open(ctx, found["blocks"])
	plant.Must(t, err)
	got := make([]byte, 90000)
	plant.Must(t, file.Read(ctx, got, 0))
	want := plant.Noise(90000, 90000)
	clear(want[2*4096 : 5*4096])
	clear(want[15*4096 : 16*4096])
	if string(got) != string(want) {
		t.Error("other bytes")
	}
	plant.Must(t, file.Read(ctx, got, far-50))
	if string(got[50:4146]) != string(plant.Noise(1, 4096)) || strings.Trim(string(got[:50])+string(got[4146:]), "\x00") != "" {
		t.Error("other bytes far out")
	}
	for _, c := range [][3]uint64{{2 * 4096, 5 * 4096, 12 * 4096}, {15 * 4096, 16 * 4096, 22 * 4096}, {1 << 20, far, far + 4096}, {far + 4096, size, size}} {
		if from, to, err := file.Next(ctx, c[0]); err != nil || from != c[1] || to < c[2] {
			t.Errorf("after %d: %d to %d, %v, want %d", c[0], from, to, err, c[1:])
		}
	}
	for at := range uint64(512) {
		be.PutUint64(base[last*512+8*at:], last)
	}
	file, err = f.Open(ctx, found["blocks"])
	plant.Must(t, err)
	if _, _, err := file.Next(ctx, 1<<33); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a circle: %v", err)
	}
}

// TestStates: what a superblock says of a file system that was not unmounted is said.
func TestStates(t *testing.T) {
	base := sapling(t, "le", 2)
	for _, c := range []struct {
		clean byte
		flags uint32
		says  string
	}{{1, 0, "[]"}, {0, 0, "not unmounted: check"}, {1, 1, "not unmounted"}, {0, 8 | 2, "journal is not replayed"}, {1, 8 | 2, "[]"}, {1, 4, "marked as damaged"}} {
		base[8192+209] = c.clean
		binary.LittleEndian.PutUint32(base[8192+1312:], c.flags)
		f, err := open(base)
		plant.Must(t, err)
		if got := fmt.Sprint(f.Warnings()); !strings.Contains(got, c.says) {
			t.Errorf("clean %d, flags %#x: %s", c.clean, c.flags, got)
		}
		if len(names(t, f)) < 46 {
			t.Errorf("clean %d, flags %#x: files are missing", c.clean, c.flags)
		}
	}
}

// TestCheckHashes: inodes and groups with check-hashes are verified.
func TestCheckHashes(t *testing.T) {
	base := sapling(t, "le", 2)
	le := binary.LittleEndian
	f, err := open(base)
	plant.Must(t, err)
	le.PutUint32(base[8192+1312:], flagHashes)
	le.PutUint32(base[8192+1308:], hashInodes|hashGroups)
	group := base[(f.super.start(0)+f.super.cblkno)*f.super.fsize:][:f.super.cgsize]
	le.PutUint32(group[132:], hashAround(group, 132))
	for at := f.super.table(0); at < f.super.table(0)+f.super.inodes*256; at += 256 {
		le.PutUint32(base[at+244:], hashAround(base[at:at+256], 244))
	}
	f, err = open(base)
	plant.Must(t, err)
	found := names(t, f)
	if len(found) < 46 {
		t.Errorf("%d names", len(found))
	}
	for what, at := range map[string]uint64{"an inode": f.super.table(0) + 256*uint64(found["tiny"].Ino) + 4, "a group": (f.super.start(0)+f.super.cblkno)*f.super.fsize + 60} {
		base[at] ^= 1
		if err := f.Scan(context.Background(), nil, func(*dump.Inode) error { return nil }); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v", what, err)
		}
		base[at] ^= 1
	}
}

// TestScanWanted: a scan of some inodes visits those, and allocates nothing for each.
func TestScanWanted(t *testing.T) {
	f, err := open(sapling(t, "be", 1))
	plant.Must(t, err)
	ctx := context.Background()
	want := dump.NewMap(f.Info().MaxIno)
	var some, wanted []uint32
	plant.Must(t, f.Scan(ctx, nil, func(i *dump.Inode) error {
		if i.Ino%7 == 0 {
			want.Set(i.Ino)
			wanted = append(wanted, i.Ino)
		}
		return nil
	}))
	plant.Must(t, f.Scan(ctx, want, func(i *dump.Inode) error { some = append(some, i.Ino); return nil }))
	if len(some) < 5 || fmt.Sprint(some) != fmt.Sprint(wanted) {
		t.Errorf("%v, wanted %v", some, wanted)
	}
	if n := testing.AllocsPerRun(3, func() { plant.Must(t, f.Scan(ctx, nil, func(*dump.Inode) error { return nil })) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Scan(gone, nil, func(*dump.Inode) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzImage: whatever an image says, the reader ends, and in its bounds. Each three bytes
// of the input change one byte of what is read.
func FuzzImage(f *testing.F) {
	var bases [][]byte
	var read [][][2]int64
	for _, version := range []int{1, 2} {
		for _, order := range []string{"le", "be"} {
			m := &plant.Image{Base: sapling(f, order, version), Note: true}
			fs, err := Open(context.Background(), m, int64(len(m.Base)))
			plant.Must(f, err)
			_, err = plant.Walk(fs, 1<<16)
			plant.Must(f, err)
			bases, read = append(bases, m.Base), append(read, m.Read)
		}
	}
	f.Add([]byte{0})
	f.Add([]byte{1, 0, 12, 255, 1, 40, 7, 2, 200, 8})
	f.Add([]byte{3, 4, 16, 255, 5, 4, 128, 8, 90, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 100 {
			return
		}
		n := int(in[0]) % len(bases)
		m := &plant.Image{Base: bases[n], Patches: map[int64]byte{}}
		for in = in[1:]; len(in) >= 3; in = in[3:] {
			part := read[n][(int(in[0])*len(read[n])/256+int(in[1]))%len(read[n])]
			m.Patches[part[0]+(int64(in[1])*4+int64(in[2]&3))%(part[1]-part[0])] = in[2]
		}
		if fs, err := Open(context.Background(), m, int64(len(m.Base))); err == nil {
			_, _ = plant.Walk(fs, 1<<16)
		}
	})
}

// TestPlaces: the superblock of UFS2 is where FreeBSD puts it, behind 64 KiB, or behind
// 256 KiB, if it says that it belongs there.
func TestPlaces(t *testing.T) {
	tree := t.TempDir()
	plant.Must(t, os.WriteFile(filepath.Join(tree, "file"), plant.Noise(1, 5000), 0o644))
	path := filepath.Join(t.TempDir(), "u.img")
	plant.Run(t, "makefs", "-t", "ffs", "-B", "le", "-s", "32m", "-o", "version=2,bsize=16384,fsize=2048,density=8192", path, tree)
	base, err := os.ReadFile(path)
	plant.Must(t, err)
	f, err := open(base)
	plant.Must(t, err)
	want, err := plant.Walk(f, 1<<20)
	plant.Must(t, err)
	for _, place := range []int64{65536, 262144} { // among inodes that nobody uses
		moved := bytes.Clone(base)
		copy(moved[place:], base[8192:8192+superSize])
		clear(moved[8192 : 8192+superSize])
		if _, err := open(moved); !fail.Is(err, fail.NotFound) {
			t.Errorf("a copy at byte %d, of a superblock that belongs elsewhere: %v", place, err)
		}
		binary.LittleEndian.PutUint64(moved[place+1000:], uint64(place))
		f, err := open(moved)
		if err != nil {
			t.Fatalf("at byte %d: %v", place, err)
		}
		if got, err := plant.Walk(f, 1<<20); err != nil || got != want {
			t.Errorf("at byte %d: another tree, %v", place, err)
		}
	}
}
