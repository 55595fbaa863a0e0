package segment

import (
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/mem"
)

// A log whose old segments have been removed or compacted is opened and goes on
// as any other, and what is alive in them is read at its old address.
func TestRelocatedSegments(t *testing.T) {
	base := mem.New(64*BlockSize, 0)
	s, err := compact.Open(base)
	must(t, err)
	l := create(t, testOptions(s))
	from := l.Cut()
	rng := newRand(1)
	for range 120 {
		appendOp(t, l, "old", piece(rng, Data, 1+rng.IntN(8)))
	}
	must(t, l.CommitAll())
	old, _, err := readLog(t, s, from, ScanOptions{})
	must(t, err)
	from = l.Cut()
	first := from.Addr.Segment()
	if first < 6 {
		t.Fatalf("the log is in segment %d only", first)
	}
	_, err = l.SuperRoot(from.Append(nil))
	must(t, err)
	kept := relocate(t, s, old, first)
	verifyPayload(t, kept, l.ReadAt)
	for range 2 {
		must(t, s.SetHint(nil))
		root, err := FindSuperRoot(s, testPool)
		must(t, err)
		_, tail, err := readLog(t, s, from, ScanOptions{Attested: root.Seq})
		must(t, err)
		l.Abort()
		before := l.room.highest
		l, err = Resume(testOptions(s), tail)
		must(t, err)
		appendOp(t, l, "new", piece(rng, Data, 3))
		must(t, l.CommitAll())
		if n := l.last.Addr.Segment(); n < first || n < before {
			t.Errorf("the log goes on in segment %d", n)
		}
		verifyPayload(t, kept, l.ReadAt)
		if err := l.Retire(1); !fail.Is(err, fail.Invalid) {
			t.Errorf("a relocated segment was recycled: %v", err)
		}
		must(t, l.Close())
		s, err = compact.Open(base)
		must(t, err)
		verifyPayload(t, kept, storeRead(s))
	}
}

// relocate removes some segments below first and compacts the others, of which
// each fourth operation is alive, and returns those operations.
func relocate(t *testing.T, s *compact.Store, old []parsed, first uint64) (kept []parsed) {
	t.Helper()
	crc := map[Addr]uint32{}
	live := map[uint64][]compact.Range{}
	for i, op := range old {
		seg := op.pieces[0].Addr.Segment()
		if i%4 != 0 || seg >= first || seg == 2 || seg == 4 {
			continue
		}
		kept = append(kept, op)
		for _, p := range op.pieces {
			live[seg] = append(live[seg], compact.Range{Block: int(p.Addr.Block()), Blocks: len(p.CRC)})
			for i, c := range p.CRC {
				crc[p.Addr+Addr(i)] = c
			}
		}
	}
	var victims []compact.Victim
	for seg, ranges := range live {
		victims = append(victims, compact.Victim{Segment: seg, Live: ranges})
	}
	for len(victims) > 0 {
		r, err := s.Compact(victims, func(seg uint64, block int, data []byte) error {
			if Checksum(data) != crc[MakeAddr(seg, uint32(block))] {
				return fail.New(fail.Corrupt, "it fails its checksum")
			}
			return nil
		})
		if must(t, err); len(r.Damaged) > 0 || len(r.Taken) == 0 {
			t.Fatalf("%+v", r)
		}
		victims = slices.DeleteFunc(victims, func(v compact.Victim) bool { return slices.Contains(r.Taken, v.Segment) })
	}
	must(t, s.Remove(2))
	must(t, s.Remove(4))
	list, err := s.List()
	must(t, err)
	if low := slices.MinFunc(list, segstore.ByNumber).Number; low < first || len(s.Relocated()) < 3 {
		t.Fatalf("segments %v are listed, %v relocated; the log needs %d", list, s.Relocated(), first)
	}
	return kept
}
