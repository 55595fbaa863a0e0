package tree

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// ScanOver leaves out nothing from lo on, nor the last entry before it.
func TestScanOver(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := NewCache(newDisk(), 1<<20)
	tr := c.Open(Ref{})
	const numbers = 20_000
	var keys []uint64
	for n := range uint64(numbers) {
		if rng.IntN(3) > 0 {
			put(t, tr, key(n), "some value")
			keys = append(keys, n)
		}
	}
	skipped := 0
	for range 5000 {
		floor := rng.Uint64N(numbers)
		lo := floor + rng.Uint64N(64)
		hi := lo + 1 + rng.Uint64N(300)
		var got []uint64
		must(t, tr.ScanOver(key(floor), key(lo), key(hi), func(k Key, _ []byte) bool {
			_, n := k.Split()
			got = append(got, n)
			return true
		}))
		at := func(n uint64) int {
			i, _ := slices.BinarySearch(keys, n)
			return i
		}
		all := keys[at(floor):at(hi)]
		first := max(0, at(lo)-at(floor)-1) // the last entry before lo
		if i := at(lo); i < at(hi) && keys[i] == lo {
			first = i - at(floor)
		}
		want := all[min(first, len(all)):]
		if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
			t.Fatalf("[%d, %d, %d): %v, wanted is %v", floor, lo, hi, got, want)
		}
		for _, n := range got {
			if !slices.Contains(all, n) {
				t.Fatalf("[%d, %d, %d): %d is outside", floor, lo, hi, n)
			}
		}
		skipped += len(all) - len(got)
	}
	if skipped == 0 {
		t.Error("nothing was left out")
	}
	tr.Close()
	closed(t, c)
}
