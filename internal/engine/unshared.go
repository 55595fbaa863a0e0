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
func (v *View) Unshared(w *View) ([]KeyRange, error) { return unshared(v.vers, w.vers) }

// unshared goes down level by level, and looks only below nodes that the versions
// do not have in common: what it costs depends on what changed, not on how large the
// trees are.
func unshared(v, w *tree.Version) ([]KeyRange, error) {
	level, err := tree.Height(v)
	if err != nil {
		return nil, err
	}
	other, err := tree.Height(w)
	if err != nil {
		return nil, err
	}
	ranges := []KeyRange{{tree.Key{}, tree.MaxKey}}
	for level = max(0, min(level, other)); level >= 0; level-- {
		var out []KeyRange
		for _, r := range ranges {
			a, err := row(v, level, r)
			if err != nil {
				return nil, err
			}
			b, err := row(w, level, r)
			if err != nil {
				return nil, err
			}
			out = append(append(out, without(a, b)...), without(b, a)...)
		}
		ranges = joined(out)
	}
	return ranges, nil
}

// joined sorts ranges and joins those that touch.
func joined(list []KeyRange) []KeyRange {
	slices.SortFunc(list, func(x, y KeyRange) int { return slices.Compare(x.From[:], y.From[:]) })
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && !out[n-1].To.Less(r.From) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// rowNode is a node and the keys that belong into it.
type rowNode struct {
	addr uint64 // 0: it is in memory only
	KeyRange
}

// row returns the nodes of a level in a range. Together they cover it.
func row(v *tree.Version, level int, r KeyRange) ([]rowNode, error) {
	var out []rowNode
	err := tree.Row(v, level, r.From, r.To, func(n tree.Node) error {
		s := rowNode{n.Ref.Addr, r}
		if k := len(out); k > 0 {
			s.From = n.First
			out[k-1].To = n.First
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// without returns the ranges of those nodes that others does not have.
func without(nodes, others []rowNode) []KeyRange {
	common := make(map[uint64]bool, len(others))
	for _, n := range others {
		common[n.addr] = n.addr != 0
	}
	var out []KeyRange
	for _, n := range nodes {
		if !common[n.addr] {
			out = append(out, n.KeyRange)
		}
	}
	return out
}
