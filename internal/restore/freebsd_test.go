package restore

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// bsd writes inodes as FreeBSD's dump does, in pieces that follow the block map of UFS:
// one header for the direct blocks, then some for each indirect block, of up to 512
// records each. All is of its traverse.c, nothing of our writer.
type bsd struct {
	*tape
	block, frag int // bytes
	ufs2        bool
}

const bsdDirect = 12 // blocks in the inode

// put writes a file or a directory.
func (t *bsd) put(ino uint32, mode uint16, data, ext string) {
	i := inode{mode: mode, size: uint64(len(data)), ext: uint32(len(ext))}
	kind := uint32(2)
	if len(data) == 0 {
		t.alone(kind, ino, i, "", ext)
		return
	}
	perIndirect := t.block / 8
	if !t.ufs2 {
		perIndirect = t.block / 4
	}
	for at, blocks := 0, bsdDirect; at < len(data); blocks = perIndirect {
		part := data[at:min(len(data), at+blocks*t.block)]
		at += len(part)
		t.blocks(&kind, ino, i, part, ext, at == len(data))
	}
}

// blocks writes what one array of pointers leads to; the extended attributes follow the
// last of it in the same header, or where there is no room in one of their own.
func (t *bsd) blocks(kind *uint32, ino uint32, i inode, part, ext string, last bool) {
	frags := (len(part) + t.frag - 1) / t.frag
	records := max(frags*t.frag/1024, 1)
	if t.ufs2 && last { // UFS1 has the whole of the last fragment
		records = (len(part) + 1023) / 1024
	}
	for from := 0; from < records; from += 512 {
		to := min(from+512, records)
		var addr []byte
		for r := from; r < to; r++ {
			block := part[min(len(part), r*1024/t.block*t.block):min(len(part), (r*1024/t.block+1)*t.block)]
			a := byte(1)
			if strings.Trim(block, "\x00") == "" {
				a = 0
			}
			addr = append(addr, a)
		}
		data := len(addr)
		more := 0
		if last && to == records && ext != "" && data+(len(ext)+1023)/1024 <= 512 {
			more = (len(ext) + 1023) / 1024
			addr = append(addr, []byte(strings.Repeat("\x01", more))...)
		}
		t.header(*kind, ino, i, addr, len(addr))
		*kind = 4
		for r := from; r < to; r++ {
			if addr[r-from] != 0 {
				rec := part[min(len(part), r*1024):min(len(part), (r+1)*1024)]
				t.record([]byte(rec + strings.Repeat("j", 1024-len(rec)))) // what lies behind the end of a file
			}
		}
		switch {
		case more > 0:
			t.raw(ext)
		case last && to == records && ext != "":
			t.alone(4, ino, i, "", ext)
		}
	}
}

// alone writes extended attributes without data.
func (t *bsd) alone(kind, ino uint32, i inode, _ string, ext string) {
	n := (len(ext) + 1023) / 1024
	t.header(kind, ino, i, []byte(strings.Repeat("\x01", n)), n)
	t.raw(ext)
}

func (t *bsd) raw(s string) {
	for len(s) > 0 {
		n := min(len(s), 1024)
		t.record([]byte(s[:n]))
		s = s[n:]
	}
}

// TestFreeBSDShapes: files of every size at which FreeBSD's dump begins another header,
// with holes, with attributes that have room behind the data and that have none.
func TestFreeBSDShapes(t *testing.T) {
	for _, c := range []struct {
		ufs2        bool
		block, frag int
	}{{true, 32768, 4096}, {true, 16384, 2048}, {false, 16384, 2048}, {false, 8192, 1024}} {
		for order, o := range orders {
			what := fmt.Sprintf("ufs2 %v, %d, %s", c.ufs2, c.block, order)
			a := &bsd{newTape("ufs2", o), c.block, c.frag, c.ufs2}
			a.flags, a.date = 0, when1
			direct := bsdDirect * c.block
			contents := make(map[string]string)
			ext := string(a.ufsXattr(1, "color", "blue")) + string(a.ufsXattr(1, "large", noise(40_000)))
			if !c.ufs2 {
				ext = ""
			}
			all, names := []uint32{2}, []bsdFile{}
			for n, size := range []int{0, 1, 1023, 1024, 1025, 2049, c.block - 1, c.block, c.block + 1, direct - 1024, direct, direct + 1, direct + 512*1024, direct + 600*1024 + 7, direct + 3<<20} {
				data := noise(size)
				if n%3 == 2 && size > 3*c.block { // a hole of whole blocks
					data = data[:c.block] + strings.Repeat("\x00", c.block) + data[2*c.block:]
				}
				names = append(names, bsdFile{uint32(10 + n), fmt.Sprint("size", size), data})
				all = append(all, uint32(10+n))
				contents[fmt.Sprint("size", size)] = data
			}
			a.begin(all, all)
			var list []name
			for _, f := range names {
				list = append(list, name{f.ino, 8, f.name})
			}
			a.put(2, 0o40755, string(a.dirData(2, 2, list...)), ext)
			for _, f := range names {
				a.put(f.ino, 0o100644, f.data, ext)
			}
			b := a.end()
			dir := filepath.Join(t.TempDir(), "root")
			s := must(t, Update, dir, inMemory(b))
			if whole := judge(t, s, dir, contents, what); whole != len(contents) {
				t.Errorf("%s: %d files of %d", what, whole, len(contents))
			}
			must(t, Compare, dir, inMemory(b))
			if !c.ufs2 {
				continue
			}
			for _, f := range append(names, bsdFile{name: "."}) {
				for attr, want := range map[string]string{"user.color": "blue", "user.large": noise(40_000)} {
					if v, err := getXattr(filepath.Join(dir, f.name), attr); string(v) != want {
						t.Errorf("%s: %s of %s has %d bytes, %v", what, attr, f.name, len(v), err)
					}
				}
			}
		}
	}
}

type bsdFile struct {
	ino  uint32
	name string
	data string
}

// TestFreeBSDDates: an archive of dump -r, which is friendly to rsync, has no dates at all.
func TestFreeBSDDates(t *testing.T) {
	a := newTape("ufs2", binary.LittleEndian)
	a.date = 0
	a.begin([]uint32{2, 3}, []uint32{2, 3})
	a.dir(2, 2, name{3, 8, "f"})
	a.file(3, "contents")
	dir := filepath.Join(t.TempDir(), "root")
	must(t, Update, dir, inMemory(a.end()))
	if got := read(t, filepath.Join(dir, "f")); got != "contents" {
		t.Errorf("%q", got)
	}
}
