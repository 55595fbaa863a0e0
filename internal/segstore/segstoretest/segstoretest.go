// Package segstoretest holds what every segment store must pass.
package segstoretest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// SegmentSize is the size, in bytes, of the segments of the stores under test.
const SegmentSize = 64 << 10

// Capacity is how many segments a store under test must have room for, and no
// more.
const Capacity = 16

// highest is a number that every store must take: those from 1<<40 on may belong
// to the store itself, as the slots of segstore/compact do.
const highest = 1<<40 - 1

// Harness makes stores for one test.
type Harness struct {
	// New returns an empty store of SegmentSize and Capacity.
	New func(t *testing.T) segstore.Store

	// Reopen closes a store and opens it again. Everything is still there.
	Reopen func(t *testing.T, s segstore.Store) segstore.Store
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Empty", testEmpty},
		{"Superblock", testSuperblock},
		{"Hint", testHint},
		{"CreateListRemove", testCreateListRemove},
		{"ReadWrite", testReadWrite},
		{"Range", testRange},
		{"NoSegment", testNoSegment},
		{"Zero", testZero},
		{"Recycle", testRecycle},
		{"RecycleFillsHoles", testRecycleFillsHoles},
		{"PunchHole", testPunchHole},
		{"NoSpace", testNoSpace},
		{"SetCapacity", testSetCapacity},
		{"Reopen", testReopen},
		{"Concurrent", testConcurrent},
		{"NoAllocations", testNoAllocations},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func open(t *testing.T, h Harness) segstore.Store {
	t.Helper()
	s := h.New(t)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func check(t *testing.T, err error) {
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

func wantNumbers(t *testing.T, s segstore.Store, want ...uint64) {
	t.Helper()
	list, err := s.List()
	check(t, err)
	var got []uint64
	for _, seg := range list {
		got = append(got, seg.Number)
		if seg.Allocated < 0 || seg.Allocated > 2*SegmentSize {
			t.Errorf("segment %d has %d bytes allocated", seg.Number, seg.Allocated)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("segments %v, want %v", got, want)
	}
}

func read(t *testing.T, s segstore.Store, n uint64, off int64, length int) []byte {
	t.Helper()
	p := make([]byte, length)
	check(t, s.ReadAt(n, p, off))
	return p
}

// noise returns bytes that no other seed gives.
func noise(seed uint64, n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	p := make([]byte, n)
	rng.Read(p)
	return p
}

func testEmpty(t *testing.T, h Harness) {
	s := open(t, h)
	if s.SegmentSize() != SegmentSize {
		t.Fatalf("segment size %d", s.SegmentSize())
	}
	wantNumbers(t, s)
	space, err := s.Space()
	check(t, err)
	want := segstore.Space{Used: 0, Free: Capacity * SegmentSize, Capacity: Capacity * SegmentSize}
	if space != want {
		t.Fatalf("space %+v, want %+v", space, want)
	}
	_, err = s.Superblock()
	wantKind(t, err, fail.NotFound)
	_, err = s.Hint()
	wantKind(t, err, fail.NotFound)
}

func testSuperblock(t *testing.T, h Harness) {
	s := open(t, h)
	for _, n := range []int{100, segstore.MaxSuperblock, 1, 0} {
		b := noise(uint64(n), n)
		check(t, s.WriteSuperblock(b))
		got, err := s.Superblock()
		check(t, err)
		if !bytes.Equal(got, b) {
			t.Fatalf("superblock of %d bytes came back as %d others", n, len(got))
		}
	}
	wantKind(t, s.WriteSuperblock(make([]byte, segstore.MaxSuperblock+1)), fail.TooBig)
}

func testHint(t *testing.T, h Harness) {
	s := open(t, h)
	for _, n := range []int{100, segstore.MaxHint, 10, 0} {
		b := noise(uint64(n), n)
		check(t, s.SetHint(b))
		got, err := s.Hint()
		check(t, err)
		if !bytes.Equal(got, b) {
			t.Fatalf("hint of %d bytes came back as %d others", n, len(got))
		}
	}
	wantKind(t, s.SetHint(make([]byte, segstore.MaxHint+1)), fail.TooBig)
}

func testCreateListRemove(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(7, segstore.Zeros))
	check(t, s.Create(1, segstore.Written))
	check(t, s.Create(highest, segstore.Zeros))
	wantNumbers(t, s, 1, 7, highest)
	wantKind(t, s.Create(7, segstore.Zeros), fail.Exists)
	wantKind(t, s.Create(0, segstore.Zeros), fail.Invalid)
	for _, n := range []uint64{1, 7, highest} {
		if !bytes.Equal(read(t, s, n, 0, SegmentSize), make([]byte, SegmentSize)) {
			t.Errorf("new segment %d is not all zeros", n)
		}
	}
	check(t, s.Remove(7))
	wantKind(t, s.Remove(7), fail.NotFound)
	wantNumbers(t, s, 1, highest)
	check(t, s.Create(7, segstore.Written))
	wantNumbers(t, s, 1, 7, highest)
}

// someContent is another one for each of three segments.
func someContent(n uint64) segstore.Content { return segstore.Content(n % 3) }

func testReadWrite(t *testing.T, h Harness) {
	s := open(t, h)
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[uint64][]byte{}
	for n := uint64(1); n <= 3; n++ {
		check(t, s.Create(n, someContent(n)))
		model[n] = make([]byte, SegmentSize)
	}
	for i := range 300 {
		n := 1 + rng.Uint64N(3)
		off := rng.IntN(SegmentSize + 1)
		length := rng.IntN(min(20000, SegmentSize-off) + 1)
		if i%3 == 0 { // as the log does
			off, length = off&^4095, length&^4095
		}
		p := noise(uint64(i), length)
		write := s.WriteAt
		if i%2 == 0 {
			write = s.WriteDurableAt
		}
		check(t, write(n, p, int64(off)))
		copy(model[n][off:], p)
		if i%10 == 0 {
			check(t, s.Sync(n))
		}
		off = rng.IntN(SegmentSize + 1)
		got := make([]byte, rng.IntN(SegmentSize-off+1))
		want := model[n][off:][:len(got)]
		check(t, s.ReadAt(n, got, int64(off)))
		if !bytes.Equal(got, want) {
			t.Fatalf("step %d: segment %d differs in [%d, +%d)", i, n, off, len(got))
		}
		clear(got)
		ok, err := s.TryReadAt(n, got, int64(off))
		check(t, err)
		if ok && !bytes.Equal(got, want) {
			t.Fatalf("step %d: segment %d differs in [%d, +%d), read without waiting", i, n, off, len(got))
		}
	}
}

func testRange(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(1, segstore.Zeros))
	ranges := []struct {
		off    int64
		length int
	}{
		{-1, 1}, {-4096, 4096}, {0, SegmentSize + 1}, {SegmentSize, 1}, {SegmentSize - 1, 2}, {1 << 62, 1}, {1<<63 - 1, 1},
	}
	for _, r := range ranges {
		p := make([]byte, r.length)
		wantKind(t, s.ReadAt(1, p, r.off), fail.Corrupt)
		_, err := s.TryReadAt(1, p, r.off)
		wantKind(t, err, fail.Corrupt)
		wantKind(t, s.WriteAt(1, p, r.off), fail.Corrupt)
		wantKind(t, s.WriteDurableAt(1, p, r.off), fail.Corrupt)
		wantKind(t, s.PunchHole(1, r.off, int64(r.length)), fail.Corrupt)
		wantKind(t, s.Zero(1, r.off, int64(r.length)), fail.Corrupt)
	}
	wantKind(t, s.PunchHole(1, 0, -1), fail.Corrupt)
	check(t, s.ReadAt(1, nil, SegmentSize))
	check(t, s.WriteAt(1, nil, SegmentSize))
	check(t, s.WriteAt(1, []byte{1}, SegmentSize-1))
	check(t, s.ReadAt(1, make([]byte, 1), SegmentSize-1))
}

func testNoSegment(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(2, segstore.Zeros))
	p := make([]byte, 4096)
	_, err := s.TryReadAt(1, p, 0)
	for _, err := range []error{
		err, s.ReadAt(1, p, 0), s.WriteAt(1, p, 0), s.WriteDurableAt(1, p, 0), s.Sync(1),
		s.PunchHole(1, 0, 4096), s.Zero(1, 0, 4096), s.Remove(1), s.Recycle(1, 3),
	} {
		wantKind(t, err, fail.NotFound)
	}
	wantNumbers(t, s, 2)
}

func testZero(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(1, segstore.Written))
	check(t, s.WriteAt(1, noise(1, SegmentSize), 0))
	before, err := s.Space()
	check(t, err)
	check(t, s.Zero(1, 4096, 8192))
	want := noise(1, SegmentSize)
	clear(want[4096:12288])
	if !bytes.Equal(read(t, s, 1, 0, SegmentSize), want) {
		t.Error("not just the range reads as zeros")
	}
	after, err := s.Space()
	check(t, err)
	if before != after {
		t.Errorf("the space was %+v, now it is %+v", before, after)
	}
	check(t, s.GiveBack())
	if !bytes.Equal(read(t, s, 1, 0, SegmentSize), want) {
		t.Error("GiveBack changed a segment")
	}
}

