package tree

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// leafOf makes a leaf of entries that fit.
func leafOf(entries map[Key]string) *page {
	p := new(page)
	p.reset(0)
	ks := slices.SortedFunc(maps.Keys(entries), cmpKeys)
	p.setPrefix(ks[0], commonPrefix(ks[0], ks[len(ks)-1]))
	for _, k := range ks {
		p.push(k, []byte(entries[k]))
	}
	return p
}

// innerOf makes an inner page of level 1 with n children.
func innerOf(n int) *page {
	p := new(page)
	p.reset(1)
	for i := range n {
		k := key(uint64(i) * 10)
		if i == 0 {
			k = Key{}
		}
		p.insertChild(i, k, link{addr: uint64(i) + 1, birth: 3, crc: 4})
	}
	return p
}

// TestFind looks for keys in and beside leaves of every prefix length.
func TestFind(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for prefix := range 16 {
		var base Key
		for i := range base {
			base[i] = byte(r.Uint32())
		}
		entries := map[Key]string{}
		for range 50 {
			k := base
			for i := prefix; i < 16; i++ {
				k[i] = byte(r.Uint32N(4)) * 85
			}
			entries[k] = k.String()
		}
		p := leafOf(entries)
		must(t, p.validate())
		ks := slices.SortedFunc(maps.Keys(entries), cmpKeys)
		probes := slices.Clone(ks)
		for _, k := range ks {
			probes = append(probes, k.Next(), k.prev())
		}
		for range 300 {
			k := base
			k[r.IntN(16)] = byte(r.Uint32())
			probes = append(probes, k)
		}
		for _, k := range append(probes, Key{}, MaxKey) {
			i, found := p.find(k.Split())
			want, there := slices.BinarySearchFunc(ks, k, cmpKeys)
			if i != want || found != there {
				t.Fatalf("prefix %d: find %v: %d %v, want %d %v", p.prefixLen(), k, i, found, want, there)
			}
			if found && (p.leafKey(i) != k || string(p.value(i)) != entries[k]) {
				t.Fatalf("slot %d holds %v %q", i, p.leafKey(i), p.value(i))
			}
		}
	}
}

// TestSplitAtStrangers puts keys that share nothing with the others before
// and after a leaf that is full because its keys share much.
func TestSplitAtStrangers(t *testing.T) {
	for _, stranger := range []Key{{}, MaxKey.prev()} {
		c := NewCache(newDisk(), 0)
		tr := c.Open(Ref{})
		want := map[Key]string{stranger: "stranger"}
		for i := range uint64(800) {
			put(t, tr, key(i), "")
			want[key(i)] = ""
		}
		if leaves, _, _ := leafShape(t, tr); leaves != 1 {
			t.Fatal("the leaf is split before")
		}
		put(t, tr, stranger, "stranger")
		must(t, audit(c, []*Tree{tr}, nil))
		sameContents(t, "tree", contents(t, c, tr, Key{}, MaxKey), want)
		tr.Close()
		closed(t, c)
	}
}

func TestChildFor(t *testing.T) {
	for _, n := range []int{1, 2, 3, fanout} {
		p := innerOf(n)
		must(t, p.validate())
		for i := range uint64(n * 10) {
			if got := p.childFor(key(i).Split()); got != int(i/10) {
				t.Fatalf("child %d for %d of %d", got, i, n)
			}
		}
		if got := p.childFor(Key{}.Split()); got != 0 {
			t.Fatal("child", got)
		}
		if got := p.childFor(MaxKey.Split()); got != n-1 {
			t.Fatal("child", got)
		}
	}
}

// TestValidate breaks each thing that a page must have.
func TestValidate(t *testing.T) {
	leaf := leafOf(map[Key]string{key(1): "one", key(2): "two", key(300): string(make([]byte, 200))})
	for name, change := range map[string]func(p *page){
		"magic":      func(p *page) { p[0]++ },
		"level":      func(p *page) { p[4] = maxLevel + 1 },
		"reserved":   func(p *page) { p[14] = 1 },
		"inner":      func(p *page) { p[4] = 1 },
		"prefix":     func(p *page) { p[5] = 17 },
		"empty":      func(p *page) { p.setCount(0) },
		"count":      func(p *page) { p.setCount(2000) },
		"heap":       func(p *page) { p.setHeap(PageSize + 1) },
		"dead":       func(p *page) { p.setDead(1) },
		"order":      func(p *page) { copy(p[leafSlots:leafSlots+2], p[leafSlots+4:]) },
		"padding":    func(p *page) { p[leafSlots-1] = 1 },
		"low value":  func(p *page) { p.setU16(leafSlots+p.stride()-2, p.heap()-1) },
		"high value": func(p *page) { p.setU16(leafSlots+p.stride()-2, PageSize) },
		"far value":  func(p *page) { p.setU16(leafSlots+p.stride()-2, 1<<16-1) },
		"long value": func(p *page) { p[p.valueOffset(0)] = 127 },
		"huge value": func(p *page) { p[p.valueOffset(2)] = 0xff },
		"bad length": func(p *page) { p[p.valueOffset(2)] = 0x80; p[p.valueOffset(2)+1] = 1 },
	} {
		p := *leaf
		change(&p)
		if p.validate() == nil {
			t.Errorf("leaf with bad %s passes", name)
		}
	}
	for name, change := range map[string]func(p *page){
		"no children":   func(p *page) { p.setCount(0) },
		"many children": func(p *page) { p.setCount(fanout + 1) },
		"first key":     func(p *page) { p.setSep(0, Key{15: 1}) },
		"order":         func(p *page) { p.setSep(2, p.sep(1)) },
		"no address":    func(p *page) { p.link(3).addr = 0 },
		"memory":        func(p *page) { p.link(3).addr |= memoryBit },
		"padding":       func(p *page) { p[innerRefs+23] = 1 },
		"heap":          func(p *page) { p.setHeap(PageSize) },
	} {
		p := innerOf(5)
		change(p)
		if p.validate() == nil {
			t.Errorf("inner page with bad %s passes", name)
		}
	}
}

