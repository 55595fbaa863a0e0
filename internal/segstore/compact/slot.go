package compact

import (
	"maps"
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// minPunch is the shortest run of dead blocks that is given back to the store
// below at once: 64 KiB. Shorter ones cost more calls than they bring space;
// PunchSlots gives them back.
const minPunch = 16

// slot is a complete slot. What changes is guarded by Store.mu.
type slot struct {
	number        uint64
	first, blocks int // of the copied blocks
	overhead      int // blocks besides
	live          int // how many of them nobody has freed
	holes         int // how many were given back to the store below
	dead, punched bitmap
}

func newSlot(h *header) *slot {
	s := &slot{number: h.number, first: h.first(), blocks: h.blocks, overhead: h.overhead(), live: h.blocks}
	s.dead, s.punched = newBitmap(h.blocks), newBitmap(h.blocks)
	return s
}

// hole is a range of a slot to punch, in blocks of the slot.
type hole struct {
	slot       *slot
	at, blocks int
}

// bury marks a range of live blocks of the slot as dead. It returns the dead
// blocks around it that have become enough to punch and were not punched yet.
func (s *slot) bury(at, blocks int) (holes []hole) {
	from, to := at-s.first, at-s.first+blocks
	for i := from; i < to; i++ {
		s.dead.set(i)
	}
	s.live -= blocks
	for from > 0 && s.dead.has(from-1) && !s.punched.has(from-1) {
		from--
	}
	for to < s.blocks && s.dead.has(to) && !s.punched.has(to) {
		to++
	}
	beside := from > 0 && s.punched.has(from-1) || to < s.blocks && s.punched.has(to)
	if to-from < minPunch && !beside {
		return nil
	}
	return []hole{s.punch(from, to)}
}

// punch marks dead blocks of which none is marked as given back.
func (s *slot) punch(from, to int) hole {
	for i := from; i < to; i++ {
		s.punched.set(i)
	}
	s.holes += to - from
	return hole{s, s.first + from, to - from}
}

// short returns up to most runs of at least least dead blocks that are not given
// back, and marks them.
func (s *slot) short(least, most int) (holes []hole) {
	start := 0
	for i := 0; i <= s.blocks && len(holes) < most; i++ {
		if i < s.blocks && s.dead.has(i) && !s.punched.has(i) {
			continue
		}
		if i-start >= max(1, least) {
			holes = append(holes, s.punch(start, i))
		}
		start = i + 1
	}
	return holes
}

// PunchSlots gives back runs of dead blocks in slots that are too short to be
// given back at once: those of at least least blocks, and most of them. It returns
// how many bytes they have; 0 where there are none. Errors: those of the store below.
func (s *Store) PunchSlots(least, most int) (bytes int64, err error) {
	if s.readOnly {
		return 0, errReadOnly
	}
	s.mu.Lock()
	var holes []hole
	for _, sl := range s.slots {
		if sl.live+sl.holes < sl.blocks && len(holes) < most {
			holes = append(holes, sl.short(least, most-len(holes))...)
		}
	}
	s.mu.Unlock()
	for _, h := range holes {
		bytes += int64(h.blocks) * blockSize
	}
	return bytes, s.punch(holes)
}

// home is where a segment lies that was compacted. It never changes: whoever
// frees or moves something replaces it.
type home struct {
	slot *slot
	runs []run // ascending
	file bool  // its own file is still there, and is what is read
}

// find returns where a block lies and how many follow it there; 0: it was
// freed.
func (h *home) find(block int) (at, blocks int) {
	i, ok := slices.BinarySearchFunc(h.runs, block, func(r run, block int) int { return r.block - block })
	if !ok {
		if i--; i < 0 || block >= h.runs[i].end() {
			return 0, 0
		}
	}
	r := h.runs[i]
	return r.at + block - r.block, r.end() - block
}

// without returns the home without the blocks of a segment from one to another,
// and what it had of them.
func (h *home) without(from, to int) (rest *home, gone []run) {
	rest = &home{slot: h.slot, file: h.file}
	for _, r := range h.runs {
		a, b := max(from, r.block), min(to, r.end())
		if a >= b {
			rest.runs = append(rest.runs, r)
			continue
		}
		gone = append(gone, run{a, b - a, r.at + a - r.block})
		if r.block < a {
			rest.runs = append(rest.runs, run{r.block, a - r.block, r.at})
		}
		if b < r.end() {
			rest.runs = append(rest.runs, run{b, r.end() - b, r.at + b - r.block})
		}
	}
	return rest, gone
}

// discard buries runs of a slot, and gives the slot up if nothing in it is
// alive any more. mu is held; the caller punches the holes, and sweeps.
func (s *Store) discard(sl *slot, runs []run) (holes []hole) {
	for _, r := range runs {
		holes = append(holes, sl.bury(r.at, r.blocks)...)
	}
	if sl.live > 0 {
		return holes
	}
	if s.slots[sl.number] == sl {
		delete(s.slots, sl.number)
		s.doomed[sl.number] = struct{}{}
	}
	return nil
}

// punch gives holes back to the store below.
func (s *Store) punch(holes []hole) error {
	for _, h := range holes {
		err := s.base.PunchHole(h.slot.number, int64(h.at)*blockSize, int64(h.blocks)*blockSize)
		if err != nil && !fail.Is(err, fail.NotFound) { // emptied since
			return err
		}
	}
	return nil
}

// sweep removes slots that hold nothing: half-made ones and emptied ones. What
// cannot be removed is tried again by the next change. A half-made slot must be
// gone before any segment is, or it would seem, at the next opening, to be the
// only place of that.
func (s *Store) sweep() error {
	s.mu.RLock()
	var doomed []uint64
	for n := range s.doomed {
		doomed = append(doomed, n)
	}
	s.mu.RUnlock()
	slices.Sort(doomed)
	for _, n := range doomed {
		if err := s.base.Remove(n); err != nil && !fail.Is(err, fail.NotFound) {
			return err
		}
		s.mu.Lock()
		delete(s.doomed, n)
		s.mu.Unlock()
	}
	return nil
}

// found is what a slot says of itself.
type found struct {
	t      *table  // nil where it cannot be read
	h      *header // what is known of its header, or nil
	sealed bool    // block 0 was written: so the slot was complete
	spoilt bool    // something of its front is damaged, but not of its end
}

// loadTable reads the table of a slot: from its front or, where that is damaged,
// from its end. Errors: Corrupt where it was sealed and neither will do,
// Unsupported, those of the store below.
func loadTable(base segstore.Store, n uint64) (f found, err error) {
	b := make([]byte, 2*blockSize)
	if err := base.ReadAt(n, b, 0); err != nil {
		return f, err
	}
	f.sealed = !zero(b[:blockSize])
	if err = f.find(base, n, b); fail.Is(err, fail.Corrupt) && !f.sealed {
		err = nil
	}
	return f, err
}

// find looks for header and table. b has blocks 0 and 1; it is overwritten.
func (f *found) find(base segstore.Store, n uint64, b []byte) error {
	segBlocks := int(base.SegmentSize() / blockSize)
	h, bad := decodeHeader(n, b[:blockSize], segBlocks, true)
	f.spoilt = bad != nil
	err := bad
	if fail.Is(err, fail.Corrupt) {
		h, err = decodeHeader(n, b[blockSize:], segBlocks, false)
	}
	if fail.Is(err, fail.Corrupt) {
		h, err = headerAtEnd(base, n, b[:blockSize])
	}
	if fail.Is(err, fail.Corrupt) {
		err = bad
	}
	if err != nil {
		return err
	}
	f.h = &h
	f.t, err = readTable(base, h, 1)
	if fail.Is(err, fail.Corrupt) {
		f.spoilt = true
		if t, e := readTable(base, h, h.copyAt(segBlocks)); !fail.Is(e, fail.Corrupt) {
			f.t, err = t, e
		}
	}
	return err
}

// headerAtEnd looks for the header of the table at the end, from there on: it says
// itself how far that is.
func headerAtEnd(base segstore.Store, n uint64, b []byte) (h header, err error) {
	segBlocks := int(base.SegmentSize() / blockSize)
	for blocks := 1; blocks <= segBlocks/2; blocks++ {
		if err := base.ReadAt(n, b, int64(segBlocks-blocks)*blockSize); err != nil {
			return h, err
		}
		if h, err = decodeHeader(n, b, segBlocks, false); err == nil && h.tableBlocks == blocks {
			return h, nil
		}
	}
	return h, fail.New(fail.Corrupt, "slot %d has no header", n)
}

// readTable reads the table that h announces, which begins with a block of the
// slot.
func readTable(base segstore.Store, h header, at int) (*table, error) {
	b := make([]byte, h.tableBlocks*blockSize)
	if err := base.ReadAt(h.number, b, int64(at)*blockSize); err != nil {
		return nil, err
	}
	return decodeTable(h, b, int(base.SegmentSize()/blockSize))
}

// mend writes the front of a slot anew, of which only the end is whole. A crash
// meanwhile leaves that.
func (s *Store) mend(t *table) error {
	head, rest := t.encode()
	if err := s.base.WriteAt(t.number, rest, blockSize); err != nil {
		return err
	}
	if err := s.base.Sync(t.number); err != nil {
		return err
	}
	return s.base.WriteDurableAt(t.number, head, 0)
}

// CheckTables reads front and end of every slot, and tells visit what is wrong
// with either: Corrupt, or what the store below said. The data in a slot is not
// looked at.
func (s *Store) CheckTables(visit func(slot uint64, err error)) {
	s.mu.RLock()
	numbers := slices.Sorted(maps.Keys(s.slots))
	s.mu.RUnlock()
	for _, n := range numbers {
		if err := s.checkTable(n); err != nil && !fail.Is(err, fail.NotFound) { // emptied since
			visit(n, err)
		}
	}
}

func (s *Store) checkTable(n uint64) error {
	f, err := loadTable(s.base, n)
	switch {
	case err != nil:
		return err
	case f.spoilt:
		return fail.New(fail.Corrupt, "the front of slot %d is damaged; its end is whole", n)
	}
	_, err = readTable(s.base, *f.h, f.h.copyAt(s.segBlocks))
	if fail.Is(err, fail.Corrupt) {
		return fail.Wrap(fail.Corrupt, err, "the end of slot %d is damaged; its front is whole", n)
	}
	return err
}

// tableOf returns the table of a slot, which is not kept in memory.
func (s *Store) tableOf(sl *slot, known map[*slot]*table) (*table, error) {
	if t := known[sl]; t != nil {
		return t, nil
	}
	f, err := loadTable(s.base, sl.number)
	if err == nil && f.t == nil {
		err = fail.New(fail.Corrupt, "slot %d has lost its header", sl.number)
	}
	if err != nil {
		return nil, err
	}
	known[sl] = f.t
	return f.t, nil
}

// check verifies the content of a block of the slot.
func (t *table) check(at int, data []byte) error {
	if checksum(data) != t.crcs[at-t.first()] {
		return fail.New(fail.Corrupt, "slot %d block %d fails its checksum", t.number, at)
	}
	return nil
}

// bitmap is a set of small numbers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitmap) set(i int)      { b[i/64] |= 1 << (i % 64) }
