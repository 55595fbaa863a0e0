package compact_test

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
)

// Readers notice nothing while what they read moves from its file to a slot,
// and from slot to slot, while slots are emptied, punched and removed.
func TestReadersDuringCompact(t *testing.T) {
	bases := map[string]func(t *testing.T) segstore.Store{
		"mem": func(*testing.T) segstore.Store { return mem.New(segSize, capacity) },
		"dir": func(t *testing.T) segstore.Store {
			root := filepath.Join(t.TempDir(), "pool")
			check(t, dir.Make(vfs.OS(), root, segSize, capacity))
			s, err := dir.Open(vfs.OS(), root, dir.Options{})
			check(t, err)
			return s
		},
	}
	for name, base := range bases {
		t.Run(name, func(t *testing.T) {
			s := open(t, base(t))
			defer func() { check(t, s.Close()) }()
			for round := range uint64(3) {
				readersRound(t, s, 1+4*round)
			}
		})
	}
}

// readersRound moves four segments about: the first one stays whole, the others
// lose more and more.
func readersRound(t *testing.T, s *compact.Store, first uint64) {
	always := ranges{{2, 3}, {20, 4}, {63, 1}}
	for n := first; n < first+4; n++ {
		make1(t, s, n)
	}
	var stop atomic.Bool
	defer stop.Store(true)
	var group sync.WaitGroup
	var reads atomic.Int64
	for reader := range 3 {
		group.Go(func() {
			rng := newRand(uint64(reader))
			for !stop.Load() {
				n, r := first+rng.Uint64N(4), always[rng.IntN(len(always))]
				err := holds(s, n, ranges{r})
				if err == nil {
					p := make([]byte, block)
					var ok bool
					if ok, err = s.TryReadAt(n, p, int64(r.Block)*block); ok {
						err = genuine(n, r.Block, p)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				s.Prefetch(n, 0, segSize)
				reads.Add(1)
			}
		})
	}
	both := func(a, b uint64, more ...compact.Range) {
		must(t, s, compact.Victim{Segment: a, Live: always}, compact.Victim{Segment: b, Live: append(always[:2:2], append(more, always[2])...)})
	}
	// The rest of a slot that was emptied by half is punched, and then it goes.
	both(first, first+1, compact.Range{Block: 30, Blocks: 30})
	both(first+2, first+3, compact.Range{Block: 24, Blocks: 36})
	for range 5 {
		both(first+1, first+3)
		both(first, first+2)
		both(first+3, first)
	}
	before := reads.Load()
	for reads.Load() < before+20 && !t.Failed() {
	}
	stop.Store(true)
	group.Wait()
	for n := first; n < first+4; n++ {
		check(t, s.Remove(n))
		if err := s.ReadAt(n, p1(), 2*block); !fail.Is(err, fail.NotFound) {
			t.Fatalf("segment %d was removed: %v", n, err)
		}
	}
	if len(slotsOf(t, s)) != 0 {
		t.Errorf("slots %+v are left", slotsOf(t, s))
	}
}

// Changes of a victim wait for Compact; those of others do not.
func TestChangesDuringCompact(t *testing.T) {
	s := open(t, mem.New(segSize, capacity))
	make1(t, s, 1)
	make1(t, s, 2)
	punched := make(chan error, 1)
	var once sync.Once
	verify := func(seg uint64, b int, data []byte) error {
		once.Do(func() {
			go func() { punched <- s.PunchHole(1, 0, 4*block) }()
			check(t, s.PunchHole(2, 0, block))
			check(t, s.Remove(2))
		})
		return genuine(seg, b, data)
	}
	r, err := s.Compact([]compact.Victim{{Segment: 1, Live: ranges{{0, 8}}}}, verify)
	if check(t, err); len(r.Damaged) > 0 || r.Blocks != 8 {
		t.Fatalf("%+v", r)
	}
	check(t, <-punched)
	check(t, holds(s, 1, ranges{{4, 4}}))
	wantKind(t, s.ReadAt(1, p1(), 3*block), fail.Corrupt)
}

// What a read has looked up moves away before it reads: its file goes, its place
// in a slot is punched, its slot goes, or all of it is removed.
func TestReadMeetsMove(t *testing.T) {
	base := &tap{Store: mem.New(segSize, capacity)}
	s := open(t, base)
	for n := uint64(1); n <= 2; n++ {
		make1(t, s, n)
	}
	live := ranges{{3, 20}}
	meet := func(moving ...compact.Victim) {
		t.Helper()
		base.reading = func() { must(t, s, moving...) }
		check(t, holds(s, 1, live))
		if base.reading != nil {
			t.Fatal("nothing moved")
		}
	}
	meet(compact.Victim{Segment: 1, Live: live}, compact.Victim{Segment: 2, Live: ranges{{0, 1}}})
	base.punched = nil
	if meet(compact.Victim{Segment: 1, Live: live}); len(base.punched) == 0 {
		t.Error("nothing was punched")
	}
	if meet(compact.Victim{Segment: 1, Live: live}); len(slotsOf(t, s)) != 2 {
		t.Errorf("slots %+v", slotsOf(t, s))
	}
	base.reading = func() { check(t, s.PunchHole(1, 5*block, block)) }
	wantKind(t, s.ReadAt(1, p1(), 5*block), fail.Corrupt)
	base.reading = func() { check(t, s.Remove(1)) }
	wantKind(t, s.ReadAt(1, p1(), 3*block), fail.NotFound)
}
