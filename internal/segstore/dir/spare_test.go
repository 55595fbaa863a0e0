package dir_test

import (
	"bytes"
	"io/fs"
	"path"
	"sync/atomic"
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
	if err := s.Create(n, segstore.Anything); err != nil {
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

// When somebody else has filled the file system there are segments ready; what is
// removed then takes their place, and nobody else gets it. They read as zeros where
// that is asked for.
func TestSpare(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, 1<<30)
	used := usedOf(t, disk)
	disk.SetSpace(used) // to the last byte
	if got := free(t, s); got != 3*spareSize {
		t.Fatalf("%d bytes are free, want three spare segments", got)
	}
	for n := range uint64(3) {
		if err := s.Create(n+10, segstore.Content(n)); err != nil {
			t.Fatal(err)
		}
		wantZeros(t, s, n+10)
	}
	if err := s.Create(20, segstore.Anything); !fail.Is(err, fail.NoSpace) {
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
	if err := s.Create(21, segstore.Zeros); err != nil {
		t.Fatal(err)
	}
	wantZeros(t, s, 21)
}

func wantZeros(t *testing.T, s segstore.Store, n uint64) {
	t.Helper()
	buf := make([]byte, spareSize)
	if err := s.ReadAt(n, buf, 0); err != nil || !bytes.Equal(buf, make([]byte, spareSize)) {
		t.Fatalf("segment %d does not read as zeros: %v", n, err)
	}
}

// What is removed is used again, up to a bound, where nobody minds what is in it;
// holes that were punched get their space back. So the disk neither frees nor
// allocates anything.
func TestReuse(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, 1<<30)
	defer s.Close()
	const segments = 60
	for n := uint64(5); n <= segments; n++ {
		make1(t, s, n)
	}
	if err := s.PunchHole(1, 4096, 8192); err != nil {
		t.Fatal(err)
	}
	before, sp := usedOf(t, disk), free(t, s)
	for n := uint64(1); n <= 28; n++ {
		if err := s.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	if got := usedOf(t, disk); got != before+8192 {
		t.Fatalf("the pool occupies %d bytes after removals, want the %d of before and two blocks", got, before)
	}
	if got := free(t, s); got != sp+28*spareSize-8192 {
		t.Fatalf("%d bytes are free, want 28 segments more than %d", got, sp)
	}
	if err := s.Remove(29); err != nil {
		t.Fatal(err)
	}
	if got := usedOf(t, disk); got != before+8192-spareSize {
		t.Fatalf("the pool occupies %d bytes, want a segment less: more than are kept were removed", got)
	}
	for n := range uint64(28) {
		if err := s.Create(segments+1+n, segstore.Anything+segstore.Content(n%2)); err != nil {
			t.Fatal(err)
		}
	}
	// That of which a part was never written again is no segment that was written.
	if got := usedOf(t, disk); got < before+8192-spareSize || got > before+8192 {
		t.Fatalf("the pool occupies %d bytes, want what was there to be used again", got)
	}
	if err := s.Create(1000, segstore.Zeros); err != nil {
		t.Fatal(err)
	}
	wantZeros(t, s, 1000)
}

// A segment that is removed while somebody reads it keeps its bytes for him.
func TestReaderKeepsItsBytes(t *testing.T) {
	disk := &slowReads{FS: vfs.NewMem(1), reading: make(chan struct{}), resume: make(chan struct{})}
	if err := dir.Make(disk, "/pool", spareSize, 1<<30); err != nil {
		t.Fatal(err)
	}
	s, err := dir.Open(disk, "/pool", dir.Options{Spare: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := uint64(1); n <= 4; n++ {
		make1(t, s, n)
	}
	disk.slow.Store(true)
	read := make(chan error)
	buf := make([]byte, spareSize)
	go func() { read <- s.ReadAt(1, buf, 0) }()
	<-disk.reading
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	for n := uint64(5); n <= 40; n++ { // one of them would have got its file
		make1(t, s, n)
		if err := s.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	close(disk.resume)
	if err := <-read; err != nil || !bytes.Equal(buf, bytes.Repeat([]byte{1}, spareSize)) {
		t.Errorf("a segment changed under who reads it: %v, byte %d", err, buf[0])
	}
}

// slowReads makes the first read of a segment wait, once it is slow.
type slowReads struct {
	vfs.FS
	slow            atomic.Bool
	reading, resume chan struct{}
}

func (f *slowReads) Open(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.Open(name, flag, perm)
	return &slowFile{file, f}, err
}

type slowFile struct {
	vfs.File
	fsys *slowReads
}

func (f *slowFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fsys.slow.CompareAndSwap(true, false) {
		close(f.fsys.reading)
		<-f.fsys.resume
	}
	return f.File.ReadAt(p, off)
}

// greedy is a disk on which somebody else takes at once whatever becomes free.
type greedy struct {
	vfs.FS
	disk *vfs.Mem
	t    *testing.T
}

func (f *greedy) Open(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.Open(name, flag, perm)
	return &greedyFile{file, f}, err
}

type greedyFile struct {
	vfs.File
	fsys *greedy
}

func (f *greedyFile) PunchHole(off, n int64) error {
	err := f.File.PunchHole(off, n)
	f.fsys.disk.SetSpace(usedOf(f.fsys.t, f.fsys.disk))
	return err
}

// What a spare segment occupies is ours while it becomes zeros, too.
func TestSpareKeepsItsSpace(t *testing.T) {
	disk := vfs.NewMem(1)
	withSpare(t, disk, 1<<30).Close()
	disk.SetSpace(usedOf(t, disk))
	s, err := dir.Open(&greedy{disk, disk, t}, "/pool", dir.Options{Spare: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range uint64(3) {
		if err := s.Create(n+10, segstore.Zeros); err != nil {
			t.Fatal(err)
		}
		wantZeros(t, s, n+10)
	}
}

// Where somebody removed the spare segments, others are made.
func TestSpareRemoved(t *testing.T) {
	for c := range segstore.Written + 1 {
		disk := vfs.NewMem(1)
		const segments = 16
		s := withSpare(t, disk, segments*spareSize)
		defer s.Close()
		list, err := disk.ReadDir("/pool/log")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if path.Ext(e.Name) == ".spare" {
				if err := disk.Remove("/pool/log/" + e.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := uint64(5); n <= segments; n++ {
			if err := s.Create(n, c); err != nil {
				t.Fatalf("segment %d with content %d: %v", n, c, err)
			}
		}
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
	if err := s.Create(segments+1, segstore.Zeros); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a segment beyond the capacity: %v", err)
	}
}

// A pool opens on a disk where not even the note of who serves it has room.
func TestOpenOnFullDisk(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withSpare(t, disk, 1<<30)
	s.Close()
	disk.SetSpace(usedOf(t, disk))
	for range 2 { // the second time it is not the first one's
		s, err := dir.Open(disk, "/pool", dir.Options{Spare: 3, LockNote: "pid 1"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dir.Open(disk, "/pool", dir.Options{}); !fail.Is(err, fail.Busy) {
			t.Errorf("opened twice: %v", err)
		}
		s.Close()
	}
}

// withReuse opens a pool of 256 segments that has ten, and more spare ones than it
// needs.
func withReuse(t *testing.T, disk *vfs.Mem) *dir.Store {
	t.Helper()
	s := withSpare(t, disk, 256*spareSize)
	for n := uint64(5); n <= 30; n++ {
		make1(t, s, n)
	}
	for n := uint64(11); n <= 30; n++ {
		if err := s.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	if used := usedOf(t, disk); used < 30*spareSize {
		t.Fatalf("nothing is spare: %d", used)
	}
	return s
}

func wantWithin(t *testing.T, disk *vfs.Mem, segments int64) {
	t.Helper()
	if used := usedOf(t, disk); used > segments*spareSize+spareSize/2 {
		t.Errorf("with room for %d segments of %d the pool occupies %d bytes", segments, spareSize, used)
	}
}

// What a smaller capacity has no room for goes back to the file system: spare
// segments at once, and others when they are removed.
func TestSpareShrink(t *testing.T) {
	disk := vfs.NewMem(1)
	s := withReuse(t, disk)
	defer s.Close()
	if err := s.SetCapacity(16 * spareSize); err != nil {
		t.Fatal(err)
	}
	wantWithin(t, disk, 16)
	if err := s.SetCapacity(5 * spareSize); err != nil {
		t.Fatal(err)
	}
	if free(t, s) == 0 {
		t.Error("nothing is free with which space could be freed")
	}
	for n := uint64(1); n <= 6; n++ {
		if err := s.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	wantWithin(t, disk, 5)
}

// A crash while the capacity changes leaves the old one or the new one, and what
// this one has no room for goes when the pool is opened.
func TestCrashInSetCapacity(t *testing.T) {
	var old, changed int
	for n := 1; ; n++ {
		disk := vfs.NewMem(uint64(n))
		s := withReuse(t, disk)
		if err := disk.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		disk.CrashAfter(n)
		done := s.SetCapacity(16 * spareSize)
		disk = disk.Crash(nil)
		s, err := dir.Open(disk, "/pool", dir.Options{Spare: 3})
		if err != nil {
			t.Fatalf("crash in call %d: %v", n, err)
		}
		sp, err := s.Space()
		switch {
		case err != nil:
			t.Fatal(err)
		case sp.Capacity == 16*spareSize:
			changed++
			wantWithin(t, disk, 16)
		case sp.Capacity != 256*spareSize || done == nil:
			t.Fatalf("crash in call %d: %+v, %v", n, sp, done)
		default:
			old++
		}
		s.Close()
		if done == nil {
			break
		}
	}
	if old == 0 || changed < 3 {
		t.Errorf("%d crashes before the change, %d after", old, changed)
	}
}
