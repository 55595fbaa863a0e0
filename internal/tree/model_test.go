package tree

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A line is a tree with all that should be true of it.
type line struct {
	tree  *Tree
	want  map[Key]string
	nodes map[uint64]*life // nodes on disk that some version of the line contained
	kept  []*kept
}

type life struct {
	birth, death uint64 // death 0: alive
}

// A kept is a version with what it should contain.
type kept struct {
	v     *Version
	want  map[Key]string
	nodes map[uint64]bool // once written
}

// A world is lines that share a disk and a small cache.
type world struct {
	*rapid.T
	d     *disk
	c     *Cache
	lines []*line
	now   uint64
}

func (w *world) retry(fn func() error) { retry(w.T, w.c, fn) }

func (w *world) line() *line { return pick(w, "line", w.lines) }

// pick draws an element without printing it.
func pick[E any](w *world, label string, from []E) E {
	return from[rapid.IntRange(0, len(from)-1).Draw(w.T, label)]
}

// keyAt spreads numbers over keys with prefixes of several lengths.
func keyAt(n uint64) Key { return MakeKey(n/300<<56|n/100, n%100*(1+n%3<<20)) }

const keys = 3000

func (w *world) key() Key { return keyAt(rapid.Uint64Range(0, keys).Draw(w.T, "key")) }

func (w *world) bounds() (lo, hi Key) {
	lo, hi = w.key(), w.key()
	if hi.Less(lo) {
		lo, hi = hi, lo
	}
	return lo, hi
}

func (w *world) value() string {
	n := rapid.SampledFrom([]int{0, 14, 127, 128, 500, MaxValue}).Draw(w.T, "length")
	w.now++
	return fmt.Sprintf("%0*d", n, w.now)[:n]
}

// put puts single keys, or a run of keys in one prepared range.
func (w *world) put() {
	l := w.line()
	first, n := rapid.Uint64Range(0, keys).Draw(w.T, "first"), rapid.Uint64Range(1, 60).Draw(w.T, "n")
	var ks []Key
	for i := range n {
		ks = append(ks, keyAt((first+i)%keys))
	}
	lo, hi := slices.MinFunc(ks, cmpKeys), slices.MaxFunc(ks, cmpKeys)
	w.retry(func() error { return l.tree.Prepare(lo, hi.Next()) })
	v := w.value()
	for _, k := range ks {
		l.tree.Put(k, []byte(v))
		l.want[k] = v
	}
}

func cmpKeys(a, b Key) int {
	if a.Less(b) {
		return -1
	} else if b.Less(a) {
		return 1
	}
	return 0
}

// remove deletes the keys of a prepared range one by one, and puts some back.
func (w *world) remove() {
	l := w.line()
	lo, hi := w.bounds()
	w.retry(func() error { return l.tree.Prepare(lo, hi) })
	for n := range uint64(keys) {
		k := keyAt(n)
		if k.Less(lo) || !k.Less(hi) {
			continue
		}
		_, had := l.want[k]
		if l.tree.Delete(k) != had {
			w.Fatalf("delete %v: was there %v", k, !had)
		}
		delete(l.want, k)
	}
	if lo.Less(hi) && rapid.Bool().Draw(w.T, "back") {
		l.tree.Put(lo, []byte("back"))
		l.want[lo] = "back"
		l.tree.Put(hi.prev(), []byte("also"))
		l.want[hi.prev()] = "also"
	}
}

// move moves an entry towards the next, sometimes to where another leaf begins.
func (w *world) move() {
	l := w.line()
	if len(l.want) == 0 {
		return
	}
	ks := slices.SortedFunc(maps.Keys(l.want), cmpKeys)
	i := rapid.IntRange(0, len(ks)-1).Draw(w.T, "from")
	k, next := ks[i], MaxKey
	if i+1 < len(ks) {
		next = ks[i+1]
	}
	to := []Key{k.Next(), next.prev(), keyAt(rapid.Uint64Range(0, keys).Draw(w.T, "to"))}[rapid.IntRange(0, 2).Draw(w.T, "how")]
	if !k.Less(to) || !to.Less(next) {
		return
	}
	w.retry(func() error { return l.tree.Prepare(k, to.Next()) })
	v := w.value()
	if !l.tree.Move(k, to, []byte(v)) || l.tree.Move(k, to, []byte(v)) {
		w.Fatalf("move of %v: it was not there, or still is", k)
	}
	delete(l.want, k)
	l.want[to] = v
}

