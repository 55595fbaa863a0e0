package interop

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDumpVolume: the file system in a volume, at a moment and in a partition, and
// its levels.
func TestDumpVolume(t *testing.T) {
	l := newLake(t)
	tree := sampleTree(t)
	image := filepath.Join(t.TempDir(), "image")
	do(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, image, "64M")
	uri := l.volume("disk0", "64M")
	do(t, "nbdcopy", "--flush", image, uri)
	l.varve("snapshot", "disk0@first")
	nextSecond()
	dates, out := filepath.Join(t.TempDir(), "dumpdates"), filepath.Join(t.TempDir(), "archive")
	l.varve("dump", "-0u", "-D", dates, "-f", out, "disk0")
	dir := memoryDir(t)
	debian(t, dir, "-rf", out)
	want := diskTree(t, tree, false)
	wholeSeconds(want)
	same(t, restoredIn(t, dir), want)

	nextSecond()
	inMount(t, image, func(mounted string) { do(t, "sh", "-ec", "cd "+mounted+"; echo new > new; rm short; mv a renamed") })
	do(t, "nbdcopy", "--flush", image, uri)
	l.varve("dump", "-1u", "-D", dates, "-f", out, "disk0")
	debian(t, dir, "-rf", out)
	inMount(t, image, func(mounted string) {
		now := diskTree(t, mounted, false)
		delete(now, "/lost+found")
		same(t, restoredIn(t, dir), now)
	})
	l.refuses(17, "no entry for", "dump", "-1", "-D", dates+"-other", "-f", out, "disk0")
	l.refuses(10, "", "dump", "-0", "-f", out, "disk0:p1")

	l.varve("dump", "-0", "-f", out, "disk0@first")
	same(t, restored(t, out), want)
	size := strings.TrimSpace(l.varve("dump", "-S", "-0", "disk0@first"))
	i, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if n := atoi(t, size); float64(i.Size()) < 0.8*n || float64(i.Size()) > 1.1*n {
		t.Errorf("%d bytes; foretold about %.0f", i.Size(), n)
	}

	disk := filepath.Join(t.TempDir(), "disk")
	table := make([]byte, 1<<20)
	table[446+4], table[510], table[511] = 0x83, 0x55, 0xaa
	binary.LittleEndian.PutUint32(table[446+8:], 2048)
	binary.LittleEndian.PutUint32(table[446+12:], 64<<20/512)
	if err := os.WriteFile(disk, table, 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, "sh", "-ec", "cat "+image+" >> "+disk)
	archive, _ := dumpImage(t, disk+":p1", "-0")
	inMount(t, image, func(mounted string) {
		now := diskTree(t, mounted, false)
		delete(now, "/lost+found")
		same(t, restored(t, archive), now)
	})
}

func atoi(t *testing.T, s string) (n float64) {
	t.Helper()
	for _, c := range s {
		if c < '0' || c > '9' {
			t.Fatalf("%q is no number", s)
		}
		n = 10*n + float64(c-'0')
	}
	return n
}
