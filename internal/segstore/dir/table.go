package dir

import (
	"sync"
	"sync/atomic"

	"varve/internal/segstore"
	"varve/internal/vfs"
)

// maxOpen is how many files of segments stay open, except that files with
// unsynced writes always do: the kernel tells of a failed writeback only
// through a file that was open then.
const maxOpen = 256

// table knows every segment, and keeps the files of some open.
//
// A handle is in use while refs > 0. The table itself holds one reference; a
// reader adds its own under mu, as long as the handle is in the table. Whoever
// drops the last one closes the file. So evicting never pulls a file away from
// under a reader, and never waits for one.
type table struct {
	mu   sync.RWMutex
	all  map[uint64]*segment
	open []*segment // those with a handle, in the order of the clock hand
	hand int
}

// segment is one entry of the table.
type segment struct {
	number    uint64
	allocated int64   // bytes on the disk; guarded by metaMu until it is seized
	pending   bool    // being made, renamed or removed: nobody finds it; never changes
	handle    *handle // nil while closed; guarded by mu
}

// handle is an open file of a segment.
type handle struct {
	file vfs.File
	refs atomic.Int64
	used atomic.Bool // since the clock hand came by

	// writes that have ended, and how many of them the last good sync covered.
	written, synced atomic.Uint64
}

func (t *table) init(capacity int) { t.all = make(map[uint64]*segment, capacity) }

// acquire returns the open file of a segment; the caller releases it. The
// handle is nil for a segment that is not open, and both are nil for none.
func (t *table) acquire(n uint64) (*segment, *handle) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	seg := t.all[n]
	if seg == nil || seg.pending {
		return nil, nil
	}
	h := seg.handle
	if h != nil {
		h.refs.Add(1)
		if !h.used.Load() {
			h.used.Store(true)
		}
	}
	return seg, h
}

// adopt puts a file that was opened for a segment into the table, and acquires
// it. It returns nil, and closes the file, if the segment has gone or changed
// meanwhile; if another goroutine was first, its file is returned.
func (t *table) adopt(seg *segment, file vfs.File) *handle {
	h := &handle{file: file}
	h.refs.Store(2)
	t.mu.Lock()
	unwanted := []*handle{h}
	switch {
	case t.all[seg.number] != seg:
		h = nil
	case seg.handle != nil:
		h = seg.handle
		h.refs.Add(1)
	default:
		seg.handle = h
		t.open = append(t.open, seg)
		unwanted = t.evict()
	}
	t.mu.Unlock()
	for _, old := range unwanted {
		old.file.Close()
	}
	return h
}

// evict takes idle handles out of the table while there are too many, for the
// caller to close. The caller holds mu.
func (t *table) evict() (idle []*handle) {
	for range 2 * len(t.open) { // once around to clear the used marks
		if len(t.open) <= maxOpen {
			break
		}
		t.hand = (t.hand + 1) % len(t.open)
		seg := t.open[t.hand]
		h := seg.handle
		if h.used.Swap(false) || h.refs.Load() > 1 || h.written.Load() != h.synced.Load() {
			continue
		}
		idle = append(idle, t.take(seg))
	}
	return idle
}

// take removes the handle of a segment from the table, and returns it. The
// caller holds mu.
func (t *table) take(seg *segment) *handle {
	h := seg.handle
	if h == nil {
		return nil
	}
	for i, other := range t.open {
		if other == seg {
			last := len(t.open) - 1
			t.open[i], t.open[last] = t.open[last], nil
			t.open = t.open[:last]
			break
		}
	}
	seg.handle = nil
	return h
}

// release gives back what acquire or adopt returned. It tells whether that was
// the last reference.
func (h *handle) release() (last bool) {
	if last = h.refs.Add(-1) == 0; last {
		h.file.Close()
	}
	return last
}

// sync makes all writes durable that have ended by now.
func (h *handle) sync() error {
	written := h.written.Load()
	if err := h.file.Sync(); err != nil {
		return err
	}
	for {
		synced := h.synced.Load()
		if synced >= written || h.synced.CompareAndSwap(synced, written) {
			return nil
		}
	}
}

// reserve enters a number that a segment is about to get. False: it is taken.
func (t *table) reserve(n uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[n] != nil {
		return false
	}
	t.all[n] = &segment{number: n, pending: true}
	return true
}

// seize takes a segment away from everybody and leaves its number reserved. It
// returns nil if there is no such segment. The file is closed when the last
// reader is done; with idle there is none. The caller holds metaMu; the segment is
// then its own.
func (t *table) seize(n uint64) (seg *segment, idle bool) {
	t.mu.Lock()
	seg = t.all[n]
	if seg == nil || seg.pending {
		t.mu.Unlock()
		return nil, false
	}
	h := t.take(seg)
	t.all[n] = &segment{number: n, pending: true}
	t.mu.Unlock()
	return seg, h == nil || h.release()
}

// put enters a segment under a reserved number.
func (t *table) put(n uint64, allocated int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[n] = &segment{number: n, allocated: allocated}
}

// free gives a reserved number up.
func (t *table) free(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, n)
}

// find returns a segment that exists, or nil.
func (t *table) find(n uint64) *segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if seg := t.all[n]; seg != nil && !seg.pending {
		return seg
	}
	return nil
}

// list returns all segments in no order. The caller holds metaMu.
func (t *table) list() []segstore.Segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]segstore.Segment, 0, len(t.all))
	for _, seg := range t.all {
		if !seg.pending {
			list = append(list, segstore.Segment{Number: seg.number, Allocated: seg.allocated})
		}
	}
	return list
}

// close closes all files.
func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first error
	for _, seg := range t.open {
		if err := seg.handle.file.Close(); err != nil && first == nil {
			first = err
		}
		seg.handle = nil
	}
	t.open = nil
	return first
}
