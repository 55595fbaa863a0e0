package engine

import (
	"errors"

	"varve/internal/tree"
)

// mapper holds what a map of a range is made from.
type mapper struct {
	last Span
	fn   func(Span) bool
	stop bool
}

func (m *mapper) add(n uint64, hole bool) {
	switch {
	case n == 0 || m.stop:
	case m.last.Len > 0 && m.last.Hole == hole:
		m.last.Len += n
	default:
		m.flush()
		m.last = Span{Len: n, Hole: hole}
	}
}

func (m *mapper) flush() {
	if m.last.Len > 0 && !m.stop {
		m.stop = !m.fn(m.last)
	}
	m.last = Span{}
}

// Map visits the spans of the bytes [off, off+n), neighbours joined, until fn
// returns false. It may wait for tree nodes, never for data.
func (h *Head) Map(off, n uint64, fn func(Span) bool) error {
	v := h.now()
	defer v.Close()
	return mapVersion(v, 0, off, n, fn)
}

// Map is Head.Map at the view's moment.
func (v *View) Map(off, n uint64, fn func(Span) bool) error {
	return mapVersion(v.vers, 0, off, n, fn)
}

// now freezes the head: the version to look at without holding up writers.
func (h *Head) now() *tree.Version {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.d.version()
}

// mapVersion maps a part of file ino.
func mapVersion(v *tree.Version, ino, off, n uint64, fn func(Span) bool) error {
	m := mapper{fn: fn}
	at, end := off, off+n
	var bad error
	err := v.Blocking().Scan(blockKey(ino, chunkStart(off/BlockSize)), blockKey(ino, (end+BlockSize-1)/BlockSize), func(k tree.Key, val []byte) bool {
		x, err := parseExtent(k, val)
		if err != nil {
			bad = err
			return false
		}
		from, to := max(x.block*BlockSize, off), min(x.end()*BlockSize, end)
		if from < to {
			m.add(from-at, true)
			m.add(to-from, false)
			at = to
		}
		return !m.stop
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	m.add(end-at, true)
	m.flush()
	return nil
}

// Changed visits the bytes [off, off+n) as spans, neighbours joined: those
// with Hole are the same as in the older view, the others differ. Until fn
// returns false.
func (h *Head) Changed(since *View, off, n uint64, fn func(Span) bool) error {
	v := h.now()
	defer v.Close()
	return changed(since.vers, v, off, n, fn)
}

// Changed is Head.Changed at the view's moment.
func (v *View) Changed(since *View, off, n uint64, fn func(Span) bool) error {
	return changed(since.vers, v.vers, off, n, fn)
}

func changed(a, b *tree.Version, off, n uint64, fn func(Span) bool) error {
	m := mapper{fn: fn}
	at, end := off, off+n
	lo, hi := chunkStart(off/BlockSize), chunkEnd((end+BlockSize-1)/BlockSize)
	err := diffRange(a, b, lo, hi, func(block, n uint64, _ bool) error {
		from, to := max(block*BlockSize, off), min((block+n)*BlockSize, end)
		if from < to {
			m.add(from-at, true)
			m.add(to-from, false)
			at = to
		}
		if m.stop {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		return err
	}
	m.add(end-at, true)
	m.flush()
	return nil
}
