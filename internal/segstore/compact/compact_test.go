package compact_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/segstore/segstoretest"
	"varve/internal/vfs"
)

const (
	block     = segstore.BlockSize
	segBlocks = 64
	segSize   = segBlocks * block
	capacity  = 64 * segSize
)

type ranges = []compact.Range

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fail.Kind) {
	t.Helper()
	if !fail.Is(err, k) {
		t.Fatalf("error %v, want kind %v", err, k)
	}
}

func wantSegments(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s %v, want %v", what, got, want)
	}
}

// content is what a block of a segment holds: each sector says where it belongs.
func content(seg uint64, b int) []byte {
	le := binary.LittleEndian
	return bytes.Repeat(le.AppendUint64(le.AppendUint64(nil, seg), uint64(b)), block/16)
}

// genuine is the check of blocks that content made.
func genuine(seg uint64, b int, data []byte) error {
	le := binary.LittleEndian
	for at := 0; at < len(data); at += 16 { // nothing is allocated: the models look at all blocks after each step
		if le.Uint64(data[at:]) != seg || le.Uint64(data[at+8:]) != uint64(b) {
			return errors.New("it holds something else")
		}
	}
	return nil
}

// make1 creates a segment and writes all of it, durably.
func make1(t testing.TB, s segstore.Store, seg uint64) {
	t.Helper()
	check(t, s.Create(seg, segstore.Zeros))
	check(t, writeAll(s, seg))
}

func writeAll(s segstore.Store, seg uint64) error {
	var p []byte
	for b := range segBlocks {
		p = append(p, content(seg, b)...)
	}
	if err := s.WriteAt(seg, p, 0); err != nil {
		return err
	}
	return s.Sync(seg)
}

// holds compares ranges of a segment with what was written.
func holds(s segstore.Store, seg uint64, live ranges) error {
	for _, r := range live {
		p := make([]byte, r.Blocks*block)
		if err := s.ReadAt(seg, p, int64(r.Block)*block); err != nil {
			return fmt.Errorf("segment %d, %d blocks at %d: %w", seg, r.Blocks, r.Block, err)
		}
		for i := range r.Blocks {
			if genuine(seg, r.Block+i, p[i*block:][:block]) != nil {
				return fmt.Errorf("segment %d block %d holds other bytes", seg, r.Block+i)
			}
		}
	}
	return nil
}

func open(t testing.TB, base segstore.Store) *compact.Store {
	t.Helper()
	s, err := compact.Open(base)
	check(t, err)
	return s
}

// openDir opens a pool directory on a disk, with slots.
func openDir(t testing.TB, fsys vfs.FS) *compact.Store {
	t.Helper()
	base, err := dir.Open(fsys, "/pool", dir.Options{})
	check(t, err)
	return open(t, base)
}

func newDisk(t testing.TB, seed uint64) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem(seed)
	check(t, dir.Make(disk, "/pool", segSize, capacity))
	check(t, disk.SyncDir("/"))
	return disk
}

// must compacts victims that are all taken.
func must(t testing.TB, s *compact.Store, victims ...compact.Victim) uint64 {
	t.Helper()
	r, err := s.Compact(victims, genuine)
	check(t, err)
	if len(r.Taken) != len(victims) || r.Slot == 0 {
		t.Fatalf("of %v: %+v", victims, r)
	}
	return r.Slot
}

func slotsOf(t testing.TB, s *compact.Store) []compact.SlotInfo {
	t.Helper()
	infos, err := s.Slots()
	check(t, err)
	return infos
}

// below counts what the store below has.
func below(t testing.TB, base segstore.Store) (segments, slots int) {
	t.Helper()
	list, err := base.List()
	check(t, err)
	for _, seg := range list {
		if seg.Number < compact.SlotBase {
			segments++
		} else {
			slots++
		}
	}
	return segments, slots
}

func TestStoreOverMem(t *testing.T) {
	var base *mem.Store
	segstoretest.Run(t, segstoretest.Harness{
		New: func(t *testing.T) segstore.Store {
			base = mem.New(segstoretest.SegmentSize, segstoretest.Capacity*segstoretest.SegmentSize)
			return open(t, base)
		},
		Reopen: func(t *testing.T, s segstore.Store) segstore.Store {
			check(t, s.Close())
			return open(t, base)
		},
	})
}

