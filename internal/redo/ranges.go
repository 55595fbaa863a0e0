package redo

import (
	"math"
	"slices"
)

// ranges are bytes of one file with the operation that wrote them last, in order,
// without overlaps.
type ranges []written

type written struct{ from, to, lsn uint64 }

const endOfFile = math.MaxUint64

// find returns the index of the first range that ends behind off.
func (r ranges) find(off uint64) int {
	i, _ := slices.BinarySearchFunc(r, off, func(w written, off uint64) int {
		if w.to <= off {
			return -1
		}
		return 1
	})
	return i
}

// over returns the operation that wrote something of [from, to), 0 for none.
func (r ranges) over(from, to uint64) uint64 {
	if i := r.find(from); i < len(r) && r[i].from < to {
		return r[i].lsn
	}
	return 0
}

// without takes [from, to) out.
func (r ranges) without(from, to uint64) ranges {
	i := r.find(from)
	if i == len(r) || r[i].from >= to {
		return r
	}
	j := i
	var rest []written
	for ; j < len(r) && r[j].from < to; j++ {
		if r[j].from < from {
			rest = append(rest, written{r[j].from, from, r[j].lsn})
		}
		if r[j].to > to {
			rest = append(rest, written{to, r[j].to, r[j].lsn})
		}
	}
	return slices.Replace(r, i, j, rest...)
}

// with adds [from, to), joined to a range before it: one of the two operations
// stands for both.
func (r ranges) with(from, to, lsn uint64) ranges {
	r = r.without(from, to)
	i := r.find(from)
	if i > 0 && r[i-1].to == from {
		r[i-1].to, r[i-1].lsn = to, lsn
		return r
	}
	return slices.Insert(r, i, written{from, to, lsn})
}

// coarse joins neighbours, so that half as many are left: more overlaps are
// reported than there are, never fewer.
func (r ranges) coarse() ranges {
	out := r[:0]
	for i := 0; i < len(r); i += 2 {
		w := r[i]
		if i+1 < len(r) {
			w.to, w.lsn = r[i+1].to, r[i+1].lsn
		}
		out = append(out, w)
	}
	return out
}

// bytes returns how many there are; of what has no end none.
func (r ranges) bytes() (n uint64) {
	for _, w := range r {
		if w.to != endOfFile {
			n += w.to - w.from
		}
	}
	return n
}