func testRecycle(t *testing.T, h Harness) {
	s := open(t, h)
	for n := uint64(1); n <= 3; n++ {
		check(t, s.Create(n, segstore.Zeros))
		check(t, s.WriteAt(n, noise(n, SegmentSize), 0))
	}
	wantKind(t, s.Recycle(1, 3), fail.Exists)
	wantKind(t, s.Recycle(1, 1), fail.Exists)
	wantKind(t, s.Recycle(1, 0), fail.Invalid)
	wantNumbers(t, s, 1, 2, 3)
	check(t, s.Recycle(1, 9))
	wantNumbers(t, s, 2, 3, 9)
	wantKind(t, s.ReadAt(1, make([]byte, 1), 0), fail.NotFound)
	if !bytes.Equal(read(t, s, 9, 0, SegmentSize), noise(1, SegmentSize)) {
		t.Error("a recycled segment lost its bytes")
	}
	check(t, s.WriteDurableAt(9, noise(10, 4096), 4096))
	if !bytes.Equal(read(t, s, 9, 4096, 4096), noise(10, 4096)) {
		t.Error("a recycled segment does not take new bytes")
	}
	if !bytes.Equal(read(t, s, 2, 0, SegmentSize), noise(2, SegmentSize)) {
		t.Error("recycling changed another segment")
	}
	check(t, s.Create(1, segstore.Zeros))
	if !bytes.Equal(read(t, s, 1, 0, SegmentSize), make([]byte, SegmentSize)) {
		t.Error("a new segment with the number of a recycled one is not all zeros")
	}
}