func (w *world) removeRange() {
	l := w.line()
	lo, hi := w.bounds()
	w.retry(func() error { return l.tree.PrepareRange(lo, hi) })
	l.tree.DeleteRange(lo, hi)
	maps.DeleteFunc(l.want, func(k Key, _ string) bool { return !k.Less(lo) && k.Less(hi) })
	if lo.Less(hi) && rapid.Bool().Draw(w.T, "refill") {
		for n := range uint64(keys) {
			if k := keyAt(n); !k.Less(lo) && k.Less(hi) && n%5 == 0 {
				l.tree.Put(k, []byte("refilled"))
				l.want[k] = "refilled"
			}
		}
	}
}

func (w *world) get() {
	l := w.line()
	k := w.key()
	w.retry(func() error {
		got, ok, err := l.tree.Get(k, nil)
		if want, had := l.want[k]; err == nil && (ok != had || string(got) != want) {
			w.Fatalf("get %v: %.20q %v, want %.20q %v", k, got, ok, want, had)
		}
		return err
	})
}

func (w *world) scan() {
	l := w.line()
	lo, hi := w.bounds()
	want := maps.Clone(l.want)
	maps.DeleteFunc(want, func(k Key, _ string) bool { return k.Less(lo) || !k.Less(hi) })
	sameContents(w.T, "scan", contents(w.T, w.c, l.tree, lo, hi), want)
}

func (w *world) freeze() {
	l := w.line()
	w.now++
	l.kept = append(l.kept, &kept{v: l.tree.Freeze(w.now), want: maps.Clone(l.want)})
}

func (w *world) clone() {
	l := w.line()
	if len(l.kept) == 0 || len(w.lines) > 3 {
		return
	}
	k := pick(w, "of", l.kept)
	clone := &line{tree: w.c.OpenRoot(k.v), want: maps.Clone(k.want), nodes: map[uint64]*life{}}
	clone.kept = []*kept{{v: k.v.Retain(), want: k.want}}
	w.lines = append(w.lines, clone)
}

// forget closes a version, or a whole line.
func (w *world) forget() {
	l := w.line()
	if len(w.lines) > 1 && rapid.IntRange(0, 9).Draw(w.T, "line too") == 0 {
		for _, k := range l.kept {
			k.v.Close()
		}
		l.tree.Close()
		w.lines = slices.DeleteFunc(w.lines, func(o *line) bool { return o == l })
		return
	}
	if n := len(l.kept); n > 0 {
		i := rapid.IntRange(0, n-1).Draw(w.T, "version")
		l.kept[i].v.Close()
		l.kept = slices.Delete(l.kept, i, i+1)
	}
}

// writeOut writes some versions of some lines.
func (w *world) writeOut() {
	var vs []*Version
	var ks []*kept
	for _, l := range w.lines {
		for _, k := range l.kept {
			if rapid.Bool().Draw(w.T, "write") {
				vs, ks = append(vs, k.v), append(ks, k)
			}
		}
	}
	before := len(w.d.nodes)
	fails := rapid.IntRange(0, 5).Draw(w.T, "fails after")
	err := w.c.WriteOut(vs, func(pages [][]byte, crcs []uint32) (uint64, error) {
		if fails--; fails == 0 {
			return 0, fmt.Errorf("injected")
		}
		return w.d.put(pages, crcs)
	})
	if err != nil {
		must(w.T, w.c.WriteOut(vs, w.d.put))
	}
	after := len(w.d.nodes)
	must(w.T, w.c.WriteOut(vs, w.d.put))
	if len(w.d.nodes) != after {
		w.Fatalf("%d nodes, then %d, then %d", before, after, len(w.d.nodes))
	}
	for _, k := range ks {
		if _, ok := k.v.Ref(); !ok {
			w.Fatalf("written without a reference")
		}
	}
}

func (w *world) settle() {
	var trees []*Tree
	for _, l := range w.lines {
		trees = append(trees, l.tree)
	}
	w.c.Settle(trees)
}

