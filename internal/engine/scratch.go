package engine

import (
	"sync"

	"varve/internal/fail"
	"varve/internal/tree"
)

// Scratch is a file for what views of the past need beyond memory. Its
// content is worth nothing after a restart. vfs.File is one.
type Scratch interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Close() error
}

// scratchBit marks addresses of nodes that lie in the scratch file instead of
// the log. Only trees of views have such nodes; no checkpoint ever sees one.
const scratchBit = 1 << 62

// spillOps is how many operations a view replays before what it changed goes
// to the scratch file: it bounds a view's memory to what they touch.
const spillOps = 16 << 10

// maxScratch bounds the scratch file: bytes.
const maxScratch = 8 << 30

// scratchSpace hands out the pages of the scratch file. Addresses are never
// used twice while the server runs, because the node cache knows nodes by
// address; their place in the file is what lies beyond base.
type scratchSpace struct {
	open func() (Scratch, error)

	mu   sync.RWMutex
	file Scratch // nil until something spills
	base uint64  // pages before it are gone
	next uint64
}

// put implements the put of tree.Cache.WriteOut.
func (s *scratchSpace) put(pages [][]byte, _ []uint32) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		f, err := s.open()
		if err != nil {
			return 0, fail.Wrap(fail.Other, err, "scratch file for views")
		}
		s.file = f
	}
	first := s.next
	if (first-s.base+uint64(len(pages)))*tree.PageSize > maxScratch {
		return 0, fail.New(fail.TooBig, "the views of the past that are open need more than %d GiB of scratch space", maxScratch>>30).
			WithHint("close some, or look at a snapshot instead")
	}
	for i, p := range pages {
		if _, err := s.file.WriteAt(p, int64(first-s.base+uint64(i))*tree.PageSize); err != nil {
			return 0, fail.Wrap(fail.Other, err, "scratch file for views")
		}
	}
	s.next += uint64(len(pages))
	return first | scratchBit, nil
}

func (s *scratchSpace) read(addr uint64, page []byte) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := addr &^ scratchBit
	if s.file == nil || n < s.base || n >= s.next {
		return fail.New(fail.Corrupt, "scratch page %d of a view that is closed", n)
	}
	_, err := s.file.ReadAt(page, int64(n-s.base)*tree.PageSize)
	return err
}

// bytes returns how much the open views have spilled.
func (s *scratchSpace) bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(s.next-s.base) * tree.PageSize
}

// reset frees everything. No view is open.
func (s *scratchSpace) reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil || s.next == s.base {
		return nil
	}
	s.base = s.next
	return s.file.Truncate(0)
}

func (s *scratchSpace) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// spill brings what a view's image holds beyond the log, as of lsn, to the
// scratch file, so that it can be evicted from memory.
func (e *Engine) spill(im *overlay, lsn uint64) error {
	if e.scratch.open == nil || !im.spills {
		return nil
	}
	v := im.tree.Freeze(lsn)
	defer v.Close()
	if err := e.cache.WriteOut([]*tree.Version{v}, e.scratch.put); err != nil {
		return err
	}
	e.cache.Settle([]*tree.Tree{im.tree})
	return nil
}
