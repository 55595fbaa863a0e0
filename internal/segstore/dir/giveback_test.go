package dir_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"varve/internal/vfs"
)

// What is kept of removed segments is the file system's after GiveBack, but for the
// spare segments that must be there; and these hold nothing of what was removed.
func TestGiveBack(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, 1<<30) // 4 segments, and 3 spare ones
	defer s.Close()
	check(t, s.GiveBack())
	want := usedOf(t, disk)
	fill := func() {
		for n := uint64(5); n <= 30; n++ {
			make1(t, s, n)
		}
		for n := uint64(5); n <= 30; n++ {
			check(t, s.Remove(n))
		}
	}
	fill()
	if got := usedOf(t, disk); got == want {
		t.Fatal("nothing was kept of what was removed")
	}
	space := free(t, s)
	check(t, s.GiveBack())
	if got := usedOf(t, disk); got != want {
		t.Errorf("the pool occupies %d bytes afterwards, want the %d of before", got, want)
	}
	if got := free(t, s); got != space {
		t.Errorf("%d bytes are free, %d were", got, space)
	}
	fill()
	for n := uint64(31); n <= 56; n++ { // any of the spare ones: so others stay
		make1(t, s, n)
	}
	check(t, s.GiveBack())
	list, err := disk.ReadDir("/pool/log")
	check(t, err)
	spares := 0
	for _, f := range list {
		if !strings.HasSuffix(f.Name, ".spare") {
			continue
		}
		spares++
		if p := contents(t, disk, "/pool/log/"+f.Name); !bytes.Equal(p, make([]byte, spareSize)) {
			t.Errorf("%s still holds what was removed", f.Name)
		}
	}
	if spares != 3 {
		t.Errorf("%d spare segments, want 3", spares)
	}
}

func contents(t *testing.T, disk *vfs.Mem, name string) []byte {
	t.Helper()
	f, err := disk.Open(name, os.O_RDONLY, 0)
	check(t, err)
	defer f.Close()
	p := make([]byte, spareSize)
	_, err = f.ReadAt(p, 0)
	check(t, err)
	return p
}