func TestRef(t *testing.T) {
	r := Ref{Addr: 1<<62 + 5, Birth: 7, CRC: 9}
	b := r.Append([]byte("x"))[1:]
	if got, err := ParseRef(b); got != r || err != nil || len(b) != RefSize {
		t.Fatal(got, err, len(b))
	}
	if got, err := ParseRef(make([]byte, RefSize)); !got.Empty() || err != nil {
		t.Fatal(got, err)
	}
	for _, bad := range [][]byte{b[1:], (Ref{Addr: memoryBit}).Append(nil), (Ref{Birth: 1}).Append(nil)} {
		if _, err := ParseRef(bad); err == nil {
			t.Errorf("%x passes", bad)
		}
	}
}

// FuzzPage does to every page that passes all that trees do to pages: nothing
// may go out of bounds, and what comes out must pass too.
func FuzzPage(f *testing.F) {
	short := leafOf(map[Key]string{key(1): "", key(2): "two", key(70000): string(make([]byte, 300))})
	f.Add(short[:40], short[PageSize-310:])
	f.Add(innerOf(3)[:200], innerOf(3)[innerRefs:innerRefs+80])
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		var p page
		n := copy(p[:], head)
		if p.level() > 0 { // the tail begins with the links
			copy(p[max(n, innerRefs):], tail)
		} else if len(tail) < PageSize-n {
			copy(p[PageSize-len(tail):], tail)
		}
		if p.validate() != nil {
			return
		}
		if p.level() > 0 {
			for i := range p.count() {
				if got := p.childFor(p.sep(i).Split()); got != i {
					t.Fatalf("child %d is found as %d", i, got)
				}
			}
			return
		}
		useLeafPage(t, &p)
	})
}

func useLeafPage(t *testing.T, p *page) {
	var ks []Key
	for i := range p.count() {
		ks = append(ks, p.leafKey(i))
	}
	for i, k := range ks {
		if at, ok := p.find(k.Split()); !ok || at != i || len(p.value(i)) > MaxValue {
			t.Fatalf("slot %d is found at %d %v", i, at, ok)
		}
	}
	check := func(what string, p *page) {
		if err := p.validate(); err != nil && p.count() > 0 {
			t.Fatalf("%s: %v", what, err)
		}
	}
	long := bytes.Repeat([]byte{1}, MaxValue)
	for i, k := range []Key{{}, ks[0].Next(), ks[len(ks)-1].Next(), ks[len(ks)/2]} {
		if k == MaxKey {
			continue
		}
		for _, v := range [][]byte{nil, long[:14], long} {
			at, found := p.find(k.Split())
			q := leafSeq{p: p, at: at, replace: found, k: k, v: v}
			var a, b page
			if n := q.len(); q.size(0, n) <= leafRoom {
				q.build(&a, 0, n)
			} else {
				cut := q.cut()
				q.build(&a, 0, cut)
				q.build(&b, cut, n)
				check(fmt.Sprint("right of ", i), &b)
			}
			check(fmt.Sprint("built ", i), &a)
			changed := *p
			if found && changed.leafReplace(at, v) || !found && changed.leafInsert(at, k, v) {
				check(fmt.Sprint("changed ", i), &changed)
			}
		}
	}
	for i := range ks {
		changed := *p
		changed.leafRemove(i, len(ks))
		check("removed", &changed)
	}
}

func FuzzRef(f *testing.F) {
	f.Add(Ref{Addr: 5, Birth: 6, CRC: 7}.Append(nil))
	f.Add(make([]byte, RefSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRef(b); err == nil && !bytes.Equal(r.Append(nil), b[:RefSize]) {
			t.Fatalf("%x is read as %v", b, r)
		}
	})
}