func testRecycleFillsHoles(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(1, segstore.Written))
	check(t, s.PunchHole(1, 0, SegmentSize))
	check(t, s.Recycle(1, 2))
	space, err := s.Space()
	check(t, err)
	if space.Used < SegmentSize {
		t.Errorf("a recycled segment has only %d bytes allocated", space.Used)
	}
}

func testPunchHole(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(1, segstore.Zeros))
	model := noise(1, SegmentSize)
	check(t, s.WriteAt(1, model, 0))
	for _, r := range [][2]int{{4096, 8192}, {20000, 10000}, {40960, 0}, {SegmentSize - 4096, 4096}} {
		check(t, s.PunchHole(1, int64(r[0]), int64(r[1])))
		clear(model[r[0]:][:r[1]])
		if !bytes.Equal(read(t, s, 1, 0, SegmentSize), model) {
			t.Fatalf("wrong content after a hole of %d at %d", r[1], r[0])
		}
	}
	space, err := s.Space()
	check(t, err)
	if space.Used > SegmentSize+16384 || space.Used+space.Free > space.Capacity {
		t.Errorf("space %+v with one segment", space)
	}
}

func testNoSpace(t *testing.T, h Harness) {
	s := open(t, h)
	for n := uint64(1); n <= Capacity; n++ {
		check(t, s.Create(n, someContent(n)))
	}
	before, err := s.List()
	check(t, err)
	wantKind(t, s.Create(100, segstore.Zeros), fail.NoSpace)
	wantKind(t, s.Create(100, segstore.Written), fail.NoSpace)
	after, err := s.List()
	check(t, err)
	if !slices.Equal(before, after) {
		t.Errorf("a Create without space left %v", after)
	}
	check(t, s.Remove(3))
	check(t, s.Create(100, segstore.Written))
	wantKind(t, s.Create(101, segstore.Zeros), fail.NoSpace)
	check(t, s.Recycle(100, 101))
}

