// Package compact is a segment store over another one that moves what is alive
// in mostly dead segments together, without changing its addresses.
//
//	before   segment 3 [..a.....]  segment 4 [.......b]  segment 7 [...c....]
//	after    slot [table | a b c]  3, 4 and 7 have no file any more
//
// A slot is a segment of the store below with a number from SlotBase on; its
// format is drawn in format.go. A segment whose live blocks lie in a slot is
// *relocated* once its own file is gone: List does not show it, its blocks are
// read as before, and nothing is written to it any more. While slot and file
// are both there, which a crash may leave, it is *pending*: the file is read,
// and Finish removes it.
//
// Which blocks of a slot are dead is known in memory only: after opening, all
// of them are alive until PunchHole or Remove tells again.
//
// # Locks
//
// In this order: compacting, held by Compact and Finish; the claim on a
// segment, held while its file or its place changes; mu, which guards the maps
// and is never held while the store below is asked. Readers take mu shared, to
// look a segment up, and nothing else: they read without it and look again if
// what they read may have been moved away meanwhile.
package compact

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// SlotBase is the lowest number of a slot; segments have lower ones.
const SlotBase = 1 << 40

// slotsPerSegment is the distance between the slots that are made while one
// segment is the newest and those of the next.
const slotsPerSegment = 1 << 20

// Store is a segstore.Store with slots.
type Store struct {
	base      segstore.Store
	segBlocks int
	readOnly  bool // and there are slots

	compacting sync.Mutex
	claims     claims

	mu     sync.RWMutex
	homes  map[uint64]*home
	slots  map[uint64]*slot
	doomed map[uint64]struct{} // slots that hold nothing: see sweep
	last   uint64              // the highest number that a slot has had
}

var _ segstore.Store = (*Store)(nil)

