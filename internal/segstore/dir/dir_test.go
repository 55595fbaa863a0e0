package dir_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/segstoretest"
	"varve/internal/vfs"
)

const (
	segmentSize = segstoretest.SegmentSize
	capacity    = segstoretest.Capacity * segmentSize
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fail.Kind) {
	t.Helper()
	if !fail.Is(err, k) {
		t.Fatalf("error %v, want kind %v", err, k)
	}
}

func makeAndOpen(t *testing.T, fsys vfs.FS, root string) *dir.Store {
	t.Helper()
	check(t, dir.Make(fsys, root, segmentSize, capacity))
	return open(t, fsys, root)
}

func open(t *testing.T, fsys vfs.FS, root string) *dir.Store {
	t.Helper()
	s, err := dir.Open(fsys, root, dir.Options{LockNote: "pid 4711 since 09:12"})
	check(t, err)
	return s
}

// conform runs the suite on pools that disk gives a place for.
func conform(t *testing.T, disk func(t *testing.T) (fsys vfs.FS, root string)) {
	var fsys vfs.FS
	var root string
	segstoretest.Run(t, segstoretest.Harness{
		New: func(t *testing.T) segstore.Store {
			fsys, root = disk(t)
			return makeAndOpen(t, fsys, root)
		},
		Reopen: func(t *testing.T, s segstore.Store) segstore.Store {
			check(t, s.Close())
			return open(t, fsys, root)
		},
	})
}

func TestStoreOnDisk(t *testing.T) {
	conform(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), filepath.Join(t.TempDir(), "pool") })
}

func TestStoreInMemory(t *testing.T) {
	conform(t, func(t *testing.T) (vfs.FS, string) { return vfs.NewMem(1), "/pool" })
}

