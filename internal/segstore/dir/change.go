package dir

import (
	"unsafe"

	"varve/internal/fail"
	"varve/internal/segstore"
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
func (s *Store) Create(n uint64, filled bool) error {
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
	spare, err := s.reserveSpace(n, size)
	if err == nil {
		if spare {
			err = s.fromSpare(n)
		} else {
			err = s.build(n, filled)
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
	seg := s.seize(old)
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
	if _, err := s.reserveSpace(seg.number, grown); err != nil {
		return err
	}
	f, err := s.fsys.Open(s.path(seg.number), readWrite, 0)
	if err == nil {
		err = f.Allocate(0, size)
		if err == nil {
			err = f.Sync()
		}
		f.Close()
	}
	if err != nil {
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
	seg := s.seize(n)
	if seg == nil {
		return missing(n)
	}
	if err := s.discard(n); err != nil {
		s.segments.put(n, seg.allocated)
		return err
	}
	s.segments.free(n)
	s.addUsed(-seg.allocated)
	return s.fsys.SyncDir(s.logDir())
}

// discard lets the file of a segment go.
func (s *Store) discard(n uint64) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if s.spareFrom(s.path(n)) {
		return nil
	}
	return s.fsys.Remove(s.path(n))
}

// PunchHole implements segstore.Store.
func (s *Store) PunchHole(n uint64, off, length int64) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := segstore.CheckRange(n, off, length, s.SegmentSize()); err != nil {
		return err
	}
	seg, h, err := s.openFile(n)
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.file.PunchHole(off, length); err != nil { // no write, of which the kernel could tell later: the file need not stay open
		return err
	}
	return s.measure(seg)
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

// reserveSpace counts bytes as used for segment n if they are free. It tells
// whether only spare segments have them.
func (s *Store) reserveSpace(n uint64, bytes int64) (spare bool, err error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	free, unspared, err := s.room()
	if err != nil {
		return false, err
	}
	if bytes > free {
		return false, fail.New(fail.NoSpace, "no space for segment %d in %s: %d bytes are free of a capacity of %d", n, s.dir, free, s.layout.capacity)
	}
	s.used += bytes
	return unspared < bytes && len(s.spares) > 0, nil
}

// seize is table.seize under metaMu.
func (s *Store) seize(n uint64) *segment {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	return s.segments.seize(n)
}

func (s *Store) addUsed(bytes int64) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	s.used += bytes
}
