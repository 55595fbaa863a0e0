package compact

import (
	"varve/internal/fail"
	"varve/internal/segstore"
)

// read reads a range of a segment through get, which reads it from one of the
// store below. A segment may move at any time, and its old place go: what was
// read from a slot counts only if the segment is still there afterwards, since
// the place may have been punched meanwhile; and a file that has gone may have
// gone into a slot.
func (s *Store) read(n uint64, p []byte, off int64, get func(base segstore.Store, n uint64, p []byte, off int64) (bool, error)) (bool, error) {
	if n >= SlotBase {
		return false, missing(n)
	}
	for {
		h := s.lookup(n)
		if h == nil || h.file {
			ok, err := get(s.base, n, p, off)
			if !fail.Is(err, fail.NotFound) {
				return ok, err
			}
			if h == nil {
				if s.lookup(n) == nil {
					return ok, err
				}
				continue
			}
		}
		ok, err := s.readSlot(n, h, p, off, get)
		if s.lookup(n) == h {
			return ok, err
		}
	}
}

// readSlot reads a range of a segment from its slot.
func (s *Store) readSlot(n uint64, h *home, p []byte, off int64, get func(base segstore.Store, n uint64, p []byte, off int64) (bool, error)) (bool, error) {
	if err := segstore.CheckRange(n, off, int64(len(p)), s.SegmentSize()); err != nil {
		return false, err
	}
	for len(p) > 0 {
		at, length, err := h.piece(n, off, int64(len(p)))
		if err != nil {
			return false, err
		}
		if ok, err := get(s.base, h.slot.number, p[:length], at); !ok {
			return false, err
		}
		p, off = p[length:], off+length
	}
	return true, nil
}

// piece returns where in the slot a range begins, and how much of it, in bytes,
// lies there together.
func (h *home) piece(n uint64, off, length int64) (at, got int64, err error) {
	block, in := off/blockSize, off%blockSize
	slotBlock, blocks := h.find(int(block))
	if blocks == 0 {
		return 0, 0, fail.New(fail.Corrupt, "segment %d block %d was freed", n, block)
	}
	return int64(slotBlock)*blockSize + in, min(length, int64(blocks)*blockSize-in), nil
}

// ReadAt implements segstore.Store. Of a relocated segment, blocks that are not
// alive are Corrupt.
func (s *Store) ReadAt(n uint64, p []byte, off int64) error {
	_, err := s.read(n, p, off, readAt)
	return err
}

func readAt(base segstore.Store, n uint64, p []byte, off int64) (bool, error) {
	err := base.ReadAt(n, p, off)
	return err == nil, err
}

// TryReadAt implements segstore.Store.
func (s *Store) TryReadAt(n uint64, p []byte, off int64) (bool, error) {
	return s.read(n, p, off, segstore.Store.TryReadAt)
}

// Prefetch implements segstore.Store.
func (s *Store) Prefetch(n uint64, off, length int64) {
	if n >= SlotBase {
		return
	}
	h := s.lookup(n)
	if h == nil || h.file {
		s.base.Prefetch(n, off, length)
		return
	}
	if segstore.CheckRange(n, off, length, s.SegmentSize()) != nil {
		return
	}
	for length > 0 {
		at, got, err := h.piece(n, off, length)
		if err != nil { // it was dead, and is not there
			off, length = off+blockSize, length-blockSize
			continue
		}
		s.base.Prefetch(h.slot.number, at, got)
		off, length = off+got, length-got
	}
}
