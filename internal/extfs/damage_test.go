package extfs

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"varve/internal/dump"
	"varve/test/plant"
)

// sapling is a small tree with everything that the readers of metadata meet.
func sapling(t testing.TB, dir string, big int) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, n := range map[string]int{"tiny": 20, "size1": 1, "size400": 400, "size4095": 4095, "size4096": 4096, "blocks": 40000} {
		plant.Must(t, os.WriteFile(at(name), plant.Noise(n, n), 0o644))
	}
	plant.Must(t, os.Mkdir(at("deep"), 0o755))
	plant.Must(t, os.Mkdir(at("short"), 0o755))
	for i := range 60 {
		plant.Must(t, os.WriteFile(at("deep/"+string(plant.Noise(3, 1)[0]%26+'a')+string(rune('a'+i/26))+string(rune('a'+i%26))+"-a-name-that-takes-some-room"), nil, 0o600))
	}
	plant.Must(t, os.Symlink("elsewhere", at("link59")))
	plant.Must(t, os.Symlink(string(make129()), at("link129")))
	plant.Run(t, "mkfifo", at("fifo"))
	plant.Sparse(t, at("pieces"), 1<<20, 0, 8192, 16384, 32768, 65536, 1<<17)
	if big > 0 {
		plant.Xattrs(t, dir, big)
	}
}

func make129() []byte {
	p := make([]byte, 129)
	for i := range p {
		p[i] = 'x'
	}
	return p
}

// small makes a small image of a sapling, by the kernel if big says how large an xattr
// may be, else by mke2fs.
func small(t testing.TB, big int, args ...string) []byte {
	t.Helper()
	tree := t.TempDir()
	if big == 0 {
		sapling(t, tree, 0)
	}
	x := filepath.Join(t.TempDir(), "x.img")
	plant.Run(t, "mke2fs", append(append([]string{"-q", "-F", "-b", "1024", "-N", "128", "-d", tree, "-E", "lazy_itable_init=0"}, args...), x, "1M")...)
	if big > 0 {
		dir := mount(t, x, "rw")
		sapling(t, dir, big)
		plant.Unmount(t, dir)
	}
	b, err := os.ReadFile(x)
	plant.Must(t, err)
	return b
}

func walk(base []byte, patches map[int64]byte) (plant.Walked, *plant.Image, error) {
	m := &plant.Image{Base: base, Patches: patches, Note: patches == nil}
	f, err := Open(context.Background(), m, int64(len(base)))
	if err != nil {
		return plant.Walked{}, m, err
	}
	w, err := plant.Walk(f, 1<<16)
	return w, m, err
}

// TestFlippedBits: with checksums of metadata, no wrong bit in what is read, outside the
// contents of files, stays unseen.
func TestFlippedBits(t *testing.T) {
	for name, base := range map[string][]byte{
		"ext4":     small(t, 600, "-t", "ext4", "-O", "^has_journal,metadata_csum,extents,64bit"),
		"inline":   small(t, 600, "-t", "ext4", "-I", "256", "-O", "^has_journal,metadata_csum,extents,inline_data"),
		"ea_inode": small(t, 40000, "-t", "ext4", "-I", "256", "-O", "^has_journal,metadata_csum,extents,ea_inode,64bit"),
	} {
		t.Run(name, func(t *testing.T) {
			want, m, err := walk(base, nil)
			plant.Must(t, err)
			r := rand.New(rand.NewPCG(1, 2))
			unseen := 0
			for range 400 {
				part := m.Read[r.IntN(len(m.Read))]
				at := part[0] + r.Int64N(part[1]-part[0])
				got, _, err := walk(base, map[int64]byte{at: base[at] ^ 1<<r.IntN(8)})
				if err == nil && got.Tree != want.Tree {
					t.Errorf("byte %d, block %d: other metadata without an error", at, at/1024)
					if unseen++; unseen > 10 {
						return
					}
				}
			}
		})
	}
}

