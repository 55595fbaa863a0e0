package compact

import (
	"bytes"
	"reflect"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

const testBlocks = 64

func sample() *table {
	t := &table{header: header{number: SlotBase + 7, tableBlocks: 2}}
	t.entries = []entry{
		{segment: 3, runs: []run{{0, 2, 3}, {2, 1, 5}, {63, 1, 6}}},
		{segment: 900, runs: []run{{17, 3, 7}}},
	}
	for i := range 7 {
		t.crcs = append(t.crcs, uint32(i)<<20)
	}
	return t
}

// decode reads block 0 and those of the table.
func decode(n uint64, b []byte) (*table, error) {
	if len(b) < 2*blockSize {
		return nil, fail.New(fail.Corrupt, "too short")
	}
	h, err := decodeHeader(n, b[:blockSize], testBlocks, true)
	if err != nil {
		return nil, err
	}
	return decodeTable(h, b[blockSize:min(len(b), h.first()*blockSize)], testBlocks)
}

func encoded(t *table) []byte {
	head, rest := t.encode()
	return append(head, rest...)
}

func TestFormat(t *testing.T) {
	want := sample()
	b := encoded(want)
	if len(b) != 3*blockSize || string(b[:10]) != "varvslot\x01\x00" || !bytes.Equal(b[:headerSize], b[blockSize:][:headerSize]) {
		t.Fatalf("%d bytes: %x", len(b), b[:headerSize])
	}
	got, err := decode(want.number, b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := decode(want.number+1, b); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a slot under another number: %v", err)
	}
	used := blockSize + headerSize + tableBytes(2, 4, 7)
	for i := range used {
		b[i] ^= 4
		if _, err := decode(want.number, b); err == nil {
			t.Errorf("a flipped bit in byte %d was not seen", i)
		}
		b[i] ^= 4
	}
}

// Tables that were written wrongly, with good checksums, are refused.
func TestImpossibleTables(t *testing.T) {
	for name, spoil := range map[string]func(*table){
		"segment twice":      func(t *table) { t.entries[1].segment = 3 },
		"not ascending":      func(t *table) { t.entries[0].segment = 901 },
		"segment 0":          func(t *table) { t.entries[0].segment = 0 },
		"a slot in a slot":   func(t *table) { t.entries[1].segment = SlotBase },
		"ranges overlap":     func(t *table) { t.entries[0].runs[1].block = 1 },
		"range too long":     func(t *table) { t.entries[0].runs[2].block = 64 },
		"empty range":        func(t *table) { t.entries[0].runs[1].blocks = 0 },
		"huge range":         func(t *table) { t.entries[0].runs[1].blocks = 1<<32 - 1 },
		"block without one":  func(t *table) { t.crcs = append(t.crcs, 1) },
		"too few":            func(t *table) { t.crcs = t.crcs[:5] },
		"no ranges":          func(t *table) { t.entries[1].runs = nil; t.crcs = t.crcs[:4] },
		"more than the slot": func(t *table) { t.crcs = make([]uint32, 62); t.entries[1].runs[0] = run{0, 58, 7} },
		"no room for itself": func(t *table) { t.tableBlocks = 63 },
	} {
		tab := sample()
		spoil(tab)
		got, err := decode(tab.number, encoded(tab))
		if !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// The place of every block in a slot is used, and none twice.
func TestPlaces(t *testing.T) {
	tab := sample()
	at := tab.first()
	for _, e := range tab.entries {
		h := &home{runs: e.runs}
		for _, r := range e.runs {
			for i := range r.blocks {
				if got, n := h.find(r.block + i); got != at || n != r.blocks-i {
					t.Errorf("segment %d block %d is at %d, %d; want %d", e.segment, r.block+i, got, n, at)
				}
				at++
			}
		}
		for _, b := range []int{3, 16, 20, 62, 64} {
			if e.segment == 3 || b == 16 || b == 20 {
				if at, n := h.find(b); n != 0 && b != 63 {
					t.Errorf("segment %d block %d is at %d, %d", e.segment, b, at, n)
				}
			}
		}
	}
}

func FuzzSlot(f *testing.F) {
	b := encoded(sample())
	f.Add(b[:headerSize], b[blockSize:][:headerSize+tableBytes(2, 4, 7)], true)
	f.Add(b[:headerSize], b[blockSize:][:headerSize+tableBytes(2, 4, 7)], false)
	f.Add([]byte{}, b[blockSize:][:headerSize+tableBytes(2, 4, 7)], false)
	f.Add([]byte("varvslot\x02"), []byte{}, false)
	const n = SlotBase + 7
	f.Fuzz(func(t *testing.T, head, rest []byte, seal bool) {
		b := make([]byte, testBlocks*blockSize)
		copy(b[:blockSize], head)
		copy(b[blockSize:], rest)
		if seal { // checksums that hold, so that what is behind them is reached
			h := header{}
			for _, at := range []int{0, blockSize} {
				reseal(b, at, &h)
			}
		}
		tab, err := decode(n, b)
		switch {
		case err == nil:
			if again := encoded(tab); !bytes.Equal(again[:headerSize], b[:headerSize]) ||
				!bytes.HasPrefix(b[blockSize:], again[blockSize:][:headerSize+tableBytes(tab.victims, tab.ranges, tab.blocks)]) {
				t.Errorf("it means %+v, which is written otherwise", tab)
			}
		case !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported):
			t.Error(err)
		}
		openFuzzed(t, n, b)
	})
}

// reseal gives the header at an offset the checksums that it should have, if
// the table is not beyond the slot.
func reseal(b []byte, at int, h *header) {
	le := leBytes{b[at:]}
	end := blockSize + headerSize + le.int(24)*victimSize + le.int(28)*rangeSize + le.int(32)*crcSize
	if end > blockSize+headerSize && end <= len(b) {
		le.put(56, checksum(b[blockSize+headerSize:end]))
	}
	le.put(60, 0)
	le.put(60, checksum(b[at:][:headerSize]))
}

type leBytes struct{ b []byte }

func (l leBytes) int(at int) int {
	return int(l.b[at]) | int(l.b[at+1])<<8 | int(l.b[at+2])<<16 | int(l.b[at+3])<<24
}

func (l leBytes) put(at int, v uint32) {
	for i := range 4 {
		l.b[at+i] = byte(v >> (8 * i))
	}
}

// openFuzzed lets a store open what was made of a slot.
func openFuzzed(t *testing.T, n uint64, b []byte) {
	base := mem.New(int64(len(b)), 0)
	var store segstore.Store = base
	if err := store.Create(n, segstore.Zeros); err != nil {
		t.Fatal(err)
	}
	if err := store.WriteAt(n, b, 0); err != nil {
		t.Fatal(err)
	}
	s, err := Open(store)
	if err != nil {
		if !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported) {
			t.Error(err)
		}
		return
	}
	p := make([]byte, blockSize)
	for _, seg := range s.Relocated() {
		_, held := s.Held(seg)
		for _, r := range held {
			if err := s.ReadAt(seg, p, int64(r.Block)*blockSize); err != nil {
				t.Errorf("segment %d block %d: %v", seg, r.Block, err)
			}
		}
	}
}