func TestStoreOverDir(t *testing.T) {
	var disk *vfs.Mem
	segstoretest.Run(t, segstoretest.Harness{
		New: func(t *testing.T) segstore.Store {
			disk = vfs.NewMem(1)
			check(t, dir.Make(disk, "/pool", segstoretest.SegmentSize, segstoretest.Capacity*segstoretest.SegmentSize))
			return openDir(t, disk)
		},
		Reopen: func(t *testing.T, s segstore.Store) segstore.Store {
			check(t, s.Close())
			return openDir(t, disk)
		},
	})
}

func TestCompact(t *testing.T) {
	base := mem.New(segSize, capacity)
	s := open(t, base)
	live := map[uint64]ranges{3: {{0, 1}, {5, 3}, {8, 1}}, 4: {{63, 1}}, 9: {{10, 20}}}
	for n := uint64(1); n <= 9; n++ {
		make1(t, s, n)
	}
	slot := must(t, s, compact.Victim{9, live[9]}, compact.Victim{3, live[3]}, compact.Victim{4, live[4]})
	for range 2 {
		list, err := s.List()
		check(t, err)
		var numbers []uint64
		for _, seg := range list {
			numbers = append(numbers, seg.Number)
		}
		wantSegments(t, "segments", numbers, 1, 2, 5, 6, 7, 8)
		wantSegments(t, "relocated", s.Relocated(), 3, 4, 9)
		wantSegments(t, "in the slot", segmentsIn(t, s, slot), 3, 4, 9)
		wantSegments(t, "pending", s.Pending())
		if infos := slotsOf(t, s); len(infos) != 1 || !reflect.DeepEqual(infos[0], compact.SlotInfo{Number: slot, Blocks: 26, Live: 26, Overhead: 3, Allocated: segSize, Segments: []uint64{3, 4, 9}}) {
			t.Fatalf("slots %+v", infos)
		}
		for n, l := range live {
			check(t, holds(s, n, l))
			in, held := s.Held(n)
			if in != slot || !slices.Equal(held, l) {
				t.Fatalf("segment %d: slot %d has %v", n, in, held)
			}
		}
		check(t, holds(s, 3, ranges{{5, 4}, {6, 1}})) // over two ranges of a slot; in the middle of one
		p := make([]byte, 5000)
		check(t, s.ReadAt(9, p, 11*block+77))
		if want := append(content(9, 11), content(9, 12)...)[77:][:5000]; !bytes.Equal(p, want) {
			t.Error("a read that is not aligned differs")
		}
		ok, err := s.TryReadAt(9, p, 11*block+77)
		if !ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
		s.Prefetch(9, 0, segSize)
		s = open(t, base)
	}
	err := s.ReadAt(3, make([]byte, 2*block), 0)
	if wantKind(t, err, fail.Corrupt); err.Error() != "segment 3 block 1 was freed" {
		t.Errorf("%q", err)
	}
	wantKind(t, s.ReadAt(3, make([]byte, 1), segSize), fail.Corrupt)
	wantKind(t, s.WriteAt(3, make([]byte, 1), 0), fail.Invalid)
	wantKind(t, s.WriteDurableAt(3, make([]byte, 1), 0), fail.Invalid)
	wantKind(t, s.Sync(3), fail.Invalid)
	wantKind(t, s.Recycle(3, 100), fail.Invalid)
	wantKind(t, s.Recycle(1, 3), fail.Exists)
	wantKind(t, s.Create(3, segstore.Zeros), fail.Exists)
	wantKind(t, s.Create(compact.SlotBase, segstore.Zeros), fail.Invalid)
	wantKind(t, s.Recycle(1, compact.SlotBase), fail.Invalid)
	for _, err := range []error{
		s.ReadAt(slot, p1(), 0), s.WriteAt(slot, p1(), 0), s.Sync(slot), s.PunchHole(slot, 0, block), s.Remove(slot), s.Recycle(slot, 100),
	} {
		wantKind(t, err, fail.NotFound)
	}
}

func p1() []byte { return make([]byte, 1) }

