package compact

import (
	"varve/internal/fail"
	"varve/internal/segstore"
)

// WriteAt implements segstore.Store.
func (s *Store) WriteAt(n uint64, p []byte, off int64) error {
	if err := s.writable(n); err != nil {
		return err
	}
	return s.base.WriteAt(n, p, off)
}

// WriteDurableAt implements segstore.Store.
func (s *Store) WriteDurableAt(n uint64, p []byte, off int64) error {
	if err := s.writable(n); err != nil {
		return err
	}
	return s.base.WriteDurableAt(n, p, off)
}

// Sync implements segstore.Store.
func (s *Store) Sync(n uint64) error {
	if err := s.writable(n); err != nil {
		return err
	}
	return s.base.Sync(n)
}

// writable refuses segments that lie in slots: what is written to the file of
// one would be lost with it.
func (s *Store) writable(n uint64) error {
	if n >= SlotBase {
		return missing(n)
	}
	if s.lookup(n) != nil {
		return fail.New(fail.Invalid, "segment %d was compacted: it takes no more writes", n)
	}
	return nil
}

// Create implements segstore.Store. Exists: also for a relocated segment.
// Invalid: also for the numbers of slots.
func (s *Store) Create(n uint64, c segstore.Content) error {
	if err := s.vacant(n); err != nil {
		return err
	}
	return s.base.Create(n, c)
}

func (s *Store) vacant(n uint64) error {
	if n >= SlotBase {
		return fail.New(fail.Invalid, "segments are numbered below %d", uint64(SlotBase))
	}
	if s.lookup(n) != nil {
		return fail.New(fail.Exists, "segment %d exists: it was compacted", n)
	}
	return nil
}

// Recycle implements segstore.Store. A relocated segment has no file to
// recycle: Invalid.
func (s *Store) Recycle(old, new uint64) error {
	if old >= SlotBase {
		return missing(old)
	}
	if err := s.vacant(new); err != nil {
		return err
	}
	s.claims.take(old)
	defer s.claims.release(old)
	if h := s.lookup(old); h != nil && !h.file {
		return fail.New(fail.Invalid, "segment %d was compacted: it has no file to recycle", old).WithHint("remove it")
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if err := s.base.Recycle(old, new); err != nil {
		return err
	}
	return s.forget(old)
}

// Remove implements segstore.Store. A relocated segment is forgotten, which is
// not durable: if its slot holds others too, it comes back when the store is
// opened again.
func (s *Store) Remove(n uint64) error {
	if n >= SlotBase {
		return missing(n)
	}
	s.claims.take(n)
	defer s.claims.release(n)
	h := s.lookup(n)
	if h != nil && s.readOnly {
		return errReadOnly
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if h == nil || h.file {
		if err := s.base.Remove(n); err != nil {
			return err
		}
	}
	return s.forget(n)
}

// forget lets go of what slots hold of a segment that the caller has claimed.
func (s *Store) forget(n uint64) error {
	s.mu.Lock()
	h := s.homes[n]
	if h == nil {
		s.mu.Unlock()
		return nil
	}
	delete(s.homes, n)
	holes := s.discard(h.slot, h.runs)
	s.mu.Unlock()
	return s.giveBack(holes)
}

// PunchHole implements segstore.Store. The blocks of a relocated segment are
// freed, which is not durable: they are alive again when the store is opened
// again. Reads of them fail from now on.
func (s *Store) PunchHole(n uint64, off, length int64) error {
	if n >= SlotBase {
		return missing(n)
	}
	s.claims.take(n)
	defer s.claims.release(n)
	h := s.lookup(n)
	if h == nil {
		return s.base.PunchHole(n, off, length)
	}
	if s.readOnly {
		return errReadOnly
	}
	if err := segstore.CheckRange(n, off, length, s.SegmentSize()); err != nil {
		return err
	}
	if h.file {
		if err := s.base.PunchHole(n, off, length); err != nil {
			return err
		}
	}
	rest, gone := h.without(int((off+blockSize-1)/blockSize), int((off+length)/blockSize))
	if len(gone) == 0 {
		return nil
	}
	s.mu.Lock()
	s.homes[n] = rest
	holes := s.discard(h.slot, gone)
	s.mu.Unlock()
	return s.giveBack(holes)
}

// giveBack gives the store below what has died.
func (s *Store) giveBack(holes []hole) error {
	if err := s.punch(holes); err != nil {
		return err
	}
	return s.sweep()
}

var errReadOnly = fail.New(fail.ReadOnly, "the store is open read-only")

func missing(n uint64) error { return fail.New(fail.NotFound, "no segment %d", n) }
