package engine

import (
	"slices"

	"varve/internal/fail"
	"varve/internal/tree"
	"varve/internal/varint"
)

// A line has as many stretches and gaps as rollbacks left branches that somebody
// keeps: more than an item of the pool tree may hold. Its record has the first
// ones, and further items of the dataset, one for so many, the others.
const (
	stretchesInLine = 20 // of each kind: 40, of at most 20 bytes
	stretchesInItem = 40
)

func putStretches(b []byte, list []stretch) []byte {
	b = putUvarints(b, uint64(len(list)))
	for _, s := range list {
		b = putUvarints(b, s.from, s.to)
	}
	return b
}

func readStretches(r *varint.Reader) (list []stretch) {
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		list = append(list, stretch{r.Uvarint(), r.Uvarint()})
	}
	return list
}

// recordStretches writes what the records of d's lines have no room for. d.mu is
// held.
func (d *dataset) recordStretches(records map[tree.Key][]byte) {
	n := uint64(0)
	for _, l := range d.lines {
		for kind, list := range [][]stretch{l.spans, l.gaps} {
			for some := range slices.Chunk(list[min(len(list), stretchesInLine):], stretchesInItem) {
				records[itemKey(tagStretches, d.id, n)] = putStretches(putBool(putUvarints(nil, l.id), kind == 1), some)
				n++
			}
		}
	}
	for i := n; i < d.stretchItems; i++ {
		records[itemKey(tagStretches, d.id, i)] = nil
	}
	d.stretchItems = n
}

// dropStretches removes the items of a dataset that goes.
func (d *dataset) dropStretches(records map[tree.Key][]byte) {
	for i := range d.stretchItems {
		records[itemKey(tagStretches, d.id, i)] = nil
	}
}

// readStretches takes an item of the pool tree. The lines are there.
func (d *dataset) readStretches(number uint64, v []byte) error {
	r := varint.Reader{B: v}
	id, gaps := r.Uvarint(), r.Byte() != 0
	list := readStretches(&r)
	d.stretchItems = max(d.stretchItems, number+1)
	i := slices.IndexFunc(d.lines, func(l *line) bool { return l.id == id })
	if i < 0 {
		return fail.New(fail.Corrupt, "the pool tree has stretches of line %d of %s, which is not there", id, d.name)
	}
	if l := d.lines[i]; gaps {
		l.gaps = append(l.gaps, list...)
	} else {
		l.spans = append(l.spans, list...)
	}
	return recordEnd(&r, "stretches", number)
}

// withoutInner leaves out the gaps that lie in others: they say nothing that those
// do not.
func withoutInner(gaps []stretch) []stretch {
	var out []stretch
	for i, g := range gaps {
		if !slices.ContainsFunc(gaps, func(o stretch) bool {
			return o != g && o.from <= g.from && g.to <= o.to
		}) && !slices.Contains(gaps[:i], g) {
			out = append(out, g)
		}
	}
	return out
}
