package chain

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestNumbers: against plain maps, for levels whose new inodes are, after
// rollbacks, not always newer ones.
func TestNumbers(t *testing.T) {
	for round := range 30 {
		seed := uint64(time.Now().UnixNano()) + uint64(round)
		r := rand.New(rand.NewPCG(seed, 1))
		n := newNumbers()
		byShare, byArchive := map[uint64]uint32{2: 2}, map[uint32]uint64{2: 2}
		share, old := uint64(2), []uint64{}
		for level := range 5 {
			max := n.max
			n = n.clone()
			add := func(s uint64) {
				if byShare[s] != 0 {
					return
				}
				a := n.archive(s) // one that a run took along, and nobody else can have
				if a == 0 {
					if err := n.add(s); err != nil {
						t.Fatal(err)
					}
					n.seal()
					a = n.max
				}
				if byArchive[a] != 0 {
					t.Fatalf("seed %d: %d is given to %d and %d", seed, a, byArchive[a], s)
				}
				byShare[s], byArchive[a] = a, s
			}
			if level > 0 {
				for range r.IntN(10) { // those that a rollback brought back come first: they are older
					if len(old) > 0 {
						add(old[r.IntN(len(old))])
					}
				}
			}
			for range r.IntN(200) {
				share += 1 + uint64(r.IntN(2)*r.IntN(2)*r.IntN(60))
				if r.IntN(4) == 0 {
					old = append(old, share) // not there at this level
					continue
				}
				add(share)
			}
			for s, a := range byShare {
				if n.archive(s) != a || n.share(a) != s {
					t.Fatalf("seed %d level %d: %d has %d, not %d, which is of %d", seed, level, s, n.archive(s), a, n.share(a))
				}
			}
			if n.archive(share+1000) != 0 || n.share(n.max+1) != 0 || n.max < max {
				t.Fatalf("seed %d level %d: what is not there has a number", seed, level)
			}
		}
	}
}

// TestDense: 10,000 files of which every other one is gone take few runs, and maps
// that are not much larger than need be.
func TestDense(t *testing.T) {
	n := newNumbers()
	for share := uint64(1000); share < 21_000; share += 2 {
		if err := n.add(share); err != nil {
			t.Fatal(err)
		}
	}
	n.seal()
	if len(n.runs) > 3 || n.max > 21_000 {
		t.Errorf("%d runs up to %d", len(n.runs), n.max)
	}
}

func TestRecordNames(t *testing.T) {
	if got := recordName(0, 1795844998, 0); got != "dump-0-20261128t054958z" {
		t.Error(got)
	}
	if got := recordName(3, 1795844998, 1795844990); got != "dump-3-20261128t054958z-on-20261128t054950z" {
		t.Error(got)
	}
}