func TestCompactRefuses(t *testing.T) {
	s := open(t, mem.New(segSize, capacity))
	make1(t, s, 1)
	for _, c := range []struct {
		kind    fail.Kind
		victims []compact.Victim
	}{
		{fail.Invalid, []compact.Victim{{0, ranges{{0, 1}}}}},
		{fail.Invalid, []compact.Victim{{compact.SlotBase, ranges{{0, 1}}}}},
		{fail.Invalid, []compact.Victim{{1, ranges{{0, 1}}}, {1, ranges{{1, 1}}}}},
		{fail.Invalid, []compact.Victim{{1, nil}}},
		{fail.Invalid, []compact.Victim{{1, ranges{{0, 0}}}}},
		{fail.Invalid, []compact.Victim{{1, ranges{{-1, 1}}}}},
		{fail.Invalid, []compact.Victim{{1, ranges{{5, 2}, {6, 1}}}}},
		{fail.Invalid, []compact.Victim{{1, ranges{{63, 2}}}}},
		{fail.NotFound, []compact.Victim{{1, ranges{{0, 1}}}, {2, ranges{{0, 1}}}}},
	} {
		_, err := s.Compact(c.victims, genuine)
		if !fail.Is(err, c.kind) {
			t.Errorf("%v: %v", c.victims, err)
		}
	}
	_, err := s.Compact([]compact.Victim{{1, ranges{{0, 1}}}}, nil)
	wantKind(t, err, fail.Invalid)
	if r, err := s.Compact([]compact.Victim{{1, ranges{{0, 64}}}}, genuine); err != nil || r.Slot != 0 || len(r.Left) != 1 {
		t.Errorf("a full segment: %+v, %v", r, err)
	}
	check(t, holds(s, 1, ranges{{0, 64}}))
	if len(slotsOf(t, s)) != 0 {
		t.Error("a slot was made")
	}
}

// What does not fit is left; what comes first has the first right.
func TestLeft(t *testing.T) {
	s := open(t, mem.New(segSize, capacity))
	for n := uint64(1); n <= 4; n++ {
		make1(t, s, n)
	}
	r, err := s.Compact([]compact.Victim{{4, ranges{{0, 39}}}, {1, ranges{{0, 30}}}, {3, ranges{{0, 22}}}, {2, ranges{{0, 1}}}}, genuine)
	check(t, err)
	wantSegments(t, "taken", r.Taken, 3, 4)
	wantSegments(t, "left", r.Left, 1, 2)
	if r.Blocks != 61 {
		t.Errorf("%d blocks in the slot", r.Blocks)
	}
	check(t, holds(s, 1, ranges{{0, 64}}))
	check(t, holds(s, 3, ranges{{0, 22}}))
	check(t, holds(s, 4, ranges{{0, 39}}))
}

// tap notes what is asked of a store, and lets something happen before a read.
type tap struct {
	segstore.Store
	punched []string
	reading func()
}

func (s *tap) ReadAt(n uint64, p []byte, off int64) error {
	if f := s.reading; f != nil {
		s.reading = nil
		f()
	}
	return s.Store.ReadAt(n, p, off)
}

func (s *tap) PunchHole(n uint64, off, length int64) error {
	if length > 0 {
		s.punched = append(s.punched, fmt.Sprintf("%d+%d", off/block, length/block))
	}
	return s.Store.PunchHole(n, off, length)
}

// Blocks that are freed are punched out of the slot as soon as there are many
// together, and the slot goes with its last one.
func TestFree(t *testing.T) {
	base := &tap{Store: mem.New(segSize, capacity)}
	s := open(t, base)
	make1(t, s, 1)
	make1(t, s, 2)
	live := ranges{{10, 40}}
	slot := must(t, s, compact.Victim{1, live}, compact.Victim{2, ranges{{0, 4}}})
	free := func(seg uint64, b, n int, alive int, punched ...string) {
		t.Helper()
		base.punched = nil
		check(t, s.PunchHole(seg, int64(b)*block, int64(n)*block))
		if !slices.Equal(base.punched, punched) {
			t.Fatalf("punched %v, want %v", base.punched, punched)
		}
		infos := slotsOf(t, s)
		if alive == 0 && len(infos) == 0 {
			return
		}
		if len(infos) != 1 || infos[0].Live != alive {
			t.Fatalf("slots %+v, want %d live blocks", infos, alive)
		}
	}
	free(1, 10, 15, 29)
	free(1, 10, 15, 29) // again
	free(1, 26, 1, 28)
	free(1, 25, 1, 27, "2+17") // blocks 10 to 26 of the segment are 2 to 18 of the slot
	free(1, 30, 1, 26)
	free(1, 27, 2, 24, "19+2")
	free(1, 29, 1, 23, "21+2")
	free(1, 0, 5, 23)
	wantKind(t, s.ReadAt(1, make([]byte, 2*block), 30*block), fail.Corrupt)
	check(t, holds(s, 1, ranges{{31, 19}}))
	check(t, holds(s, 2, ranges{{0, 4}}))
	wantKind(t, s.PunchHole(1, segSize, block), fail.Corrupt)
	check(t, s.PunchHole(1, 31*block+1, 2*block-2)) // no whole block
	check(t, holds(s, 1, ranges{{31, 19}}))
	check(t, s.Remove(2))
	wantKind(t, s.ReadAt(2, p1(), 0), fail.NotFound)
	wantKind(t, s.Remove(2), fail.NotFound)
	free(1, 0, segBlocks, 0)
	wantSegments(t, "in the slot", segmentsIn(t, s, slot))
	if _, slots := below(t, base); slots != 0 {
		t.Errorf("%d slots are left", slots)
	}
	check(t, s.PunchHole(1, 0, segSize)) // it can be told again
	check(t, s.Remove(1))
	make1(t, s, 3)
	if again := must(t, s, compact.Victim{3, live}); again <= slot {
		t.Errorf("slot %d after slot %d", again, slot)
	}
}

