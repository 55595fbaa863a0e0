// Package mem is a segment store in plain memory. It loses everything with
// the process and knows no crashes: tests of layers that do not care about
// the disk use it because it is fast.
package mem

import (
	"bytes"
	"slices"
	"sync"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/segstore"
)

// Store is a segstore.Store in memory.
type Store struct {
	segmentSize int64

	mu       sync.RWMutex
	capacity int64
	segments map[uint64][]byte
	removed  []byte // what the last removed segment had
	super    []byte
	hint     []byte
}

var _ segstore.Store = (*Store)(nil)

// unlimited is the capacity of a store that was given none: bytes.
const unlimited = 1 << 60

// New makes an empty store. segmentSize and capacity are in bytes; capacity 0
// means no limit. It panics if the segment size is no possible one.
func New(segmentSize, capacity int64) *Store {
	if err := segstore.CheckSegmentSize(segmentSize); err != nil {
		panic(err)
	}
	if capacity <= 0 {
		capacity = unlimited
	}
	return &Store{segmentSize: segmentSize, capacity: capacity, segments: map[uint64][]byte{}}
}

// SegmentSize implements segstore.Store.
func (s *Store) SegmentSize() int64 { return s.segmentSize }

// Superblock implements segstore.Store.
func (s *Store) Superblock() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.super == nil {
		return nil, fail.New(fail.NotFound, "this store has no superblock")
	}
	return bytes.Clone(s.super), nil
}

// WriteSuperblock implements segstore.Store.
func (s *Store) WriteSuperblock(b []byte) error {
	if err := segstore.CheckSuperblock(b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.super = append([]byte{}, b...)
	return nil
}

// Hint implements segstore.Store.
func (s *Store) Hint() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.hint == nil {
		return nil, fail.New(fail.NotFound, "this store has no hint")
	}
	return bytes.Clone(s.hint), nil
}

// SetHint implements segstore.Store.
func (s *Store) SetHint(b []byte) error {
	if err := segstore.CheckHint(b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hint = append([]byte{}, b...)
	return nil
}

// List implements segstore.Store.
func (s *Store) List() ([]segstore.Segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]segstore.Segment, 0, len(s.segments))
	for n := range s.segments {
		list = append(list, segstore.Segment{Number: n, Allocated: s.segmentSize})
	}
	slices.SortFunc(list, segstore.ByNumber)
	return list, nil
}

// Create implements segstore.Store.
func (s *Store) Create(n uint64, c segstore.Content) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.vacant(n); err != nil {
		return err
	}
	if int64(len(s.segments)+1)*s.segmentSize > s.capacity {
		return fail.New(fail.NoSpace, "no space for segment %d: the capacity is %s", n, bytesize.Exact(s.capacity))
	}
	s.segments[n] = make([]byte, s.segmentSize)
	if c != segstore.Zeros {
		copy(s.segments[n], s.removed)
	}
	return nil
}

// Recycle implements segstore.Store.
func (s *Store) Recycle(old, new uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg, ok := s.segments[old]
	if !ok {
		return missing(old)
	}
	if err := s.vacant(new); err != nil {
		return err
	}
	delete(s.segments, old)
	s.segments[new] = seg
	return nil
}

// Remove implements segstore.Store.
func (s *Store) Remove(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.segments[n]; !ok {
		return missing(n)
	}
	s.removed = s.segments[n]
	delete(s.segments, n)
	return nil
}

// ReadAt implements segstore.Store.
func (s *Store) ReadAt(n uint64, p []byte, off int64) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.slice(n, off, int64(len(p)))
	copy(p, b)
	return err
}

// TryReadAt implements segstore.Store.
func (s *Store) TryReadAt(n uint64, p []byte, off int64) (bool, error) {
	if err := s.ReadAt(n, p, off); err != nil {
		return false, err
	}
	return true, nil
}

// WriteAt implements segstore.Store.
func (s *Store) WriteAt(n uint64, p []byte, off int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.slice(n, off, int64(len(p)))
	copy(b, p)
	return err
}

// Prefetch implements segstore.Store.
func (s *Store) Prefetch(uint64, int64, int64) {}

// WriteDurableAt implements segstore.Store.
func (s *Store) WriteDurableAt(n uint64, p []byte, off int64) error {
	return s.WriteAt(n, p, off)
}

// Sync implements segstore.Store.
func (s *Store) Sync(n uint64) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.slice(n, 0, 0)
	return err
}

// PunchHole implements segstore.Store. It gives no memory back.
func (s *Store) PunchHole(n uint64, off, length int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.slice(n, off, length)
	clear(b)
	return err
}

// Zero implements segstore.Store.
func (s *Store) Zero(n uint64, off, length int64) error { return s.PunchHole(n, off, length) }

// GiveBack implements segstore.Store: nothing is kept.
func (s *Store) GiveBack() error { return nil }

// Space implements segstore.Store.
func (s *Store) Space() (segstore.Space, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	used := int64(len(s.segments)) * s.segmentSize
	return segstore.Space{Used: used, Free: max(0, s.capacity-used), Capacity: s.capacity}, nil
}

// SetCapacity implements segstore.Store.
func (s *Store) SetCapacity(bytes int64) error {
	if bytes <= 0 {
		return fail.New(fail.Invalid, "a store cannot have a capacity of %d bytes", bytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = bytes
	return nil
}

// DefaultCapacity implements segstore.Store.
func (s *Store) DefaultCapacity() (int64, error) { return unlimited, nil }

// Close implements segstore.Store. The content stays: a test may go on with
// the same Store as if it had been opened again.
func (s *Store) Close() error { return nil }

// slice returns a range of a segment. The caller holds mu.
func (s *Store) slice(n uint64, off, length int64) ([]byte, error) {
	seg, ok := s.segments[n]
	if !ok {
		return nil, missing(n)
	}
	if err := segstore.CheckRange(n, off, length, s.segmentSize); err != nil {
		return nil, err
	}
	return seg[off:][:length], nil
}

// vacant returns why segment n cannot be made. The caller holds mu.
func (s *Store) vacant(n uint64) error {
	if err := segstore.CheckNumber(n); err != nil {
		return err
	}
	if _, ok := s.segments[n]; ok {
		return fail.New(fail.Exists, "segment %d exists", n)
	}
	return nil
}

func missing(n uint64) error { return fail.New(fail.NotFound, "no segment %d", n) }
