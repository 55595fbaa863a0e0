package nbd

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func data(n uint64) Span { return Span{Len: n} }
func hole(n uint64) Span { return Span{Len: n, Hole: true} }

// unpack decodes the chunks of one read into its data, and checks their form.
func unpack(t *testing.T, p []byte, cookie, off uint64, n int) (data []byte, holes int) {
	t.Helper()
	data = bytes.Repeat([]byte{0xee}, n)
	at, done := off, false
	for len(p) > 0 {
		if done {
			t.Fatal("a chunk after the last")
		}
		if be.Uint32(p) != chunkMagic || be.Uint64(p[8:]) != cookie {
			t.Fatalf("chunk head %x", p[:chunkSize])
		}
		done = be.Uint16(p[4:]) == chunkDone
		body := p[chunkSize:][:be.Uint32(p[16:])]
		if be.Uint64(body) != at {
			t.Fatalf("a chunk at %d, want %d", be.Uint64(body), at)
		}
		switch be.Uint16(p[6:]) {
		case chunkData:
			at += uint64(copy(data[at-off:], body[8:]))
		case chunkHole:
			k := uint64(be.Uint32(body[8:]))
			clear(data[at-off:][:k])
			at += k
			holes++
		}
		p = p[chunkSize+len(body):]
	}
	if !done || at != off+uint64(n) {
		t.Fatalf("chunks end at %d, last flag %v", at, done)
	}
	return data, holes
}

// readImage returns what a disk returns for spans: data that is not zero, and
// holes that are, with dirt in the room before it.
func readImage(spans []Span) []byte {
	p := bytes.Repeat([]byte{0xdd}, dataHead)
	for i, s := range spans {
		b := byte(0)
		if !s.Hole {
			b = byte(i%255 + 1)
		}
		p = append(p, bytes.Repeat([]byte{b}, int(s.Len))...)
	}
	return p
}

func checkPack(t *testing.T, spans []Span) int {
	t.Helper()
	const cookie, off = 0x0123456789abcdef, 1 << 40
	p := readImage(spans)
	n := len(p) - dataHead
	want := bytes.Clone(p[dataHead:])
	out := packRead(p, cookie, off, spans)
	if out > len(p) {
		t.Fatalf("%d bytes of chunks in %d of room", out, len(p))
	}
	got, holes := unpack(t, p[:out], cookie, off, n)
	if !bytes.Equal(got, want) {
		t.Fatalf("spans %v: the data changed", spans)
	}
	return holes
}

func TestPackRead(t *testing.T) {
	for _, tt := range []struct {
		spans []Span
		holes int
	}{
		{[]Span{data(1)}, 0},
		{[]Span{hole(1)}, 0},
		{[]Span{hole(minHole)}, 1},
		{[]Span{hole(minHole - 1), data(5)}, 0},
		{[]Span{hole(4096)}, 1},
		{[]Span{data(4096)}, 0},
		{[]Span{hole(4096), data(4096), hole(4096)}, 2},
		{[]Span{data(4096), hole(minHole), data(4096), hole(minHole), data(1)}, 2},
		{[]Span{hole(4096), hole(4096)}, 2},
		{[]Span{data(0), hole(4096), hole(0), data(0), hole(600)}, 2},
	} {
		if holes := checkPack(t, tt.spans); holes != tt.holes {
			t.Errorf("spans %v: %d holes, want %d", tt.spans, holes, tt.holes)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		spans := make([]Span, 1+rng.IntN(20))
		for i := range spans {
			spans[i] = Span{Len: 1 + rng.Uint64N(3*minHole), Hole: rng.IntN(2) == 0}
		}
		checkPack(t, spans)
	}
}

// A map that does not fit the read is not believed.
func TestPackReadBadMap(t *testing.T) {
	for _, spans := range [][]Span{
		{hole(4096)},
		{hole(8191)},
		{hole(8193)},
		{hole(4096), hole(1<<64 - 1), hole(4097)},
	} {
		p := readImage([]Span{data(8192)})
		want := bytes.Clone(p[dataHead:])
		out := packRead(p, 1, 0, spans)
		got, holes := unpack(t, p[:out], 1, 0, 8192)
		if holes != 0 || !bytes.Equal(got, want) {
			t.Errorf("map %v: %d holes", spans, holes)
		}
	}
}
