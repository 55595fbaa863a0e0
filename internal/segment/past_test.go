package segment

import (
	"fmt"
	"testing"

	"varve/internal/segstore/mem"
)

// What is left out of a reading is what the log said it had ended, and only where
// the chain goes on behind it: a crash may leave the last frame of a segment, and
// not all before it.
func TestReadPast(t *testing.T) {
	s := mem.New(24*BlockSize, 0)
	ended := map[uint64]Position{}
	o := testOptions(s)
	o.Entered = func(_ uint64, last Position) { ended[last.Addr.Segment()] = last }
	l := create(t, o)
	from := l.Cut()
	write := func(l *Log, n int) (last uint64) {
		for i := range n {
			last = appendOp(t, l, fmt.Sprint("op ", i), piece(newRand(1), Data, 2))
			must(t, l.Commit(last))
		}
		return last
	}
	read := func(until uint64, past map[uint64]Position) (segs map[uint64]int, err error) {
		segs = map[uint64]int{}
		next := uint64(0)
		err = ReadPast(s, testPool, from, until, func(seg uint64) (Position, bool) {
			p, ok := past[seg]
			return p, ok
		}, func(f *Frame) error {
			if len(past) == 0 && f.NumOps > 0 {
				if next != 0 && f.FirstLSN != next {
					return fmt.Errorf("lsn %d after %d", f.FirstLSN, next-1)
				}
				next = f.FirstLSN + uint64(f.NumOps)
			}
			segs[f.Position.Addr.Segment()]++
			return nil
		})
		return segs, err
	}
	last := write(l, 30)
	must(t, l.Close())
	all, err := read(last, nil)
	must(t, err)
	few, err := read(last, ended)
	must(t, err)
	first := from.Addr.Segment() // it is entered in its middle
	if len(all) != 4 || len(few) != 2 || few[first] != all[first] || few[first+3] != all[first+3] {
		t.Fatalf("of segments %v, %v were read; ended were %v", all, few, ended)
	}

	// The middle of a segment is lost.
	victim := first + 1
	stale := ended[victim]
	lost := MakeAddr(victim, 6)
	must(t, s.WriteAt(victim, make([]byte, BlockSize), lost.offset()))
	must(t, s.SetHint(nil))
	tail, err := Scan(s, testPool, from, ScanOptions{AcceptLoss: true}, func(*Frame) error { return nil })
	must(t, err)
	if tail.Addr.Segment() != victim {
		t.Fatalf("the log ends at %v, not in segment %d", tail.Addr, victim)
	}
	l, err = Resume(testOptions(s), tail)
	must(t, err)
	for last = write(l, 1); last <= stale.LastLSN+5; {
		last = write(l, 1)
	}
	must(t, l.Close())
	want, err := read(last, nil)
	must(t, err)
	got, err := read(last, map[uint64]Position{victim: stale})
	if err != nil || got[victim] != want[victim] {
		t.Errorf("of segments %v, %v were read: %v", want, got, err)
	}
}
