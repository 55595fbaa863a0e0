package tree

// A leafSeq is the entries of a leaf with one entry more, or with one value
// replaced, without having been put together: what a rebuild or a split
// reads.
type leafSeq struct {
	p       *page
	at      int  // where the new entry is
	replace bool // it takes the place of slot at
	k       Key
	v       []byte
}

func (q *leafSeq) len() int {
	if q.replace {
		return q.p.count()
	}
	return q.p.count() + 1
}

// slot returns the slot of p that entry i comes from; -1 is the new entry.
func (q *leafSeq) slot(i int) int {
	switch {
	case i == q.at:
		return -1
	case i > q.at && !q.replace:
		return i - 1
	}
	return i
}

func (q *leafSeq) key(i int) Key {
	if i = q.slot(i); i >= 0 {
		return q.p.leafKey(i)
	}
	return q.k
}

func (q *leafSeq) value(i int) []byte {
	if i = q.slot(i); i >= 0 {
		return q.p.value(i)
	}
	return q.v
}

// size returns how many bytes the entries [i, j) take as a leaf.
func (q *leafSeq) size(i, j int) int {
	if i == j {
		return 0
	}
	stride := 18 - commonPrefix(q.key(i), q.key(j-1))
	n := (j - i) * stride
	for ; i < j; i++ {
		n += storedLen(len(q.value(i)))
	}
	return n
}

// build makes dst the leaf of the entries [i, j), which fit.
func (q *leafSeq) build(dst *page, i, j int) {
	dst.reset(0)
	dst.setPrefix(q.key(i), commonPrefix(q.key(i), q.key(j-1)))
	for m := i; m < j; m++ {
		dst.push(q.key(m), q.value(m))
	}
}

// push adds an entry after the last of p. It fits, and shares the prefix.
func (p *page) push(k Key, v []byte) {
	off := p.heap() - storedLen(len(v))
	p.store(off, v)
	p.setHeap(off)
	at := p.slotsEnd()
	n := copy(p[at:], k[p.prefixLen():])
	p.setU16(at+n, off)
	p.setCount(p.count() + 1)
}

// cut returns where to split: [0, cut) stays, [cut, len) goes to a new leaf.
// Both fit, and neither is empty.
func (q *leafSeq) cut() int {
	n := q.len()
	if !q.replace {
		if q.at == n-1 {
			return n - 1 // ascending keys: the left leaf stays full
		}
		if q.at == q.p.hint() && q.fits(q.at+1) {
			return q.at + 1 // an ascending run in the midst of others
		}
	}
	half, c := q.size(0, n)/2, 0
	stride := 18 - commonPrefix(q.key(0), q.key(n-1))
	for sum := 0; sum < half; c++ {
		sum += stride + storedLen(len(q.value(c)))
	}
	if q.fits(c) {
		return c
	}
	return 1 // the new key is first and shares less: it goes alone
}

func (q *leafSeq) fits(c int) bool {
	n := q.len()
	return c > 0 && c < n && q.size(0, c) <= leafRoom && q.size(c, n) <= leafRoom
}

// mergedSize returns how many bytes the entries of a and of b, its right
// neighbour, take as one leaf. Neither is empty.
func mergedSize(a, b *page) int {
	stride := 18 - commonPrefix(a.leafKey(0), b.leafKey(b.count()-1))
	values := 2*PageSize - a.heap() - a.dead() - b.heap() - b.dead()
	return (a.count()+b.count())*stride + values
}

// mergeLeaves makes dst the leaf of the entries of a and b, which fit.
func mergeLeaves(dst, a, b *page) {
	dst.reset(0)
	first := a.leafKey(0)
	dst.setPrefix(first, commonPrefix(first, b.leafKey(b.count()-1)))
	for _, p := range [2]*page{a, b} {
		for i := range p.count() {
			dst.push(p.leafKey(i), p.value(i))
		}
	}
}
