package tree

import (
	"slices"
	"testing"
)

// TestRow: each level as Walk finds it, in whole and in part.
func TestRow(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 1000*PageSize)
	tr := c.Open(Ref{})
	for i := range uint64(30_000) {
		k := spread(i)
		change(t, tr, k, k, func() { tr.Put(k, make([]byte, 60)) })
	}
	v := tr.Freeze(1)
	defer v.Close()
	height, err := Height(v)
	if err != nil || height < 2 {
		t.Fatal(height, err)
	}
	lo, hi := spread(7), spread(8)
	if hi.Less(lo) {
		lo, hi = hi, lo
	}
	for _, r := range [][2]Key{{{}, MaxKey}, {lo, hi}, {lo, lo.Next()}} {
		levels := make([][]Node, height+1)
		if err := Walk(v, r[0], r[1], func(n Node) error {
			levels[n.Level] = append(levels[n.Level], n)
			return nil
		}, nil); err != nil {
			t.Fatal(err)
		}
		for level, want := range levels {
			var got []Node
			if err := Row(v, level, r[0], r[1], func(n Node) error {
				got = append(got, n)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got, want, func(g, w Node) bool {
				return g.Level == level && g.Ref == w.Ref && (level > 0 && g.First == w.First || level == 0 && !w.First.Less(g.First))
			}) {
				t.Errorf("level %d: %d nodes, not %d", level, len(got), len(want))
			}
		}
	}
	if err := Row(v, height+1, Key{}, MaxKey, func(Node) error { t.Error("a node above the root"); return nil }); err != nil {
		t.Fatal(err)
	}
}
