package segment

import (
	"bytes"
	"slices"
	"testing"

	"varve/internal/segstore/mem"
)

// lent copies pieces into memory of the log, as far as they have room there.
func lent(l *Log, pieces []Piece) (*Memory, []Piece) {
	m := l.Lend()
	pieces = slices.Clone(pieces)
	at := BlockSize
	for i := range pieces {
		p := &pieces[i]
		if at+len(p.Data) > len(m.Bytes()) {
			break
		}
		p.Data = m.Bytes()[at : at+copy(m.Bytes()[at:], p.Data)]
		at += len(p.Data)
	}
	return &m, pieces
}

func sameBlocks(t *testing.T, l *Log, want []Piece, got []Piece) {
	t.Helper()
	for i := range want {
		b := make([]byte, len(want[i].Data))
		must(t, l.ReadAt(got[i].Addr, b))
		if !bytes.Equal(b, want[i].Data) {
			t.Errorf("piece %d at %v is not what was appended", i, got[i].Addr)
		}
	}
}

// Long payload in lent memory becomes a frame without a copy, and the memory is
// the log's; all other payload is copied, and the memory is still the caller's.
func TestAppendIn(t *testing.T) {
	s := mem.New(64*BlockSize, 1<<30)
	l := create(t, testOptions(s)) // frames of 16 blocks
	rng := newRand(1)
	start := l.Cut()
	put := func(m *Memory, mine []Piece) {
		t.Helper()
		n := 0
		for i := range mine {
			n += len(mine[i].CRC)
		}
		must(t, l.Admit(n, false))
		_, err := l.AppendIn(m, mine, &note{pieces: mine, text: []byte("x")})
		must(t, err)
	}
	for _, c := range []struct {
		name    string
		blocks  []int
		adopted bool
		twist   func(m *Memory, mine []Piece)
	}{
		{"a whole frame", []int{15, 1}, true, nil},
		{"half a frame", []int{8}, true, nil},
		{"less", []int{7}, false, nil},
		{"in another order", []int{8, 8}, false, func(_ *Memory, mine []Piece) { mine[0].Data, mine[1].Data = mine[1].Data, mine[0].Data }},
		{"elsewhere", []int{8}, false, func(_ *Memory, mine []Piece) { mine[0].Data = bytes.Clone(mine[0].Data) }},
		{"with a gap", []int{4, 4}, false, func(m *Memory, mine []Piece) {
			b := m.Bytes()[6*BlockSize:][:4*BlockSize]
			copy(b, mine[1].Data)
			mine[1].Data = b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 9 { // over borders of segments
				appendOp(t, l, "small", piece(rng, Data, 1))
				var pieces []Piece
				for _, n := range c.blocks {
					pieces = append(pieces, piece(rng, Data, n))
				}
				m, mine := lent(l, pieces)
				if c.twist != nil {
					c.twist(m, mine)
				}
				if c.name == "in another order" {
					pieces[0].Data, pieces[1].Data = pieces[1].Data, pieces[0].Data
				}
				for i := range mine {
					for b := range mine[i].CRC {
						mine[i].CRC[b] = Checksum(mine[i].Data[b*BlockSize:][:BlockSize])
					}
				}
				before := l.Stats()
				put(m, mine)
				if adopted := l.Stats().Adopted > before.Adopted; adopted != c.adopted || adopted != (m.Bytes() == nil) {
					t.Fatalf("adopted: %v, want %v; the memory is still there: %v", adopted, c.adopted, m.Bytes() != nil)
				}
				m.Return()
				other := l.Lend() // what somebody else does with memory that is his
				clear(other.Bytes())
				sameBlocks(t, l, pieces, mine)
				must(t, l.CommitAll())
				sameBlocks(t, l, pieces, mine)
				other.Return()
			}
		})
	}
	must(t, l.Close())
	ops, _, err := readLog(t, s, start, ScanOptions{})
	must(t, err)
	if len(ops) != 6*18 {
		t.Errorf("%d operations in the log, not %d", len(ops), 6*18)
	}
	if n := len(l.buffers.arenas); n != 0 {
		t.Errorf("%d runs of buffers are left", n)
	}
}
