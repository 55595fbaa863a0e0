package chain

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/fail"
	"varve/test/plant"
)

// made makes an empty file system of 1 MiB with a program, the image's name replacing X.
func made(t *testing.T, command ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	plant.Must(t, os.Mkdir(filepath.Join(dir, "tree"), 0o755))
	for i, c := range command {
		command[i] = strings.ReplaceAll(strings.ReplaceAll(c, "TREE", filepath.Join(dir, "tree")), "X", path)
	}
	plant.Run(t, command[0], command[1:]...)
	b, err := os.ReadFile(path)
	plant.Must(t, err)
	return b
}

func ext(t *testing.T) []byte {
	return made(t, "mke2fs", "-q", "-F", "-L", "label", "-t", "ext2", "X", "1M")
}

func ffs(t *testing.T) []byte {
	return made(t, "makefs", "-t", "ffs", "-s", "1m", "-o", "version=2", "X", "TREE")
}

// disk makes an image with parts at sectors.
func disk(parts map[int][]byte) []byte {
	b := make([]byte, 8<<20)
	for sector, p := range parts {
		copy(b[sector*512:], p)
	}
	return b
}

// entry fills an entry of an MBR.
func entry(record []byte, n int, kind byte, first, sectors uint32) {
	e := record[446+16*n:]
	e[4] = kind
	binary.LittleEndian.PutUint32(e[8:], first)
	binary.LittleEndian.PutUint32(e[12:], sectors)
	record[510], record[511] = 0x55, 0xaa
}

// gptDisk makes a disk with the partitions 1 and 5.
func gptDisk(one, five []byte) []byte {
	le := binary.LittleEndian
	b := disk(map[int][]byte{100: one, 4000: five})
	entry(b, 0, 0xee, 1, 16000)
	entries := b[1024 : 1024+128*128]
	for n, first := range map[int]uint64{0: 100, 4: 4000} {
		e := entries[128*n:]
		e[0] = 1
		le.PutUint64(e[32:], first)
		le.PutUint64(e[40:], first+2047)
	}
	h := b[512:]
	copy(h, "EFI PART")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	return b
}

// TestOpenImage: file systems are found in images and in partitions of both kinds of
// tables, the extended ones too.
func TestOpenImage(t *testing.T) {
	linux, bsd := ext(t), ffs(t)
	dos := disk(map[int][]byte{64: linux, 3064: bsd, 6064: linux})
	entry(dos, 1, 0x83, 64, 2048)
	entry(dos, 2, 0x05, 3000, 9000)
	entry(dos[3000*512:], 0, 0xa5, 64, 2048)
	entry(dos[3000*512:], 1, 0x05, 3000, 3000)
	entry(dos[6000*512:], 0, 0x83, 64, 2048)
	gpt := gptDisk(bsd, linux)
	for _, c := range []struct {
		name      string
		image     []byte
		partition int
		want      string
	}{
		{"ext2", linux, 0, "ext2"}, {"ufs2", bsd, 0, "ufs2"},
		{"mbr", dos, 2, "ext2"}, {"logical", dos, 5, "ufs2"}, {"second logical", dos, 6, "ext2"},
		{"gpt 1", gpt, 1, "ufs2"}, {"gpt 5", gpt, 5, "ext2"},
		{"the whole of a mbr", dos, 0, "append"}, {"the whole of a gpt", gpt, 0, ":p1, :p5"},
		{"none", gpt, 2, "no partition 2"}, {"no table", linux, 1, "no partition"},
	} {
		src, err := OpenImage(context.Background(), bytes.NewReader(c.image), int64(len(c.image)), c.partition)
		got := fmt.Sprint(err)
		if err == nil {
			got = src.Info().Kind
		}
		if !strings.Contains(got, c.want) || err != nil && !fail.Is(err, fail.NotFound) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	gpt[1024+32]++
	if _, err := OpenImage(context.Background(), bytes.NewReader(gpt), int64(len(gpt)), 1); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a damaged table: %v", err)
	}
}

// TestOtherImages: what is no file system of ours is named, with what to do.
func TestOtherImages(t *testing.T) {
	for what, put := range map[string]struct {
		at    int
		bytes string
	}{
		"XFS": {0, "XFSB"}, "btrfs": {0x10040, "_BHRfS_M"}, "LUKS": {0, "LUKS\xba\xbe"}, "LVM": {512, "LABELONE"},
		"qemu-img": {0, "QFI\xfb"}, "gzip": {0, "\x1f\x8b\x08"}, "zeros": {0, ""}, "unknown": {100, "x"},
	} {
		b := make([]byte, 1<<20)
		copy(b[put.at:], put.bytes)
		_, err := OpenImage(context.Background(), bytes.NewReader(b), int64(len(b)), 0)
		if !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzPartitions: no table makes the reader leave the disk.
func FuzzPartitions(f *testing.F) {
	record := make([]byte, 512)
	entry(record, 0, 0x83, 1, 2)
	entry(record, 1, 0x05, 1, 3)
	f.Add(bytes.Repeat(record, 4))
	f.Add(gptDisk(nil, nil)[:20000])
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := partitions(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, p := range list {
			if p.start < 0 || p.size <= 0 || p.start > int64(len(b)) || p.size > int64(len(b))-p.start || len(list) > maxPartitions {
				t.Errorf("%+v of %d bytes", p, len(b))
			}
		}
	})
}
