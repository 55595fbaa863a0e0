package engine

import "slices"

// pinSet is a set of moments that must stay whole, ascending, each with how
// many pins hold it. A line has three: moments whose data is needed (snapshots,
// kept points, forks of clones, open views), roots whose nodes are, and roots
// aside, which have nodes that are nowhere else.
type pinSet struct {
	at []uint64
	n  []int
}

func (p *pinSet) add(m uint64) {
	i, ok := slices.BinarySearch(p.at, m)
	if ok {
		p.n[i]++
		return
	}
	p.at, p.n = slices.Insert(p.at, i, m), slices.Insert(p.n, i, 1)
}

func (p *pinSet) remove(m uint64) {
	i, ok := slices.BinarySearch(p.at, m)
	if !ok {
		return
	}
	if p.n[i]--; p.n[i] == 0 {
		p.at, p.n = slices.Delete(p.at, i, i+1), slices.Delete(p.n, i, i+1)
	}
}

// count is how many pins hold a moment.
func (p *pinSet) count(m uint64) int {
	if i, ok := slices.BinarySearch(p.at, m); ok {
		return p.n[i]
	}
	return 0
}

// after reports whether there is a pin after a moment.
func (p *pinSet) after(m uint64) bool { return len(p.at) > 0 && p.at[len(p.at)-1] > m }

// total is how many pins there are.
func (p *pinSet) total() (n int) {
	for _, k := range p.n {
		n += k
	}
	return n
}

// pinRange are the pins that keep something: from the first at or after its
// birth to the last before its death.
type pinRange struct{ first, last uint64 }

// rangeOf finds the pins, of those in at, which need what lived in
// [birth, death); false where none does.
func rangeOf(at []uint64, birth, death uint64) (pinRange, bool) {
	i, _ := slices.BinarySearch(at, birth)
	j, _ := slices.BinarySearch(at, death)
	if i >= j {
		return pinRange{}, false
	}
	return pinRange{at[i], at[j-1]}, true
}

// hold keeps, in memory only, a moment of a line and the root that an overlay
// of it was made from, for as long as the overlay or a view of it is used. A
// crash ends the holds and what they were for.
type hold struct {
	e         *Engine
	d         *dataset
	lsn, from uint64
	past      *root // the root, if it is one aside: it stays listed
	over      bool
}

// holdMoment needs d.mu.
func (e *Engine) holdMoment(d *dataset, lsn uint64, im *overlay) *hold {
	d.lineAt(lsn).dataPins.add(lsn)
	d.lineAt(lsn).views.add(lsn)
	if im.past != nil {
		im.past.views++
	} else {
		d.lineAt(im.from).nodePins.add(im.from)
	}
	return &hold{e: e, d: d, lsn: lsn, from: im.from, past: im.past}
}

// release ends the hold; once more it has no effect.
func (h *hold) release() {
	if h == nil {
		return
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.drop()
}

// drop is release for who holds d.mu.
func (h *hold) drop() {
	if h == nil || h.over {
		return
	}
	h.over = true
	h.d.lineAt(h.lsn).dataPins.remove(h.lsn)
	h.d.lineAt(h.lsn).views.remove(h.lsn)
	if h.past != nil {
		h.past.views-- // the next checkpoint lets it go, if nothing else keeps it
	} else {
		h.d.lineAt(h.from).nodePins.remove(h.from)
	}
	h.e.touch(h.d)
}