// Open finds the slots of a store, and removes those that a crash left
// half-made or empty, and mends those of which the front is damaged, unless base is
// open read-only. It owns base from then on: Close closes it. Corrupt: both ends of
// a slot are damaged; the error names it, and the segments that may have been in
// it. On any error base is left open.
func Open(base segstore.Store) (*Store, error) {
	s := &Store{
		base: base, segBlocks: int(base.SegmentSize() / blockSize),
		homes: map[uint64]*home{}, slots: map[uint64]*slot{}, doomed: map[uint64]struct{}{},
	}
	s.claims.init()
	list, err := base.List()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, segstore.ByNumber)
	l := loader{s: s, files: map[uint64]bool{}}
	for _, seg := range list {
		if seg.Number < SlotBase {
			l.files[seg.Number] = true
		} else if err := l.read(seg.Number); err != nil {
			return nil, err
		}
	}
	l.adopt()
	if err := l.judge(); err != nil {
		return nil, err
	}
	if s.last == 0 {
		return s, nil
	}
	// A change of nothing: only a store that is open for writing allows it.
	err = base.PunchHole(s.last, 0, 0)
	if s.readOnly = fail.Is(err, fail.ReadOnly); s.readOnly {
		return s, nil
	}
	if err == nil {
		err = l.mend()
	}
	if err == nil {
		err = s.sweep()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// loader is Open at work.
type loader struct {
	s     *Store
	files map[uint64]bool
	slots []foundSlot // by ascending number
}

// foundSlot is a slot below, and why its table cannot be read, if so. The table is
// without checksums: together those of all slots are long.
type foundSlot struct {
	found
	number uint64
	err    error
}

// read takes a look at one slot.
func (l *loader) read(n uint64) error {
	l.s.last = n
	f, err := loadTable(l.s.base, n)
	if err != nil && !fail.Is(err, fail.Corrupt) {
		return err
	}
	if f.t != nil {
		f.t.crcs = nil
	}
	l.slots = append(l.slots, foundSlot{f, n, err})
	return nil
}

// adopt takes the complete slots in: the last one that names a segment has it.
func (l *loader) adopt() {
	s := l.s
	for _, x := range l.slots {
		switch {
		case x.err != nil:
			continue
		case !x.sealed && !l.lostHeader(x.t):
			s.doom(x.number)
			continue
		}
		sl := newSlot(&x.t.header)
		s.slots[x.number] = sl
		for _, e := range x.t.entries {
			if old := s.homes[e.segment]; old != nil {
				s.discard(old.slot, old.runs)
			}
			s.homes[e.segment] = &home{slot: sl, runs: e.runs, file: l.files[e.segment]}
		}
	}
}

// lostHeader reports whether a slot whose block 0 is zeros once had a header:
// nothing that it names goes before that is durable, and what is half-made goes
// before anything else does.
func (l *loader) lostHeader(t *table) bool {
	return t != nil && slices.ContainsFunc(t.entries, func(e entry) bool {
		return !l.files[e.segment] && !slices.ContainsFunc(l.slots, func(x foundSlot) bool {
			return x.sealed && x.t != nil && x.t.names(e.segment)
		})
	})
}

// judge returns what is wrong with the slots, if something is lost by it.
func (l *loader) judge() error {
	i := slices.IndexFunc(l.slots, func(x foundSlot) bool { return x.err != nil })
	if i < 0 {
		return nil
	}
	d := l.slots[i]
	low, high := uint64(1), l.highest()
	if d.h != nil {
		low, high = d.h.low, min(d.h.high, SlotBase-1)
	}
	return fail.Wrap(fail.Corrupt, d.err, "slot %d is damaged at both ends; of the segments %d to %d these may have been in it: %s", d.number, low, high, l.missing(low, high)).
		WithHint("restore the file of that slot from a copy of the pool")
}

// mend repairs the slots of which only the end is whole.
func (l *loader) mend() error {
	for _, x := range l.slots {
		sl := l.s.slots[x.number]
		if sl == nil || x.sealed && !x.spoilt {
			continue
		}
		t, err := l.s.tableOf(sl, map[*slot]*table{})
		if err != nil {
			return err
		}
		if err := l.s.mend(t); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) highest() (high uint64) {
	for n := range l.files {
		high = max(high, n)
	}
	for n := range l.s.homes {
		high = max(high, n)
	}
	return high
}

// missing lists the segments from low to high that are nowhere, as ranges, as
// far as a person wants to read.
func (l *loader) missing(low, high uint64) string {
	const most = 20
	there := []uint64{high + 1}
	for n := range l.files {
		there = append(there, n)
	}
	for n := range l.s.homes {
		there = append(there, n)
	}
	slices.Sort(there)
	var ranges []string
	for _, n := range there {
		switch {
		case n > high+1:
			continue
		case n > low && len(ranges) == most:
			return strings.Join(append(ranges, "..."), ", ")
		case n == low+1:
			ranges = append(ranges, fmt.Sprint(low))
		case n > low:
			ranges = append(ranges, fmt.Sprintf("%d-%d", low, n-1))
		}
		low = max(low, n+1)
	}
	if len(ranges) == 0 {
		return "none"
	}
	return strings.Join(ranges, ", ")
}

// SegmentSize implements segstore.Store.
func (s *Store) SegmentSize() int64 { return s.base.SegmentSize() }

// Superblock implements segstore.Store.
func (s *Store) Superblock() ([]byte, error) { return s.base.Superblock() }

// WriteSuperblock implements segstore.Store.
func (s *Store) WriteSuperblock(b []byte) error { return s.base.WriteSuperblock(b) }

// Hint implements segstore.Store.
func (s *Store) Hint() ([]byte, error) { return s.base.Hint() }

// SetHint implements segstore.Store.
func (s *Store) SetHint(b []byte) error { return s.base.SetHint(b) }

// List implements segstore.Store: the segments that have a file. Relocated
// tells of the others.
func (s *Store) List() ([]segstore.Segment, error) {
	list, err := s.base.List()
	return slices.DeleteFunc(list, func(seg segstore.Segment) bool { return seg.Number >= SlotBase }), err
}

// Zero implements segstore.Store, for segments that were not moved.
func (s *Store) Zero(n uint64, off, length int64) error {
	s.claims.take(n)
	defer s.claims.release(n)
	if s.lookup(n) != nil {
		return fail.New(fail.Invalid, "segment %d was compacted", n)
	}
	return s.base.Zero(n, off, length)
}

// GiveBack implements segstore.Store.
func (s *Store) GiveBack() error {
	if err := s.sweep(); err != nil {
		return err
	}
	return s.base.GiveBack()
}

// Space implements segstore.Store. Slots count where they occupy space.
func (s *Store) Space() (segstore.Space, error) { return s.base.Space() }

// SetCapacity implements segstore.Store.
func (s *Store) SetCapacity(bytes int64) error { return s.base.SetCapacity(bytes) }

// DefaultCapacity implements segstore.Store.
func (s *Store) DefaultCapacity() (int64, error) { return s.base.DefaultCapacity() }

// Close implements segstore.Store.
func (s *Store) Close() error { return s.base.Close() }

// Relocated returns the segments that have no file of their own any more and
// were not removed, ascending.
func (s *Store) Relocated() []uint64 {
	return s.collect(func(h *home) bool { return !h.file })
}

// Pending returns the segments that lie in a slot and still have their own
// file, ascending: Finish removes that.
func (s *Store) Pending() []uint64 {
	return s.collect(func(h *home) bool { return h.file })
}

func (s *Store) collect(want func(*home) bool) (segments []uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for n, h := range s.homes {
		if want(h) {
			segments = append(segments, n)
		}
	}
	slices.Sort(segments)
	return segments
}

// Held returns the slot that a relocated or pending segment lies in, and which
// blocks of it are there and were not freed. slot is 0 for any other segment.
func (s *Store) Held(segment uint64) (slot uint64, blocks []Range) {
	h := s.lookup(segment)
	if h == nil {
		return 0, nil
	}
	for _, r := range h.runs {
		blocks = append(blocks, Range{r.block, r.blocks})
	}
	return h.slot.number, blocks
}

// SlotInfo is a slot.
type SlotInfo struct {
	Number    uint64
	Blocks    int      // that were copied into it
	Live      int      // of them, those that were not freed
	Holes     int      // of them, those that were given back to the store below
	Overhead  int      // blocks besides: of the headers and the tables
	Allocated int64    // bytes on the disk
	Segments  []uint64 // of which it holds blocks, ascending
}

// Slots returns all complete slots that hold something, ascending. Errors:
// those of the store below.
func (s *Store) Slots() ([]SlotInfo, error) {
	list, err := s.base.List()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, segstore.ByNumber)
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := map[uint64][]uint64{}
	for n, h := range s.homes {
		if len(h.runs) > 0 {
			in[h.slot.number] = append(in[h.slot.number], n)
		}
	}
	var infos []SlotInfo
	for _, seg := range list {
		if sl := s.slots[seg.Number]; sl != nil {
			slices.Sort(in[sl.number])
			infos = append(infos, SlotInfo{sl.number, sl.blocks, sl.live, sl.holes, sl.overhead, seg.Allocated, in[sl.number]})
		}
	}
	return infos, nil
}

// Dead is how much of the slots is dead and was not given back: bytes.
func (s *Store) Dead() (bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, sl := range s.slots {
		bytes += int64(sl.blocks-sl.live-sl.holes) * blockSize
	}
	return bytes
}

func (s *Store) lookup(n uint64) *home {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.homes[n]
}