// TestCircles: maps that lead to themselves end with an error.
func TestCircles(t *testing.T) {
	base := small(t, 0, "-t", "ext2", "-I", "128", "-O", "none")
	f, err := Open(context.Background(), &plant.Image{Base: base}, int64(len(base)))
	plant.Must(t, err)
	i := names(t, f)["blocks"]
	raw := rawInode(i.Raw)
	indirect := uint64(raw.u32(40 + 4*12))
	patches := map[int64]byte{}
	for at := uint64(0); at < 1024; at += 4 { // the block of pointers leads to itself everywhere
		var p [4]byte
		binary.LittleEndian.PutUint32(p[:], uint32(indirect))
		for k, b := range p {
			patches[int64(indirect*1024+at)+int64(k)] = b
		}
	}
	binary.LittleEndian.PutUint32(raw[40+4*14:], uint32(indirect)) // and is the root of three levels
	binary.LittleEndian.PutUint32(raw[4:], 1<<31-1)
	f, err = Open(context.Background(), &plant.Image{Base: base, Patches: patches}, int64(len(base)))
	plant.Must(t, err)
	file, err := f.Open(context.Background(), &dump.Inode{Ino: i.Ino, Raw: raw})
	plant.Must(t, err)
	size := uint64(1<<31 - 1)
	for at, steps := uint64(0), 0; ; steps++ {
		_, to, err := file.Next(context.Background(), at)
		if err != nil {
			break
		}
		if at = to; at >= size || steps > 10000 {
			t.Fatalf("%d bytes of a file in an image of %d, in %d steps", at, len(base), steps)
		}
	}
}

// FuzzImage: whatever an image says, the reader ends, and in its bounds. Each three bytes
// of the input change one byte of what is read of an image without checksums.
func FuzzImage(f *testing.F) {
	var bases [][]byte
	var read [][][2]int64
	for _, args := range [][]string{
		{"-t", "ext2", "-I", "128", "-O", "none"},
		{"-t", "ext4", "-I", "256", "-O", "^has_journal,^metadata_csum,extents,inline_data,ea_inode"},
		{"-t", "ext4", "-O", "^has_journal,^metadata_csum,^64bit,meta_bg,^resize_inode,dir_index", "-g", "256"},
	} {
		base := small(f, 0, args...)
		_, m, err := walk(base, nil)
		plant.Must(f, err)
		bases, read = append(bases, base), append(read, m.Read)
	}
	f.Add([]byte{0})
	f.Add([]byte{0, 0, 0, 1, 0, 16, 255, 1, 40, 7, 2, 200, 8})
	f.Add([]byte{1, 0, 24, 255, 3, 32, 1, 9, 40, 200})
	f.Add([]byte{2, 4, 16, 255, 5, 4, 128, 8, 90, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 100 {
			return
		}
		n := int(in[0]) % len(bases)
		patches := map[int64]byte{}
		for in = in[1:]; len(in) >= 3; in = in[3:] {
			part := read[n][(int(in[0])*len(read[n])/256+int(in[1]))%len(read[n])]
			at := part[0] + (int64(in[1])*4+int64(in[2]&3))%(part[1]-part[0])
			patches[at] = in[2]
		}
		_, _, _ = walk(bases[n], patches)
	})
}

// FuzzJournal: the same for a journal.
func FuzzJournal(f *testing.F) {
	x := filepath.Join(f.TempDir(), "x.img")
	plant.Run(f, "mke2fs", "-q", "-F", "-t", "ext3", "-b", "1024", "-I", "128", "-N", "64", x, "2M")
	dir := mount(f, x, "data=journal,commit=300")
	for i := range 3 {
		plant.Must(f, os.WriteFile(filepath.Join(dir, "file"), plant.Noise(i, 3000), 0o600))
		plant.Run(f, "sync", "-f", dir)
	}
	base, err := os.ReadFile(x)
	plant.Must(f, err)
	plant.Unmount(f, dir)
	_, m, err := walk(base, nil)
	plant.Must(f, err)
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{20, 4, 2, 30, 12, 200, 31, 16, 7})
	f.Fuzz(func(t *testing.T, in []byte) {
		patches := map[int64]byte{}
		for ; len(in) >= 3 && len(patches) < 30; in = in[3:] {
			part := m.Read[(int(in[0])*len(m.Read)/256+int(in[1]))%len(m.Read)]
			at := part[0] + (int64(in[1])*4+int64(in[2]&3))%(part[1]-part[0])
			patches[at] = in[2]
		}
		_, _, _ = walk(base, patches)
	})
}
