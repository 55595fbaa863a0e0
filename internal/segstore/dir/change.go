package dir

import (
	"unsafe"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/vfs"
)

// zeros is what Create fills segments with, a piece at a time: aligned, so that
// it goes past the page cache.
var zeros = func() []byte {
	const size = 1 << 20
	at := uintptr(unsafe.Pointer(&nothing)) % segstore.BlockSize
	return nothing[segstore.BlockSize-at:][:size]
}()

var nothing [1<<20 + segstore.BlockSize]byte

// Create implements segstore.Store.
func (s *Store) Create(n uint64, c segstore.Content) error {
	if err := segstore.CheckNumber(n); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	if !s.segments.reserve(n) {
		return fail.New(fail.Exists, "segment %d exists", n)
	}
	size := s.SegmentSize()
	spare, err := s.reserveSegment(n, c)
	if err == nil {
		if spare {
			spare, err = s.fromSpare(n, c)
		}
		if !spare && err == nil {
			err = s.build(n, c == segstore.Written)
		}
		if err != nil {
			s.addUsed(-size)
		}
	}
	if err != nil {
		s.segments.free(n)
		return err
	}
	s.segments.put(n, size)
	s.keepSpare()
	return nil
}

// build makes the file of a segment, or leaves nothing.
func (s *Store) build(n uint64, filled bool) error {
	name := s.path(n)
	err := s.fill(name+newSuffix, filled)
	if err == nil {
		err = s.fsys.Rename(name+newSuffix, name)
	}
	if err == nil {
		if err = s.fsys.SyncDir(s.logDir()); err != nil {
			s.fsys.Remove(name) // nobody has been promised it
		}
		return err
	}
	s.fsys.Remove(name + newSuffix) // or the next Open does
	return err
}

// fill makes a file of a segment's size, with all its space, durably.
func (s *Store) fill(name string, filled bool) error {
	f, err := s.fsys.Open(name, readWrite|create|truncate, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	size := s.SegmentSize()
	if err := f.Allocate(0, size); err != nil {
		return err
	}
	for off := int64(0); filled && off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(size-off, int64(len(zeros)))], off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Recycle implements segstore.Store.
func (s *Store) Recycle(old, new uint64) error {
	if err := segstore.CheckNumber(new); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	if !s.segments.reserve(new) {
		return fail.New(fail.Exists, "segment %d exists", new)
	}
	seg, _ := s.seize(old)
	if seg == nil {
		s.segments.free(new)
		return missing(old)
	}
	if err := s.fillHoles(seg); err != nil {
		s.segments.put(old, seg.allocated)
		s.segments.free(new)
		return err
	}
	if err := s.fsys.Rename(s.path(old), s.path(new)); err != nil {
		s.segments.put(old, seg.allocated)
		s.segments.free(new)
		return err
	}
	s.segments.free(old)
	s.segments.put(new, seg.allocated)
	return s.fsys.SyncDir(s.logDir())
}

// fillHoles allocates again what was punched out of a segment that was seized,
// so that no later write can lack space. It asks the file system even if the
// sizes agree, since blocks that hold its own data count too.
func (s *Store) fillHoles(seg *segment) error {
	size := s.SegmentSize()
	grown := max(0, size-seg.allocated)
	if err := s.reserveGrowth(seg.number, grown); err != nil {
		return err
	}
	if err := s.allocate(s.path(seg.number)); err != nil {
		s.addUsed(-grown)
		return err
	}
	seg.allocated += grown
	return nil
}

// Remove implements segstore.Store.
func (s *Store) Remove(n uint64) error {
	if err := s.writable(); err != nil {
		return err
	}
	seg, idle := s.seize(n)
	if seg == nil {
		return missing(n)
	}
	if err := s.discard(seg, idle); err != nil {
		s.segments.put(n, seg.allocated)
		return err
	}
	s.segments.free(n)
	s.addUsed(-seg.allocated)
	return s.fsys.SyncDir(s.logDir())
}

// discard lets the file of a segment that was seized go. Where somebody still
// reads it, nobody else may get it.
func (s *Store) discard(seg *segment, idle bool) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if idle && s.spareFrom(seg) {
		return nil
	}
	return s.fsys.Remove(s.path(seg.number))
}

// PunchHole implements segstore.Store.
func (s *Store) PunchHole(n uint64, off, length int64) error {
	seg, err := s.edit(n, off, length, func(f vfs.File) error { return f.PunchHole(off, length) })
	if err != nil {
		return err
	}
	return s.measure(seg)
}

// Zero implements segstore.Store.
func (s *Store) Zero(n uint64, off, length int64) error {
	_, err := s.edit(n, off, length, func(f vfs.File) error {
		if err := f.Zero(off, length); err != nil {
			return err
		}
		return f.Sync()
	})
	return err
}

// edit changes a range of a segment's file other than by writing: there is nothing of
// which the kernel could tell later, and the file need not stay open.
func (s *Store) edit(n uint64, off, length int64, change func(vfs.File) error) (*segment, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if err := segstore.CheckRange(n, off, length, s.SegmentSize()); err != nil {
		return nil, err
	}
	seg, h, err := s.openFile(n)
	if err != nil {
		return nil, err
	}
	defer h.release()
	return seg, change(h.file)
}

// measure takes note of how much a segment occupies now.
func (s *Store) measure(seg *segment) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if s.segments.find(seg.number) != seg {
		return nil // removed or renamed meanwhile
	}
	info, err := s.fsys.Stat(s.path(seg.number))
	if err != nil {
		return err
	}
	s.used += info.Allocated - seg.allocated
	seg.allocated = info.Allocated
	return nil
}

// reserveSegment counts the bytes of segment n as used if they are free. It tells
// whether a spare segment should become it: because nothing else has the space, or
// because one is to be had for less than a new file.
func (s *Store) reserveSegment(n uint64, c segstore.Content) (spare bool, err error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	free, unspared, err := s.room()
	if err != nil {
		return false, err
	}
	bytes := s.layout.segmentSize
	if bytes > free {
		return false, fail.New(fail.NoSpace, "no space for segment %d in %s: %s are free of a capacity of %s", n, s.dir, bytesize.Exact(free), bytesize.Exact(s.layout.capacity))
	}
	s.used += bytes
	return unspared < bytes || s.surplus(c), nil
}

// reserveGrowth counts bytes that a segment gets beside what it has as used, if
// they are free without giving up spare segments.
func (s *Store) reserveGrowth(n uint64, bytes int64) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	_, unspared, err := s.room()
	if err != nil {
		return err
	}
	if bytes > max(0, unspared) {
		return fail.New(fail.NoSpace, "no space to fill segment %d in %s: %s are free for that", n, s.dir, bytesize.Exact(max(0, unspared)))
	}
	s.used += bytes
	return nil
}

// seize is table.seize under metaMu.
func (s *Store) seize(n uint64) (seg *segment, idle bool) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	return s.segments.seize(n)
}

func (s *Store) addUsed(bytes int64) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	s.used += bytes
}
