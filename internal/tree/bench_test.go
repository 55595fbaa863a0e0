package tree

import (
	"math/rand/v2"
	"testing"
)

const benchEntries = 1 << 20

// benchTree is a volume of 1 Mi extents, all in memory and on disk.
func benchTree(b *testing.B, n uint64) (*Cache, *Tree, *disk) {
	d := newDisk()
	c := NewCache(d, 1<<30)
	tr := c.Open(Ref{})
	v := make([]byte, 14)
	r := rand.New(rand.NewPCG(1, 2))
	for _, i := range r.Perm(int(n)) {
		k := key(uint64(i))
		must(b, tr.Prepare(k, k))
		tr.Put(k, v)
	}
	ver := tr.Freeze(1)
	must(b, c.WriteOut([]*Version{ver}, d.put))
	c.Settle([]*Tree{tr})
	ver.Close()
	return c, tr, d
}

func BenchmarkGet(b *testing.B) {
	c, tr, _ := benchTree(b, benchEntries)
	defer c.Close()
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := tr.Get(key(r.Uint64N(benchEntries)), buf); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkUpdate replaces entries, with a checkpoint every 100,000.
func BenchmarkUpdate(b *testing.B) {
	c, tr, d := benchTree(b, benchEntries)
	defer c.Close()
	r := rand.New(rand.NewPCG(1, 2))
	v := make([]byte, 14)
	b.ReportAllocs()
	i := uint64(2)
	for b.Loop() {
		k := key(r.Uint64N(benchEntries))
		if err := tr.Prepare(k, k); err != nil {
			b.Fatal(err)
		}
		tr.Put(k, v)
		if i++; i%100000 == 0 {
			b.StopTimer()
			ver := tr.Freeze(i)
			must(b, c.WriteOut([]*Version{ver}, d.put))
			c.Settle([]*Tree{tr})
			if _, err := tr.TakeDrops(nil); err != nil {
				b.Fatal(err)
			}
			clear(d.nodes)
			ver.Close()
			b.StartTimer()
		}
	}
}

// BenchmarkAppend inserts in ascending order.
func BenchmarkAppend(b *testing.B) {
	c := NewCache(newDisk(), 1<<30)
	defer c.Close()
	tr := c.Open(Ref{})
	v := make([]byte, 14)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		k := key(i)
		if err := tr.Prepare(k, k); err != nil {
			b.Fatal(err)
		}
		tr.Put(k, v)
	}
}

// BenchmarkScan visits entries in order.
func BenchmarkScan(b *testing.B) {
	c, tr, _ := benchTree(b, benchEntries)
	defer c.Close()
	n := 0
	for b.Loop() {
		if n%benchEntries == 0 {
			must(b, tr.Scan(Key{}, MaxKey, func(Key, []byte) bool {
				n++
				return true
			}))
		}
		n--
	}
}
