package compact

import (
	"cmp"
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// Range is a range of blocks of a segment.
type Range struct{ Block, Blocks int }

// Victim is a segment to compact, ordinary or relocated, with all of its blocks
// that are alive: ascending, disjoint ranges, at least one. The others are lost.
type Victim struct {
	Segment uint64
	Live    []Range
}

// Result of Compact.
type Result struct {
	Slot    uint64   // the new slot; 0 if none came about
	Blocks  int      // that were copied into it
	Taken   []uint64 // the victims that lie there now, ascending
	Left    []uint64 // those that found no room in it
	Damaged []Damage // those of which a block could not be read or failed a check
}

// Damage is the first bad block of a victim, which was left as it was.
type Damage struct {
	Segment uint64
	Block   int
	Err     error // Corrupt, or what the store below said
}

// Compact copies the live blocks of victims, of as many as fit, into one new
// slot. verify is asked about each block before it is written; data is valid
// until it returns, and it must not change a victim. A block that it refuses,
// that fails the checksum of the slot it lies in, or that cannot be read, is
// never copied: its victim stays as it is, whole.
//
// When the slot is durable, the sources are removed. Reads go on all the time;
// changes of a victim wait. No victim may have been written to since it became
// one, or be needed as a whole, as those are that a replay may read.
//
// One Compact runs at a time. Errors: Invalid; NotFound for a victim that does
// not exist; those of the store below, such as NoSpace. After an error with
// Slot 0 nothing has changed; with a slot, a source could not be removed, and
// Finish tries again.
func (s *Store) Compact(victims []Victim, verify func(segment uint64, block int, data []byte) error) (Result, error) {
	if verify == nil {
		return Result{}, fail.New(fail.Invalid, "blocks are not moved without a check")
	}
	if err := s.checkVictims(victims); err != nil {
		return Result{}, err
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	if err := s.sweep(); err != nil {
		return Result{}, err
	}
	var r Result
	victims, r.Left = s.fitting(victims)
	if len(victims) == 0 {
		return r, nil
	}
	numbers := make([]uint64, len(victims))
	for i, v := range victims {
		numbers[i] = v.Segment
	}
	s.claims.take(numbers...)
	defer s.claims.release(numbers...)
	slot, err := s.nextSlot(numbers)
	if err != nil {
		return r, err
	}
	t, damaged, err := s.fill(slot, victims, verify)
	r.Damaged = damaged
	if err != nil || len(t.entries) == 0 {
		s.doom(slot)
		if e := s.sweep(); err == nil {
			err = e
		}
		return r, err
	}
	r.Slot, r.Blocks = slot, len(t.crcs)
	for _, e := range t.entries {
		r.Taken = append(r.Taken, e.segment)
	}
	return r, s.removeSources(t.entries, s.settle(t))
}

// checkVictims returns what is wrong with victims as such.
func (s *Store) checkVictims(victims []Victim) error {
	seen := map[uint64]bool{}
	for _, v := range victims {
		if v.Segment == 0 || v.Segment >= SlotBase || seen[v.Segment] {
			return fail.New(fail.Invalid, "segment %d cannot be compacted, or not twice", v.Segment)
		}
		seen[v.Segment] = true
		if len(v.Live) == 0 {
			return fail.New(fail.Invalid, "nothing of segment %d is alive", v.Segment).WithHint("remove it")
		}
		next := 0
		for _, r := range v.Live {
			if r.Block < next || r.Blocks <= 0 || r.Block > s.segBlocks || r.Blocks > s.segBlocks-r.Block {
				return fail.New(fail.Invalid, "segment %d has no %d blocks at %d, behind block %d", v.Segment, r.Blocks, r.Block, next)
			}
			next = r.Block + r.Blocks
		}
	}
	return nil
}

// nextSlot gives the next slot a number, above all others and with room in
// front for those of earlier openings, which may be gone: each opening of a log
// begins a new segment, so no number comes twice. It also checks that all
// victims exist.
func (s *Store) nextSlot(victims []uint64) (uint64, error) {
	list, err := s.List()
	if err != nil {
		return 0, err
	}
	files, highest := make(map[uint64]bool, len(list)), uint64(0)
	for _, seg := range list {
		files[seg.Number] = true
		highest = max(highest, seg.Number)
	}
	for _, n := range victims {
		if !files[n] && s.lookup(n) == nil {
			return 0, missing(n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, SlotBase+highest*slotsPerSegment)
	return s.last, nil
}

// fitting chooses the victims that fit into one slot together, the first ones
// first. They are returned by number, ascending.
func (s *Store) fitting(victims []Victim) (fit []Victim, left []uint64) {
	ranges, blocks := 0, 0
	for _, v := range victims {
		n := v.blocks()
		if overheadBlocks(tableBlocks(len(fit)+1, ranges+len(v.Live), blocks+n))+blocks+n > s.segBlocks {
			left = append(left, v.Segment)
			continue
		}
		fit, ranges, blocks = append(fit, v), ranges+len(v.Live), blocks+n
	}
	slices.SortFunc(fit, func(a, b Victim) int { return cmp.Compare(a.Segment, b.Segment) })
	return fit, left
}

func (v Victim) blocks() (n int) {
	for _, r := range v.Live {
		n += r.Blocks
	}
	return n
}

// fill makes a slot and copies victims into it. The slot is complete and
// durable on return, unless there is an error or nothing in it.
func (s *Store) fill(slot uint64, victims []Victim, verify func(uint64, int, []byte) error) (*table, []Damage, error) {
	t := &table{header: header{number: slot}}
	if err := s.base.Create(slot, segstore.Zeros); err != nil {
		return t, nil, err
	}
	ranges, blocks := 0, 0
	for _, v := range victims {
		ranges += len(v.Live)
		blocks += v.blocks()
	}
	t.tableBlocks = tableBlocks(len(victims), ranges, blocks)
	c := newCopier(s, t, verify)
	var damaged []Damage
	for _, v := range victims {
		d, err := c.copy(v)
		if err != nil {
			return t, damaged, err
		}
		if d != nil {
			damaged = append(damaged, *d)
		}
	}
	if len(t.entries) == 0 {
		return t, damaged, nil
	}
	if err := c.flush(); err != nil {
		return t, damaged, err
	}
	head, rest := t.encode()
	if err := s.base.WriteAt(slot, rest, blockSize); err != nil {
		return t, damaged, err
	}
	end, again := int64(t.first()+len(t.crcs))*blockSize, int64(t.copyAt(s.segBlocks))*blockSize
	if err := s.base.WriteAt(slot, rest, again); err != nil {
		return t, damaged, err
	}
	if err := s.base.PunchHole(slot, end, again-end); err != nil { // the slot takes no more than what is in it
		return t, damaged, err
	}
	if err := s.base.Sync(slot); err != nil {
		return t, damaged, err
	}
	return t, damaged, s.base.WriteDurableAt(slot, head, 0)
}

// settle makes a new slot the place of all that it holds, and buries that where
// it lay before in other slots. It returns the holes to punch there.
func (s *Store) settle(t *table) (holes []hole) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := newSlot(&t.header)
	s.slots[sl.number] = sl
	for _, e := range t.entries {
		old := s.homes[e.segment]
		s.homes[e.segment] = &home{slot: sl, runs: e.runs, file: old == nil || old.file}
		if old != nil {
			holes = append(holes, s.discard(old.slot, old.runs)...)
		}
	}
	return holes
}

// removeSources removes the files of segments that have just been copied, and
// what they had in older slots. The caller has claimed them.
func (s *Store) removeSources(entries []entry, holes []hole) error {
	first := s.giveBack(holes)
	for _, e := range entries {
		if h := s.lookup(e.segment); h.file {
			if err := s.removeFile(e.segment, h); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// removeFile makes a pending segment, which the caller has claimed, a relocated
// one.
func (s *Store) removeFile(n uint64, h *home) error {
	if err := s.base.Remove(n); err != nil && !fail.Is(err, fail.NotFound) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.homes[n] = &home{slot: h.slot, runs: h.runs}
	return nil
}

// doom notes a slot that holds nothing, for sweep.
func (s *Store) doom(slot uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doomed[slot] = struct{}{}
}
