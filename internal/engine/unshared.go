package engine

import (
	"slices"

	"varve/internal/tree"
)

// KeyRange is the keys in [From, To).
type KeyRange struct{ From, To tree.Key }

// Unshared returns the ranges of keys, in order, outside of which v and w,
// views of one share or of its clones, are the same: those of the leaves that
// they do not have in common. What is inside may be the same too.
func (v *View) Unshared(w *View) ([]KeyRange, error) {
	a, err := leafKeys(v.vers)
	if err != nil {
		return nil, err
	}
	b, err := leafKeys(w.vers)
	if err != nil {
		return nil, err
	}
	out := append(without(a, b), without(b, a)...)
	slices.SortFunc(out, func(x, y KeyRange) int { return slices.Compare(x.From[:], y.From[:]) })
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && !merged[n-1].To.Less(r.From) {
			if merged[n-1].To.Less(r.To) {
				merged[n-1].To = r.To
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged, nil
}

// leafSpan is a leaf and the keys that belong into it.
type leafSpan struct {
	addr uint64 // 0: it is in memory only
	KeyRange
}

func leafKeys(v *tree.Version) ([]leafSpan, error) {
	var out []leafSpan
	err := tree.Leaves(v, tree.Key{}, tree.MaxKey, func(n tree.Node) error {
		from := n.First
		if len(out) > 0 {
			out[len(out)-1].To = from
		} else {
			from = tree.Key{}
		}
		out = append(out, leafSpan{n.Ref.Addr, KeyRange{from, tree.MaxKey}})
		return nil
	})
	return out, err
}

// without returns the ranges of those leaves that others does not have.
func without(leaves, others []leafSpan) []KeyRange {
	common := make(map[uint64]bool, len(others))
	for _, l := range others {
		common[l.addr] = l.addr != 0
	}
	var out []KeyRange
	for _, l := range leaves {
		if !common[l.addr] {
			out = append(out, l.KeyRange)
		}
	}
	return out
}
