package nfs3

import (
	"io"
	"testing"
)

// depth is how many calls the benchmarks keep in flight.
const depth = 32

// rounds sends the same calls again and again, with XIDs of their own, and
// receives as many bytes as their replies have.
type rounds struct {
	c   *client
	out []byte
	at  []int // where XIDs are
	in  []byte
}

func newRounds(c *client, n, replySize int, proc uint32, args func(i int) []byte) *rounds {
	r := &rounds{c: c, in: make([]byte, n*replySize)}
	for i := range n {
		r.at = append(r.at, len(r.out)+4)
		r.out = append(r.out, callBytes(0, progNFS, versNFS, proc, c.cred, args(i))...)
	}
	return r
}

func (r *rounds) do() {
	for _, at := range r.at {
		r.c.xid++
		be.PutUint32(r.out[at:], r.c.xid)
	}
	r.c.nc.Write(r.out)
	if _, err := io.ReadFull(r.c.r, r.in); err != nil {
		r.c.t.Fatal(err)
	}
}

func Benchmark(b *testing.B) {
	for _, bm := range []struct {
		name  string
		n     int
		proc  uint32
		reply int
		size  int
		args  func(h, root []byte) []byte
	}{
		{"getattr/1", 1, procGetattr, replyHead + 4 + attrSize, 0, func(h, _ []byte) []byte { return fh(h) }},
		{"getattr/32", depth, procGetattr, replyHead + 4 + attrSize, 0, func(h, _ []byte) []byte { return fh(h) }},
		{"lookup/1", 1, procLookup, replyHead + 4 + 36 + 2*postAttrSize, 0, func(_, root []byte) []byte { return dirop(root, "f") }},
		{"lookup/32", depth, procLookup, replyHead + 4 + 36 + 2*postAttrSize, 0, func(_, root []byte) []byte { return dirop(root, "f") }},
		{"read4k/1", 1, procRead, readHead + 4096, 4096, func(h, _ []byte) []byte { return readArgs(h, 0, 4096) }},
		{"read4k/32", depth, procRead, readHead + 4096, 4096, func(h, _ []byte) []byte { return readArgs(h, 0, 4096) }},
		{"read1m/1", 1, procRead, readHead + 1<<20, 1 << 20, func(h, _ []byte) []byte { return readArgs(h, 0, 1<<20) }},
		{"read1m/4", 4, procRead, readHead + 1<<20, 1 << 20, func(h, _ []byte) []byte { return readArgs(h, 0, 1<<20) }},
		{"write4k/1", 1, procWrite, replyHead + 4 + 28 + postAttrSize + 16, 4096, func(h, _ []byte) []byte { return writeArgs(h, 0, unstable, make([]byte, 4096)) }},
		{"write4k/32", depth, procWrite, replyHead + 4 + 28 + postAttrSize + 16, 4096, func(h, _ []byte) []byte { return writeArgs(h, 0, unstable, make([]byte, 4096)) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			w := newWorld(b)
			c := w.connect()
			h := c.make(w.root, "f", pattern(4<<20, 1))
			r := newRounds(c, bm.n, bm.reply, bm.proc, func(int) []byte { return bm.args(h, w.root) })
			b.SetBytes(int64(bm.size))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += bm.n {
				r.do()
			}
		})
	}
}
