package dir

import (
	"io"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// openFile acquires the file of a segment, opening it if need be.
func (s *Store) openFile(n uint64) (*segment, *handle, error) {
	for {
		seg, h := s.segments.acquire(n)
		if seg == nil {
			return nil, nil, missing(n)
		}
		if h != nil {
			return seg, h, nil
		}
		flag := readWrite
		if s.readOnly {
			flag = readOnly
		}
		file, err := s.fsys.Open(s.path(n), flag, 0)
		if fail.Is(err, fail.NotFound) && s.segments.find(n) != seg {
			continue // removed or renamed since
		}
		if err != nil {
			return nil, nil, err
		}
		if h := s.segments.adopt(seg, file); h != nil {
			return seg, h, nil
		}
	}
}

// ReadAt implements segstore.Store.
func (s *Store) ReadAt(n uint64, p []byte, off int64) error {
	if err := segstore.CheckRange(n, off, int64(len(p)), s.SegmentSize()); err != nil {
		return err
	}
	_, h, err := s.openFile(n)
	if err != nil {
		return err
	}
	defer h.release()
	if got, err := h.file.ReadAt(p, off); err == io.EOF && got < len(p) {
		return fail.New(fail.Corrupt, "%s ends at byte %d", s.path(n), off+int64(got))
	} else if err != nil && err != io.EOF {
		return err
	}
	return nil
}

// TryReadAt implements segstore.Store. It does not open a file either, which
// may wait for the disk too.
func (s *Store) TryReadAt(n uint64, p []byte, off int64) (bool, error) {
	if err := segstore.CheckRange(n, off, int64(len(p)), s.SegmentSize()); err != nil {
		return false, err
	}
	seg, h := s.segments.acquire(n)
	if seg == nil {
		return false, missing(n)
	}
	if h == nil {
		return false, nil
	}
	defer h.release()
	_, ok, err := h.file.TryReadAt(p, off)
	return ok, err
}

// Prefetch implements segstore.Store.
func (s *Store) Prefetch(n uint64, off, length int64) {
	if segstore.CheckRange(n, off, length, s.SegmentSize()) != nil {
		return
	}
	if _, h, err := s.openFile(n); err == nil {
		h.file.Prefetch(off, length)
		h.release()
	}
}

// WriteAt implements segstore.Store.
func (s *Store) WriteAt(n uint64, p []byte, off int64) error {
	h, err := s.forWriting(n, off, int64(len(p)))
	if err != nil {
		return err
	}
	defer h.release()
	_, err = h.file.WriteAt(p, off)
	h.written.Add(1)
	return err
}

// WriteDurableAt implements segstore.Store.
func (s *Store) WriteDurableAt(n uint64, p []byte, off int64) error {
	h, err := s.forWriting(n, off, int64(len(p)))
	if err != nil {
		return err
	}
	defer h.release()
	err = h.file.WriteDurableAt(p, off)
	if err != nil {
		h.written.Add(1) // part of it may be there
	}
	return err
}

func (s *Store) forWriting(n uint64, off, length int64) (*handle, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if err := segstore.CheckRange(n, off, length, s.SegmentSize()); err != nil {
		return nil, err
	}
	_, h, err := s.openFile(n)
	return h, err
}

// Sync implements segstore.Store.
func (s *Store) Sync(n uint64) error {
	if err := s.writable(); err != nil {
		return err
	}
	_, h, err := s.openFile(n)
	if err != nil {
		return err
	}
	defer h.release()
	return h.sync()
}