// A slot with little alive is emptied into the next one. Where both name a
// segment, the newer one has it.
func TestHigherSlotWins(t *testing.T) {
	disk := newDisk(t, 1)
	s := openDir(t, disk)
	for n := uint64(1); n <= 3; n++ {
		make1(t, s, n)
	}
	first := must(t, s, compact.Victim{1, ranges{{0, 20}, {40, 1}}}, compact.Victim{2, ranges{{1, 2}}})
	second := must(t, s, compact.Victim{1, ranges{{0, 20}}}, compact.Victim{3, ranges{{60, 4}}})
	for range 2 {
		if in, _ := s.Held(1); in != second || second <= first {
			t.Fatalf("segment 1 is in slot %d, after %d and %d", in, first, second)
		}
		check(t, holds(s, 1, ranges{{0, 20}}))
		check(t, holds(s, 2, ranges{{1, 2}}))
		check(t, holds(s, 3, ranges{{60, 4}}))
		wantKind(t, s.ReadAt(1, p1(), 40*block), fail.Corrupt)
		infos := slotsOf(t, s)
		if len(infos) != 2 || infos[0].Live != 2 || infos[1].Live != 24 {
			t.Fatalf("slots %+v", infos)
		}
		check(t, s.Close())
		s = openDir(t, disk)
	}
	if infos := slotsOf(t, s); infos[0].Allocated >= segSize {
		t.Errorf("slots %+v: nothing was punched", infos)
	}
	third := must(t, s, compact.Victim{2, ranges{{1, 1}}})
	if infos := slotsOf(t, s); len(infos) != 2 || infos[0].Number != second || infos[1].Number != third {
		t.Fatalf("slots %+v: the first is empty", infos)
	}
}

func TestRelocatedReadsAllocateNothing(t *testing.T) {
	s := open(t, mem.New(segSize, capacity))
	make1(t, s, 1000)
	must(t, s, compact.Victim{1000, ranges{{3, 2}, {8, 2}, {10, 5}}})
	p := make([]byte, 4*block)
	allocs := testing.AllocsPerRun(50, func() {
		check(t, s.ReadAt(1000, p, 8*block))
		_, err := s.TryReadAt(1000, p, 8*block)
		check(t, err)
		s.Prefetch(1000, 8*block, 4*block)
	})
	if allocs > 0 {
		t.Errorf("reading allocates %v times", allocs)
	}
}

func TestReadOnly(t *testing.T) {
	disk := newDisk(t, 1)
	s := openDir(t, disk)
	make1(t, s, 1)
	make1(t, s, 2)
	must(t, s, compact.Victim{1, ranges{{0, 20}}})
	check(t, s.Close())
	base, err := dir.Open(disk, "/pool", dir.Options{})
	check(t, err)
	check(t, base.Create(compact.SlotBase+1<<40, segstore.Zeros)) // a half-made slot
	check(t, base.Close())
	base, err = dir.Open(disk, "/pool", dir.Options{ReadOnly: true})
	check(t, err)
	s = open(t, base)
	check(t, holds(s, 1, ranges{{0, 20}}))
	wantKind(t, s.PunchHole(1, 0, segSize), fail.ReadOnly)
	wantKind(t, s.Remove(1), fail.ReadOnly)
	wantKind(t, s.PunchHole(2, 0, segSize), fail.ReadOnly)
	_, err = s.Compact([]compact.Victim{{2, ranges{{0, 1}}}}, genuine)
	wantKind(t, err, fail.ReadOnly)
	check(t, holds(s, 1, ranges{{0, 20}}))
	if _, slots := below(t, base); slots != 2 {
		t.Errorf("%d slots below a store that is open read-only", slots)
	}
	check(t, s.Close())
	s = openDir(t, disk)
	if infos := slotsOf(t, s); len(infos) != 1 || infos[0].Live != 20 {
		t.Errorf("slots %+v", infos)
	}
}

