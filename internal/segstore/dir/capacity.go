package dir

import (
	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/segstore"
)

// SetCapacity implements segstore.Store. What segments occupy beyond a new capacity
// they keep; the spare ones beyond it go. As after opening, a pool that is full then
// may make a few segments more, without which nothing could be freed.
func (s *Store) SetCapacity(bytes int64) error {
	if bytes <= 0 {
		return fail.New(fail.Invalid, "a pool cannot have a capacity of %d bytes", bytes)
	}
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.holds(bytes); err != nil {
		return err
	}
	l := layout{s.layout.segmentSize, bytes}
	if err := replace(s.fsys, s.dir, layoutName, l.encode()); err != nil {
		return err
	}
	shrunk := bytes < s.layout.capacity
	s.layout.capacity = bytes
	if !shrunk {
		return nil
	}
	s.grace = s.excess()
	return s.trimSpares()
}

// holds refuses to grow to a capacity that the file system could not hold, were it
// all ours. metaMu is held.
func (s *Store) holds(bytes int64) error {
	_, total, err := s.fsys.Space(s.dir)
	if err != nil {
		return err
	}
	most := total - total/100*floorPercent
	if bytes <= max(most, s.layout.capacity) {
		return nil
	}
	return fail.New(fail.NoSpace, "a capacity of %s is more than the file system of %s can hold: %s, of which %d %% are left alone",
		bytesize.Exact(bytes), s.dir, bytesize.Exact(total), floorPercent).
		WithHint("the most is %s; give the file system more space first", bytesize.Exact(most>>20<<20))
}

// DefaultCapacity implements segstore.Store: 80 % of what would be free if the pool
// were not there.
func (s *Store) DefaultCapacity() (int64, error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	free, _, err := s.fsys.Space(s.dir)
	return defaultCapacity(free + s.used + int64(len(s.spares))*s.layout.segmentSize), err
}

var _ segstore.Store = (*Store)(nil)