// lifetimes checks that what walks and drops say about the lifetimes of nodes
// fits: a node is in a version iff birth <= moment < death.
func (w *world) lifetimes(l *line) {
	for _, k := range l.kept {
		if _, ok := k.v.Ref(); !ok || k.nodes != nil {
			continue
		}
		k.nodes = map[uint64]bool{}
		must(w.T, Walk(k.v, Key{}, MaxKey, func(n Node) error {
			if had := l.nodes[n.Ref.Addr]; had != nil && had.birth != n.Ref.Birth {
				w.Fatalf("node %d has births %d and %d", n.Ref.Addr, had.birth, n.Ref.Birth)
			} else if had == nil {
				l.nodes[n.Ref.Addr] = &life{birth: n.Ref.Birth}
			}
			k.nodes[n.Ref.Addr] = true
			return nil
		}, nil))
	}
	drops, err := l.tree.TakeDrops(nil)
	must(w.T, err)
	for _, d := range drops {
		n := l.nodes[d.Addr]
		if n == nil {
			n = &life{birth: d.Birth}
			l.nodes[d.Addr] = n
		}
		if n.birth != d.Birth || n.death != 0 || d.Death <= d.Birth || w.d.nodes[d.Addr] == nil {
			w.Fatalf("drop %+v of %+v", d, n)
		}
		n.death = d.Death
	}
	for _, k := range l.kept {
		if k.nodes == nil {
			continue
		}
		for addr, n := range l.nodes {
			m := k.v.Moment()
			if alive := n.birth <= m && (n.death == 0 || m < n.death); alive != k.nodes[addr] {
				w.Fatalf("node %d lives %+v; it is in version %d: %v", addr, *n, m, k.nodes[addr])
			}
		}
	}
}

// reopen reads a written version in another cache.
func (w *world) reopen() {
	l := w.line()
	for _, k := range l.kept {
		if r, ok := k.v.Ref(); ok {
			c := NewCache(w.d, 0)
			v := c.OpenVersion(r)
			sameContents(w.T, "reopened", contents(w.T, c, v.Blocking(), Key{}, MaxKey), k.want)
			v.Close()
			closed(w.T, c)
			return
		}
	}
}

// check runs after every action.
func (w *world) check() {
	var trees []*Tree
	var versions []*Version
	for _, l := range w.lines {
		trees = append(trees, l.tree)
		if l.tree.last != nil {
			versions = append(versions, l.tree.last)
		}
		for _, k := range l.kept {
			versions = append(versions, k.v)
		}
	}
	slices.SortFunc(versions, func(a, b *Version) int { return int(a.moment) - int(b.moment) })
	must(w.T, audit(w.c, trees, unique(versions)))
}

func unique(vs []*Version) (out []*Version) {
	seen := map[*Version]bool{}
	for _, v := range vs {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

func (w *world) finish() {
	for _, l := range w.lines {
		for _, k := range l.kept {
			sameContents(w.T, "version", contents(w.T, w.c, k.v, Key{}, MaxKey), k.want)
			must(w.T, w.c.WriteOut([]*Version{k.v}, w.d.put))
		}
		sameContents(w.T, "tree", contents(w.T, w.c, l.tree, Key{}, MaxKey), l.want)
	}
	for range w.lines {
		l := w.lines[0]
		w.lifetimes(l)
		for _, k := range l.kept {
			k.v.Close()
		}
		l.tree.Close()
		w.lines = w.lines[1:]
	}
	for id := range w.c.fates {
		w.Fatalf("a drop still waits for page %d", id)
	}
	closed(w.T, w.c)
}

// TestModel runs scripts of changes, freezes, clones and writes against plain
// maps, in a cache that is far too small.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, d: newDisk()}
		w.c = NewCache(w.d, 0)
		first := &line{tree: w.c.Open(Ref{}), want: map[Key]string{}, nodes: map[uint64]*life{}}
		w.lines = []*line{first}
		if rapid.IntRange(0, 5).Draw(t, "filled") == 0 {
			first.fill(t)
		}
		actions := []func(){
			w.put, w.put, w.put, w.move, w.move, w.remove, w.removeRange, w.get, w.scan, w.freeze, w.freeze, w.clone,
			w.forget, w.forget, w.writeOut, w.settle, func() { w.lifetimes(w.line()) }, w.reopen,
		}
		for i := range rapid.IntRange(10, 60).Draw(t, "steps") {
			pick(w, "action", actions)()
			if i%6 == 0 {
				w.check()
			}
		}
		w.finish()
	})
}

// fill makes a tree of three levels.
func (l *line) fill(t tb) {
	for n := range uint64(keys) {
		k := keyAt(n)
		l.want[k] = fmt.Sprintf("%0*d", MaxValue, n)
		put(t, l.tree, k, l.want[k])
	}
}