// A block that fails a check stays where it is, with its whole segment.
func TestRotIsNotSpread(t *testing.T) {
	base := mem.New(segSize, capacity)
	s := open(t, base)
	for n := uint64(1); n <= 3; n++ {
		make1(t, s, n)
	}
	check(t, base.WriteAt(2, []byte{^byte(2)}, 30*block+100))
	victims := []compact.Victim{{1, ranges{{0, 10}}}, {2, ranges{{5, 2}, {20, 12}}}, {3, ranges{{1, 1}, {60, 4}}}}
	r, err := s.Compact(victims, genuine)
	check(t, err)
	wantSegments(t, "taken", r.Taken, 1, 3)
	if len(r.Damaged) != 1 || r.Damaged[0].Segment != 2 || r.Damaged[0].Block != 30 || !fail.Is(r.Damaged[0].Err, fail.Corrupt) || r.Blocks != 15 {
		t.Fatalf("%+v", r)
	}
	check(t, holds(s, 1, victims[0].Live))
	check(t, holds(s, 2, ranges{{0, 30}, {31, 33}}))
	check(t, holds(s, 3, victims[2].Live))

	// In a slot its own checksums find it, though the caller does not.
	check(t, base.WriteAt(r.Slot, []byte{^byte(1)}, 4*block+100))
	trusting := func(uint64, int, []byte) error { return nil }
	second, err := s.Compact([]compact.Victim{victims[0], victims[2]}, trusting)
	check(t, err)
	wantSegments(t, "taken", second.Taken, 3)
	if len(second.Damaged) != 1 || second.Damaged[0].Segment != 1 || second.Damaged[0].Block != 2 {
		t.Fatalf("%+v", second)
	}
	if in, _ := s.Held(1); in != r.Slot {
		t.Errorf("segment 1 is in slot %d", in)
	}
	check(t, holds(s, 1, ranges{{0, 2}, {3, 7}}))
	check(t, holds(s, 3, victims[2].Live))

	// With nothing whole no slot comes about.
	third, err := s.Compact(victims[:2], genuine)
	if check(t, err); third.Slot != 0 || len(third.Damaged) != 2 || len(third.Taken) != 0 {
		t.Fatalf("%+v", third)
	}
	if _, slots := below(t, base); slots != 2 {
		t.Errorf("%d slots", slots)
	}
	// Nor is a block moved that was freed.
	check(t, s.PunchHole(3, 61*block, block))
	fourth, err := s.Compact(victims[2:], genuine)
	if check(t, err); len(fourth.Damaged) != 1 || fourth.Damaged[0].Block != 61 {
		t.Fatalf("%+v", fourth)
	}
}

// A large victim that turns out bad at its end, when much of it was written,
// leaves nothing behind in the slot.
func TestRewind(t *testing.T) {
	const size = 1024 * block
	base := mem.New(size, 0)
	s := open(t, base)
	put := func(seg uint64) {
		check(t, s.Create(seg, segstore.Zeros))
		for b := range 1024 {
			check(t, s.WriteAt(seg, content(seg, b), int64(b)*block))
		}
	}
	put(1)
	put(2)
	put(3)
	check(t, base.WriteAt(2, make([]byte, block), 390*block))
	live := ranges{{0, 100}, {101, 290}}
	r, err := s.Compact([]compact.Victim{{1, ranges{{7, 200}}}, {2, live}, {3, live}}, genuine)
	check(t, err)
	wantSegments(t, "taken", r.Taken, 1, 3)
	for range 2 {
		check(t, holds(s, 1, ranges{{7, 200}}))
		check(t, holds(s, 3, live))
		check(t, holds(s, 2, ranges{{0, 390}}))
		s = open(t, base)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 5)) }

// segmentsIn returns what a slot holds blocks of.
func segmentsIn(t *testing.T, s *compact.Store, slot uint64) []uint64 {
	t.Helper()
	infos, err := s.Slots()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range infos {
		if x.Number == slot {
			return x.Segments
		}
	}
	return nil
}
