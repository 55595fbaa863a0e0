package dump

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/portable.golden and linux.golden anew")

// TestGolden pins every byte of small archives. What FreeBSD's restore needs of the
// portable one is in it: the magic of UFS2; old and 64-bit times and dates; flags 2,
// and 1 in TAPE; sub-second fields below 10^6; attributes by extsize, after the
// data, of a directory and of an empty file too; a last record that is no hole.
func TestGolden(t *testing.T) {
	f := newFake()
	d := f.add(3, RootIno, "dir", ModeDir|0o750)
	d.xattr("user.of", []byte("a directory"))
	n := f.add(4, 3, "file", ModeFile|0o4711)
	n.put(0, []byte("begin"))
	n.put(2048, []byte("middle"))
	n.Size = 5000 // and a hole
	n.UID, n.GID, n.Nlink = 100_000, 70_000, 2
	n.Atime, n.Mtime, n.Ctime, n.Birth = Time{-315619200, 123456789}, Time{1 << 33, 987654321}, Time{5, 6}, Time{7, 8}
	n.xattr("security.selinux", []byte("label"))
	n.xattr("system.posix_acl_access", []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255})
	n.xattr("user.color", []byte("blue"))
	f.name(RootIno, "link", 4)
	f.add(5, RootIno, "empty", ModeFile|0o600).xattr("user.x", nil)
	l := f.add(6, RootIno, "symlink", ModeLink|0o777)
	l.target, l.Size = "dir/file", 8
	c := f.add(7, 3, "wide", ModeChar|0o660)
	c.Major, c.Minor, c.Flags = 259, 1<<20+1, Nodump
	for p, name := range map[Profile]string{Portable: "portable", Linux: "linux"} {
		o := options(p)
		o.Blocking, o.Level, o.DDate, o.Label = 2, 3, 1600000000, "fifteen letters"
		got := sketch(written(t, f, Since{Level: 3, Time: 1, Honor: 4}, o))
		file := "testdata/" + name + ".golden"
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what it was:\n%s", file, firstDifference(got, want))
		}
	}
}

// sketch draws an archive: per record the lines of 16 bytes in which something is.
func sketch(b []byte) []byte {
	var out bytes.Buffer
	for r := 0; r < len(b); r += RecordSize {
		fmt.Fprintf(&out, "record %d\n", r/RecordSize)
		for at := 0; at < RecordSize; at += 16 {
			if row := b[r+at : r+at+16]; bytes.Trim(row, "\x00") != nil {
				fmt.Fprintf(&out, "%5d  % x\n", at, row)
			}
		}
	}
	return out.Bytes()
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(g), len(w))
}
