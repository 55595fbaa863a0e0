package dir_test

import (
	"bytes"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

const spareSize = 512 << 10

// withSpare opens a pool that has got its spare segments.
func withSpare(t *testing.T, disk *vfs.Mem, capacity int64) *dir.Store {
	t.Helper()
	if err := dir.Make(disk, "/pool", spareSize, capacity); err != nil {
		t.Fatal(err)
	}
	s, err := dir.Open(disk, "/pool", dir.Options{Spare: 3})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(4) {
		make1(t, s, n+1)
	}
	return s
}

func make1(t *testing.T, s *dir.Store, n uint64) {
	t.Helper()
	if err := s.Create(n, false); err != nil {
		t.Fatal(err)
	}
	p := bytes.Repeat([]byte{byte(n)}, spareSize)
	if err := s.WriteAt(n, p, 0); err != nil {
		t.Fatal(err)
	}
}

func usedOf(t *testing.T, disk *vfs.Mem) int64 {
	t.Helper()
	free, total, err := disk.Space("/pool")
	if err != nil {
		t.Fatal(err)
	}
	return total - free
}

func free(t *testing.T, s segstore.Store) int64 {
	t.Helper()
	sp, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	return sp.Free
}

// When somebody else has filled the file system there are segments ready, which
// read as zeros; what is removed then takes their place, and nobody else gets it.
func TestSpare(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, 1<<30)
	used := usedOf(t, disk)
	disk.SetSpace(used) // to the last byte
	if got := free(t, s); got != 3*spareSize {
		t.Fatalf("%d bytes are free, want three spare segments", got)
	}
	buf := make([]byte, spareSize)
	for n := range uint64(3) {
		if err := s.Create(n+10, true); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadAt(n+10, buf, 0); err != nil || !bytes.Equal(buf, make([]byte, spareSize)) {
			t.Fatalf("segment %d does not read as zeros: %v", n+10, err)
		}
	}
	if err := s.Create(20, false); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a segment on a full disk without a spare one: %v", err)
	}
	for n := range uint64(2) {
		if err := s.Remove(n + 1); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s, err := dir.Open(disk, "/pool", dir.Options{Spare: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := free(t, s); got != 2*spareSize {
		t.Fatalf("%d bytes are free, want what was removed", got)
	}
	if err := s.Create(21, false); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadAt(21, buf, 0); err != nil || !bytes.Equal(buf, make([]byte, spareSize)) {
		t.Fatalf("a segment that was another does not read as zeros: %v", err)
	}
}

// Spare segments never make a pool larger than its capacity.
func TestSpareInCapacity(t *testing.T) {
	const segments = 16
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, segments*spareSize)
	defer s.Close()
	for n := uint64(5); n <= segments; n++ {
		make1(t, s, n)
		if used := usedOf(t, disk); used > segments*spareSize+spareSize/2 {
			t.Fatalf("with %d segments of %d the pool occupies %d bytes", n, segments, used)
		}
	}
	if err := s.Create(segments+1, false); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a segment beyond the capacity: %v", err)
	}
}
