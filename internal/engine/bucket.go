package engine

import (
	"cmp"
	"slices"
)

// Buckets sort what is dead, and behind the horizon, by which pins keep it:
//
//	pins        p1      p2      p3      p4
//	            |       |       |       |
//	   [birth ----------------------- death)     kept by p1, p2, p3: bucket (p1, p3)
//	              [birth --- death)              kept by p2 alone:   bucket (p2, p2)
//
// So what destroying p frees is bucket (p, p), whole; of the others only those
// that begin or end with p are touched, and only their names change: (p, q)
// becomes (next p, q), (o, p) becomes (o, previous p). The cost does not depend
// on how many pins there are, nor on what stays.
//
// A pin that is added lies behind all that is sorted already, or at a pin: what
// is not dead at the horizon is not sorted yet.
type buckets struct {
	list   deathList
	pins   []uint64
	all    map[pinRange]*bucket
	begins map[uint64][]*bucket // by first pin
	ends   map[uint64][]*bucket // by last pin
	blocks int64                // in all of them
}

// bucket holds the deaths that the same pins keep.
type bucket struct {
	pins   pinRange
	runs   []*deathRun
	fresh  []death // not in a run yet
	blocks int64
}

func newBuckets(list deathList) buckets {
	return buckets{list: list, all: map[pinRange]*bucket{}, begins: map[uint64][]*bucket{}, ends: map[uint64][]*bucket{}}
}

// at returns the bucket of a range of pins, made if need be.
func (bs *buckets) at(r pinRange) *bucket {
	b := bs.all[r]
	if b == nil {
		b = &bucket{pins: r}
		bs.link(b)
	}
	return b
}

func (bs *buckets) link(b *bucket) {
	bs.all[b.pins] = b
	bs.begins[b.pins.first] = append(bs.begins[b.pins.first], b)
	bs.ends[b.pins.last] = append(bs.ends[b.pins.last], b)
}

func (bs *buckets) unlink(b *bucket) {
	delete(bs.all, b.pins)
	cut := func(m map[uint64][]*bucket, k uint64) {
		if m[k] = slices.DeleteFunc(m[k], func(x *bucket) bool { return x == b }); len(m[k]) == 0 {
			delete(m, k)
		}
	}
	cut(bs.begins, b.pins.first)
	cut(bs.ends, b.pins.last)
}

// take removes a bucket with what it has.
func (bs *buckets) take(b *bucket) {
	bs.unlink(b)
	bs.blocks -= b.blocks
}

// place files a death; false: no pin needs it.
func (bs *buckets) place(x death) bool {
	r, ok := rangeOf(bs.pins, x.birth, x.death)
	if !ok {
		return false
	}
	b := bs.at(r)
	b.fresh = append(b.fresh, x)
	b.blocks += int64(x.count)
	bs.blocks += int64(x.count)
	return true
}

// adopt files a run that was read from the pool tree. Pins that were in memory
// only are gone after a crash: the run belongs to those that are left, and is
// returned as not filed where none is.
func (bs *buckets) adopt(x *deathRun) (moved, filed bool) {
	r, ok := rangeOf(bs.pins, x.pins.first, x.pins.last+1)
	if !ok {
		return false, false
	}
	moved, x.pins = r != x.pins, r
	b := bs.at(r)
	b.runs = append(b.runs, x)
	b.blocks += x.data + x.nodes
	bs.blocks += x.data + x.nodes
	return moved, true
}

// setPins makes now the pins. It returns the buckets that no pin keeps any more,
// taken out, and the runs whose bucket has another name.
func (bs *buckets) setPins(now []uint64) (free []*bucket, moved []*deathRun) {
	var gone []uint64
	i := 0
	for _, p := range bs.pins {
		for i < len(now) && now[i] < p {
			i++
		}
		if i == len(now) || now[i] != p {
			gone = append(gone, p)
		}
	}
	bs.pins = now
	for _, p := range gone {
		at, _ := slices.BinarySearch(now, p)
		for _, b := range slices.Clone(bs.begins[p]) {
			to := pinRange{0, b.pins.last}
			if at < len(now) {
				to.first = now[at]
			}
			if at == len(now) || to.first > to.last {
				bs.take(b)
				free = append(free, b)
				continue
			}
			moved = append(moved, bs.rename(b, to)...)
		}
		for _, b := range slices.Clone(bs.ends[p]) {
			if at == 0 || now[at-1] < b.pins.first {
				bs.take(b)
				free = append(free, b)
				continue
			}
			moved = append(moved, bs.rename(b, pinRange{b.pins.first, now[at-1]})...)
		}
	}
	return free, moved
}

// rename moves what a bucket has to the bucket of other pins, and returns the
// runs concerned.
func (bs *buckets) rename(b *bucket, to pinRange) []*deathRun {
	bs.unlink(b)
	for _, x := range b.runs {
		x.pins = to
	}
	b.pins = to
	into := bs.all[to]
	if into == nil {
		bs.link(b)
		return b.runs
	}
	into.runs = append(into.runs, b.runs...)
	into.fresh = append(into.fresh, b.fresh...)
	into.blocks += b.blocks
	return b.runs
}

// join adds pins of another line, whose buckets are merged next.
func (bs *buckets) join(pins []uint64) {
	all := slices.Concat(bs.pins, pins)
	slices.Sort(all)
	bs.pins = slices.Compact(all)
}

// merge takes what another line's bucket has. Its pins are among ours.
func (bs *buckets) merge(b *bucket) {
	into := bs.at(b.pins)
	into.runs = append(into.runs, b.runs...)
	into.fresh = append(into.fresh, b.fresh...)
	into.blocks += b.blocks
	bs.blocks += b.blocks
}

// grown returns the buckets with deaths that no run has yet, in order.
func (bs *buckets) grown() (out []*bucket) {
	for _, b := range bs.all {
		if len(b.fresh) > 0 {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *bucket) int {
		return cmp.Or(cmp.Compare(a.pins.first, b.pins.first), cmp.Compare(a.pins.last, b.pins.last))
	})
	return out
}

// keptBy returns every bucket that moment p keeps.
func (bs *buckets) keptBy(p uint64) (out []*bucket) {
	for r, b := range bs.all {
		if r.first <= p && p <= r.last {
			out = append(out, b)
		}
	}
	return out
}