func testSetCapacity(t *testing.T, h Harness) {
	s := h.New(t)
	create := func(n uint64) error { return s.Create(n, segstore.Zeros) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := uint64(1); n <= Capacity; n++ {
		must(create(n))
	}
	must(s.SetCapacity((Capacity + 1) * SegmentSize))
	must(create(Capacity + 1))
	wantKind(t, create(Capacity+2), fail.NoSpace)
	wantKind(t, s.SetCapacity(0), fail.Invalid)

	must(s.SetCapacity(8 * SegmentSize)) // less than there is
	for n := uint64(9); n <= Capacity+1; n++ {
		must(s.Remove(n))
	}
	s = h.Reopen(t, s)
	if sp, err := s.Space(); err != nil || sp != (segstore.Space{Used: 8 * SegmentSize, Capacity: 8 * SegmentSize, Free: sp.Free}) {
		t.Errorf("%+v %v", sp, err)
	}
	for n := uint64(1); n <= 3; n++ {
		must(s.Remove(n))
	}
	if sp, err := s.Space(); err != nil || sp.Free != 3*SegmentSize {
		t.Errorf("%+v %v", sp, err)
	}
	if n, err := s.DefaultCapacity(); err != nil || n < Capacity*SegmentSize {
		t.Errorf("by default %d: %v", n, err)
	}
}

func testReopen(t *testing.T, h Harness) {
	s := h.New(t)
	check(t, s.WriteSuperblock([]byte("super")))
	check(t, s.SetHint([]byte("hint")))
	for n := uint64(1); n <= 4; n++ {
		check(t, s.Create(n, segstore.Zeros))
		check(t, s.WriteAt(n, noise(n, SegmentSize), 0))
	}
	check(t, s.Remove(2))
	check(t, s.Recycle(3, 5))
	before, err := s.Space()
	check(t, err)
	s = h.Reopen(t, s)
	defer func() { check(t, s.Close()) }()
	wantNumbers(t, s, 1, 4, 5)
	for n, seed := range map[uint64]uint64{1: 1, 4: 4, 5: 3} {
		if !bytes.Equal(read(t, s, n, 0, SegmentSize), noise(seed, SegmentSize)) {
			t.Errorf("segment %d differs after reopening", n)
		}
	}
	after, err := s.Space()
	check(t, err)
	if before != after {
		t.Errorf("space %+v, before reopening %+v", after, before)
	}
	super, err := s.Superblock()
	check(t, err)
	hint, err := s.Hint()
	check(t, err)
	if string(super) != "super" || string(hint) != "hint" {
		t.Errorf("superblock %q, hint %q", super, hint)
	}
	check(t, s.Sync(1))
	check(t, s.Create(6, segstore.Zeros))
}

// testConcurrent lets readers, writers, creation and removal run at once: each
// block of a segment says which segment it was written to.
func testConcurrent(t *testing.T, h Harness) {
	s := open(t, h)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			first := uint64(1 + 1000*w)
			for i := range uint64(30) {
				n := first + i
				if err := churn(s, rng, n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	wantNumbers(t, s)
}

// churn gives a segment a life.
func churn(s segstore.Store, rng *rand.Rand, n uint64) error {
	if err := s.Create(n, someContent(n)); err != nil {
		return err
	}
	for range 8 {
		off := rng.Int64N(SegmentSize/4096) * 4096
		p := noise(n, 4096)
		write := s.WriteAt
		if rng.IntN(2) == 0 {
			write = s.WriteDurableAt
		}
		if err := write(n, p, off); err != nil {
			return err
		}
		got := make([]byte, 4096)
		if err := s.ReadAt(n, got, off); err != nil {
			return err
		}
		if !bytes.Equal(got, p) {
			return errors.New("a segment holds the bytes of another")
		}
	}
	if err := s.Sync(n); err != nil {
		return err
	}
	if _, err := s.List(); err != nil {
		return err
	}
	if n%3 == 0 {
		if err := s.Recycle(n, n+500); err != nil {
			return err
		}
		n += 500
	}
	return s.Remove(n)
}

func testNoAllocations(t *testing.T, h Harness) {
	s := open(t, h)
	check(t, s.Create(1000, segstore.Written))
	p := noise(1, 4096)
	check(t, s.WriteAt(1000, p, 0))
	allocs := testing.AllocsPerRun(50, func() {
		check(t, s.ReadAt(1000, p, 0))
		_, err := s.TryReadAt(1000, p, 0)
		check(t, err)
	})
	if allocs > 0 {
		t.Errorf("reading allocates %v times", allocs)
	}
}