func TestMakeRefuses(t *testing.T) {
	disk := vfs.NewMem(1)
	check(t, disk.MkdirAll("/used", 0o700))
	_, err := disk.Open("/used/letter.txt", os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	err = dir.Make(disk, "/used", segmentSize, capacity)
	wantKind(t, err, fail.Exists)
	if want := `/used is not empty and not a pool: it holds "letter.txt"; choose an empty directory`; err.Error() != want {
		t.Errorf("%q", err)
	}
	check(t, disk.MkdirAll("/mount/lost+found", 0o700))
	check(t, dir.Make(disk, "/mount", segmentSize, capacity))
	wantKind(t, dir.Make(disk, "/new", segmentSize+1, capacity), fail.Invalid)
	wantKind(t, dir.Make(disk, "/new", 0, capacity), fail.Invalid)
	wantKind(t, dir.Make(disk, "/new", segmentSize, -1), fail.Invalid)
	s := makeAndOpen(t, disk, "/damaged")
	check(t, s.Create(1, segstore.Zeros))
	check(t, s.Close())
	check(t, disk.Remove("/damaged/layout"))
	check(t, disk.Remove("/damaged/lock"))
	wantKind(t, dir.Make(disk, "/damaged", segmentSize, capacity), fail.Exists)
}

// lateLock is a file system on which something happens before a lock is taken.
type lateLock struct {
	vfs.FS
	before func()
}

func (l *lateLock) Lock(name string, exclusive bool, note string) (io.Closer, error) {
	l.before()
	return l.FS.Lock(name, exclusive, note)
}

// What an interrupted making of a pool leaves is taken over, and only that.
func TestMakeAgain(t *testing.T) {
	begun := func(t *testing.T) (*vfs.Mem, *dir.Store) {
		disk := vfs.NewMem(1)
		s := makeAndOpen(t, disk, "/pool")
		check(t, s.Create(1, segstore.Zeros))
		check(t, s.WriteDurableAt(1, []byte("x"), 0))
		check(t, s.SetHint([]byte("hint")))
		return disk, s
	}
	refuses := func(t *testing.T, disk *vfs.Mem, kind fail.Kind, want string) {
		t.Helper()
		err := dir.Make(disk, "/pool", segmentSize, capacity)
		wantKind(t, err, kind)
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	t.Run("nothing was written", func(t *testing.T) {
		disk, s := begun(t)
		check(t, s.Close())
		check(t, dir.Make(disk, "/pool", 2*segmentSize, 2*capacity))
		s = open(t, disk, "/pool")
		space, err := s.Space()
		check(t, err)
		if list, err := s.List(); err != nil || len(list) != 0 || s.SegmentSize() != 2*segmentSize || space.Capacity != 2*capacity {
			t.Errorf("%v, %v; segments of %d, %+v", list, err, s.SegmentSize(), space)
		}
	})
	t.Run("a pool", func(t *testing.T) {
		disk, s := begun(t)
		check(t, s.WriteSuperblock([]byte("super")))
		check(t, s.Close())
		refuses(t, disk, fail.Exists, "pool /pool is a pool already")
	})
	t.Run("being made", func(t *testing.T) {
		disk, _ := begun(t)
		refuses(t, disk, fail.Busy, "pool /pool is served by pid 4711 since 09:12")
	})
	t.Run("made meanwhile", func(t *testing.T) {
		disk, s := begun(t)
		late := &lateLock{FS: disk, before: func() {
			check(t, s.WriteSuperblock([]byte("super")))
			check(t, s.Close())
		}}
		wantKind(t, dir.Make(late, "/pool", segmentSize, capacity), fail.Exists)
		if list, err := open(t, disk, "/pool").List(); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
	})
	t.Run("a log that was served", func(t *testing.T) {
		disk, s := begun(t)
		check(t, s.Create(2, segstore.Zeros))
		check(t, s.Close())
		refuses(t, disk, fail.Exists, "/pool has no superblock, but a log that may hold data: 00000000000000000002.seg; "+
			"it may be a damaged pool: move it away or choose another directory")
		s = open(t, disk, "/pool")
		if list, err := s.List(); err != nil || len(list) != 2 {
			t.Errorf("%v, %v", list, err)
		}
	})
	t.Run("another layout", func(t *testing.T) {
		disk, s := begun(t)
		check(t, s.Close())
		f, err := disk.Open("/pool/layout", os.O_RDWR|os.O_TRUNC, 0)
		check(t, err)
		_, err = f.WriteAt([]byte("varve pool layout 2\n"), 0)
		check(t, err)
		wantKind(t, dir.Make(disk, "/pool", segmentSize, capacity), fail.Unsupported)
	})
	t.Run("something else beside it", func(t *testing.T) {
		disk, s := begun(t)
		check(t, s.Close())
		_, err := disk.Open("/pool/letter.txt", os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
		refuses(t, disk, fail.Exists, `/pool is not empty and not a pool: it holds "letter.txt"; choose an empty directory`)
	})
}

func TestMakeOnDiskIsPrivate(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "pool")
	check(t, dir.Make(vfs.OS(), root, segmentSize, capacity))
	for _, name := range []string{"", "log"} {
		if fi, err := os.Stat(filepath.Join(root, name)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
}

func TestDefaultCapacity(t *testing.T) {
	disk := vfs.NewMem(1)
	disk.SetSpace(100 << 20)
	check(t, dir.Make(disk, "/pool", segmentSize, 0))
	space, err := open(t, disk, "/pool").Space()
	check(t, err)
	if space.Capacity < 79<<20 || space.Capacity > 80<<20 {
		t.Errorf("capacity %d of %d", space.Capacity, 100<<20)
	}
}

func TestOpenRefuses(t *testing.T) {
	disk := vfs.NewMem(1)
	check(t, disk.MkdirAll("/empty", 0o700))
	for _, root := range []string{"/empty", "/missing"} {
		_, err := dir.Open(disk, root, dir.Options{})
		wantKind(t, err, fail.NotFound)
		if want := root + " is not a pool; varve init " + root + " makes one"; err.Error() != want {
			t.Errorf("%q", err)
		}
	}
	first := makeAndOpen(t, disk, "/pool")
	_, err := dir.Open(disk, "/pool", dir.Options{LockNote: "me"})
	wantKind(t, err, fail.Busy)
	if want := "pool /pool is served by pid 4711 since 09:12"; err.Error() != want {
		t.Errorf("%q", err)
	}
	_, err = dir.Open(disk, "/pool", dir.Options{ReadOnly: true})
	wantKind(t, err, fail.Busy)
	check(t, first.Close())
	reader, err := dir.Open(disk, "/pool", dir.Options{ReadOnly: true})
	check(t, err)
	another, err := dir.Open(disk, "/pool", dir.Options{ReadOnly: true})
	check(t, err)
	_, err = dir.Open(disk, "/pool", dir.Options{LockNote: "me"})
	wantKind(t, err, fail.Busy)
	check(t, reader.Close())
	check(t, another.Close())
	check(t, open(t, disk, "/pool").Close())
}

func TestReadOnly(t *testing.T) {
	disk := vfs.NewMem(1)
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	check(t, s.WriteDurableAt(1, []byte("x"), 0))
	check(t, s.Close())
	r, err := dir.Open(disk, "/pool", dir.Options{ReadOnly: true})
	check(t, err)
	defer r.Close()
	p := make([]byte, 1)
	if check(t, r.ReadAt(1, p, 0)); p[0] != 'x' {
		t.Errorf("read %q", p)
	}
	ops := disk.Ops()
	for i, err := range []error{
		r.WriteSuperblock(nil), r.SetHint(nil), r.Create(2, segstore.Zeros), r.Recycle(1, 2), r.Remove(1), r.Sync(1),
		r.WriteAt(1, p, 0), r.WriteDurableAt(1, p, 0), r.PunchHole(1, 0, 1), r.SetCapacity(1 << 30),
	} {
		if !fail.Is(err, fail.ReadOnly) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if disk.Ops() != ops {
		t.Error("a read-only store changed something")
	}
}

func TestSetCapacity(t *testing.T) {
	disk := vfs.NewMem(1)
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	check(t, s.Create(2, segstore.Zeros))
	check(t, s.SetCapacity(segmentSize))
	wantKind(t, s.SetCapacity(0), fail.Invalid)
	wantKind(t, s.SetCapacity(1<<40), fail.NoSpace)
	wantKind(t, s.Create(3, segstore.Zeros), fail.NoSpace)
	check(t, s.Close())
	s = open(t, disk, "/pool")
	space, err := s.Space()
	check(t, err)
	if space.Capacity != segmentSize || space.Free >= segmentSize {
		t.Errorf("%+v", space)
	}
	wantKind(t, s.Create(3, segstore.Zeros), fail.NoSpace)
	check(t, s.SetCapacity(3*segmentSize))
	check(t, s.Create(3, segstore.Zeros))
	wantKind(t, s.Create(4, segstore.Zeros), fail.NoSpace)
}

// Who opens a pool that is full can make four segments to begin with, and no
// more; when there is room again, the capacity holds.
func TestGrace(t *testing.T) {
	disk := vfs.NewMem(1)
	const segments = 64
	check(t, dir.Make(disk, "/pool", segmentSize, segments*segmentSize))
	s := open(t, disk, "/pool")
	for n := range uint64(segments) {
		check(t, s.Create(n+1, segstore.Zeros))
	}
	wantKind(t, s.Create(segments+1, segstore.Zeros), fail.NoSpace)
	check(t, s.Close())
	s = open(t, disk, "/pool")
	for n := range uint64(4) {
		check(t, s.Create(segments+1+n, segstore.Zeros))
	}
	wantKind(t, s.Create(segments+5, segstore.Zeros), fail.NoSpace)
	for n := range uint64(8) {
		check(t, s.Remove(n+1))
	}
	if space, err := s.Space(); err != nil || space.Free != 4*segmentSize {
		t.Errorf("%+v %v, want %d bytes free", space, err, 4*segmentSize)
	}
	for n := range uint64(4) {
		check(t, s.Create(segments+5+n, segstore.Zeros))
	}
	wantKind(t, s.Create(segments+9, segstore.Zeros), fail.NoSpace)
}

// A pool leaves 5 % of its file system alone, whatever its capacity.
func TestFloor(t *testing.T) {
	disk := vfs.NewMem(1)
	disk.SetSpace(40 * segmentSize)
	check(t, dir.Make(disk, "/pool", segmentSize, 1<<40))
	s := open(t, disk, "/pool")
	made := uint64(0)
	for {
		err := s.Create(made+1, segstore.Zeros)
		if fail.Is(err, fail.NoSpace) {
			break
		}
		check(t, err)
		made++
	}
	if made != 37 { // the small files of the pool take a part of one
		t.Errorf("%d segments in room for 40", made)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	rules := []vfs.Rule{
		{Op: vfs.OpOpen, Path: "*.seg.new", Err: syscall.EIO},
		{Op: vfs.OpAllocate, Err: syscall.ENOSPC},
		{Op: vfs.OpWrite, Err: syscall.ENOSPC, Short: true},
		{Op: vfs.OpSync, Err: syscall.EIO},
		{Op: vfs.OpRename, Err: syscall.EIO},
		{Op: vfs.OpSyncDir, Err: syscall.EIO},
		{Op: vfs.OpSpace, Err: syscall.EIO},
	}
	disk := vfs.NewFaulty(vfs.NewMem(1))
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	before, err := s.Space()
	check(t, err)
	for _, rule := range rules {
		fault := disk.Add(rule)
		err := s.Create(2, segstore.Written)
		disk.End(fault)
		if err == nil || fault.Hits() == 0 {
			t.Fatalf("%s: %v, %d hits", rule.Op, err, fault.Hits())
		}
		if rule.Err == syscall.ENOSPC {
			wantKind(t, err, fail.NoSpace)
		}
		after, err := s.Space()
		check(t, err)
		list, err := disk.ReadDir("/pool/log")
		check(t, err)
		if after != before || len(list) != 1 {
			t.Errorf("%s: space %+v, before %+v; files %+v", rule.Op, after, before, list)
		}
	}
	check(t, s.Create(2, segstore.Written))
}

func TestFailedRecycleAndRemove(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(1))
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	check(t, s.WriteAt(1, []byte("kept"), 0))
	for _, op := range []vfs.Op{vfs.OpAllocate, vfs.OpRename, vfs.OpRemove} {
		fault := disk.Add(vfs.Rule{Op: op, Err: syscall.EIO})
		err := s.Recycle(1, 2)
		if op == vfs.OpRemove {
			err = s.Remove(2)
		}
		wantKind(t, err, fail.IO)
		disk.End(fault)
		if op == vfs.OpRename {
			check(t, s.Recycle(1, 2))
		}
	}
	p := make([]byte, 4)
	if check(t, s.ReadAt(2, p, 0)); string(p) != "kept" {
		t.Errorf("read %q", p)
	}
	space, err := s.Space()
	if err != nil || space.Used != segmentSize {
		t.Errorf("%+v, %v", space, err)
	}
}

// Recycling allocates again what was punched, or does not happen.
func TestRecycleNeedsSpaceForHoles(t *testing.T) {
	disk := vfs.NewMem(1)
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	check(t, s.PunchHole(1, 0, segmentSize))
	check(t, s.SetCapacity(segmentSize))
	check(t, s.Create(2, segstore.Zeros))
	wantKind(t, s.Recycle(1, 3), fail.NoSpace)
	check(t, s.ReadAt(1, make([]byte, 4096), 0))
	check(t, s.Remove(2))
	check(t, s.Recycle(1, 3))
	space, err := s.Space()
	check(t, err)
	if space.Used != segmentSize {
		t.Errorf("%+v", space)
	}
}

func TestDamage(t *testing.T) {
	disk := vfs.NewMem(1)
	s := makeAndOpen(t, disk, "/pool")
	check(t, s.Create(1, segstore.Zeros))
	f, err := disk.Open("/pool/log/00000000000000000001.seg", os.O_RDWR, 0)
	check(t, err)
	check(t, f.Truncate(5000))
	err = s.ReadAt(1, make([]byte, 4096), 4096)
	wantKind(t, err, fail.Corrupt)
	if want := "/pool/log/00000000000000000001.seg ends at byte 5000"; err.Error() != want {
		t.Errorf("%q", err)
	}
	if ok, err := s.TryReadAt(1, make([]byte, 4096), 4096); ok || err != nil {
		t.Errorf("without waiting: %v, %v", ok, err)
	}
	for _, name := range []string{"notes", "1.seg", "00000000000000000000.seg", "0000000000000000000x.seg", "99999999999999999999.seg", "00000000000000000009.seg.new"} {
		_, err := disk.Open("/pool/log/"+name, os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
	}
	check(t, s.Close())
	s = open(t, disk, "/pool")
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Number != 1 {
		t.Errorf("segments %+v, %v", list, err)
	}
	if _, err := disk.Stat("/pool/log/00000000000000000009.seg.new"); !fail.Is(err, fail.NotFound) {
		t.Errorf("what was being made is still there: %v", err)
	}
	big, err := disk.Open("/pool/pool", os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	check(t, big.Truncate(1<<30))
	_, err = s.Superblock()
	wantKind(t, err, fail.Corrupt)
}

// counting counts the files of segments that are open.
type counting struct {
	vfs.FS
	open, most atomic.Int64
}

type countedFile struct {
	vfs.File
	c *counting
}

func (c *counting) Open(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.Open(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return f, err
	}
	n := c.open.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	return &countedFile{f, c}, nil
}

func (f *countedFile) Close() error {
	f.c.open.Add(-1)
	return f.File.Close()
}

func manySegments(t *testing.T, n uint64) (*dir.Store, *counting) {
	t.Helper()
	disk := &counting{FS: vfs.NewMem(1)}
	check(t, dir.Make(disk, "/pool", segstore.MinSegmentSize, 1<<40))
	s := open(t, disk, "/pool")
	for i := range n {
		check(t, s.Create(i+1, segstore.Zeros))
		check(t, s.WriteDurableAt(i+1, []byte{byte(i), byte(i >> 8)}, 0))
	}
	return s, disk
}

func TestOpenFilesAreBounded(t *testing.T) {
	const bound = 256
	s, disk := manySegments(t, 600)
	if disk.most.Load() > bound+1 { // one is being exchanged
		t.Fatalf("%d files open", disk.most.Load())
	}
	// Many goroutines fight for the table; nobody loses a file while reading.
	var group sync.WaitGroup
	for w := range uint64(8) {
		group.Go(func() {
			p := make([]byte, 2)
			for i := range uint64(1500) {
				n := (i*7+w*75)%600 + 1
				if err := s.ReadAt(n, p, 0); err != nil || !bytes.Equal(p, []byte{byte(n - 1), byte((n - 1) >> 8)}) {
					t.Errorf("segment %d: %x, %v", n, p, err)
					return
				}
			}
		})
	}
	group.Wait()
	if disk.open.Load() > bound {
		t.Errorf("%d files stay open", disk.open.Load())
	}
	check(t, s.Close())
	if disk.open.Load() != 0 {
		t.Errorf("%d files open after Close", disk.open.Load())
	}
}

// The kernel reports a failed writeback only through a file that was open: so
// files with unsynced writes stay open, over the bound if need be.
func TestUnsyncedFilesStayOpen(t *testing.T) {
	const bound, count = 256, 300
	s, disk := manySegments(t, count)
	for n := uint64(1); n <= count; n++ {
		check(t, s.WriteAt(n, []byte("dirty"), 100))
	}
	if got := disk.open.Load(); got != count {
		t.Errorf("%d of %d unsynced files are open", got, count)
	}
	for n := uint64(1); n <= count; n++ {
		check(t, s.Sync(n))
	}
	check(t, s.Create(1000, segstore.Zeros))
	check(t, s.ReadAt(1000, make([]byte, 1), 0))
	if got := disk.open.Load(); got > bound {
		t.Errorf("%d files stay open after all were synced", got)
	}
	check(t, s.Close())
}

// What is old is punched, and nobody ever syncs it again: that keeps no file open.
func TestPunchedFilesClose(t *testing.T) {
	const bound, count = 256, 300
	s, disk := manySegments(t, count)
	for n := uint64(1); n <= count; n++ {
		check(t, s.PunchHole(n, 0, 4096))
	}
	if got := disk.open.Load(); got > bound {
		t.Errorf("%d files stay open", got)
	}
	check(t, s.Close())
}

func TestHotPathOnDiskAllocatesNothing(t *testing.T) {
	s := makeAndOpen(t, vfs.OS(), filepath.Join(t.TempDir(), "pool"))
	defer s.Close()
	check(t, s.Create(1000, segstore.Written))
	p := make([]byte, 4096)
	check(t, s.WriteDurableAt(1000, p, 0))
	allocs := testing.AllocsPerRun(20, func() {
		check(t, s.WriteAt(1000, p, 0))
		check(t, s.WriteDurableAt(1000, p, 4096))
		check(t, s.Sync(1000))
		check(t, s.ReadAt(1000, p, 0))
		_, err := s.TryReadAt(1000, p, 0)
		check(t, err)
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
