package compact_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/mem"
)

// spoilt makes a store with slots, spoils one of them, and returns how to look at
// it: segments 3, 5, 6 and 7 are in it, and nowhere else.
func spoilt(t *testing.T, patches ...patch) (base *mem.Store, slot uint64) {
	t.Helper()
	base = mem.New(segSize, capacity)
	s := open(t, base)
	for n := uint64(1); n <= 9; n++ {
		make1(t, s, n)
	}
	must(t, s, compact.Victim{2, ranges{{0, 1}}})
	var victims []compact.Victim
	for _, n := range []uint64{3, 5, 6, 7} {
		victims = append(victims, compact.Victim{n, ranges{{0, 1}}})
	}
	slot = must(t, s, victims...)
	for _, p := range patches {
		check(t, base.WriteAt(slot, p.bytes, p.off))
	}
	return base, slot
}

type patch struct {
	off   int64
	bytes []byte
}

const endOfSlot = segSize - block // its table, of one block

// A slot is read, and mended, whatever happens to one end of it.
func TestSpoiltSlot(t *testing.T) {
	for name, p := range map[string]patch{
		"header":            {20, []byte{255}},
		"behind the header": {4000, []byte{1}},
		"no header":         {0, make([]byte, block)},
		"table":             {block + 64, []byte{255}},
		"second header":     {block, []byte{255}},
		"both":              {0, make([]byte, 2*block)},
		"header and second": {63, bytes.Repeat([]byte{255}, 2*block-63)},
		"table of the end":  {endOfSlot + 64, []byte{255}},
		"header of the end": {endOfSlot + 20, []byte{255}},
		"end":               {endOfSlot, make([]byte, block)},
	} {
		base, slot := spoilt(t, p)
		if bad := badTables(t, base); len(bad) != 1 || bad[0] != slot {
			t.Errorf("%s: slots %v have damaged tables, want %d", name, bad, slot)
		}
		for round := range 2 {
			s := open(t, base)
			wantSegments(t, name, s.Relocated(), 2, 3, 5, 6, 7)
			for _, n := range s.Relocated() {
				check(t, holds(s, n, ranges{{0, 1}}))
			}
			if s.CheckTables(func(slot uint64, err error) {
				if p.off < endOfSlot {
					t.Errorf("%s: opened, slot %d was not mended: %v", name, slot, err)
				}
			}); round == 0 && p.off < endOfSlot { // the front is whole again
				check(t, base.WriteAt(slot, bytes.Repeat([]byte{255}, block), endOfSlot))
				p.off = endOfSlot
			}
		}
	}
}

// badTables opens a store, without letting it change anything, and returns the
// slots that have damage.
func badTables(t *testing.T, base segstore.Store) (bad []uint64) {
	t.Helper()
	s, err := compact.Open(frozen{base})
	check(t, err)
	s.CheckTables(func(slot uint64, err error) { bad = append(bad, slot) })
	return bad
}

// frozen is a store that is open read-only.
type frozen struct{ segstore.Store }

func (frozen) PunchHole(uint64, int64, int64) error {
	return fail.New(fail.ReadOnly, "frozen")
}

// Where both ends of a slot are damaged it is named, with what may have been in
// it.
func TestDamagedSlot(t *testing.T) {
	const all = "of the segments 3 to 7 these may have been in it: 3, 5-7"
	end := patch{endOfSlot + 70, []byte{255}}
	for _, c := range []struct {
		name    string
		patches []patch
		kind    fail.Kind
		expect  string
	}{
		{"tables", []patch{{block + 64, []byte{255}}, end}, fail.Corrupt, all},
		{"second header", []patch{{block, []byte{255}}, end}, fail.Corrupt, all},
		{"header and table", []patch{{20, []byte{255}}, {block + 70, []byte{255}}, end}, fail.Corrupt, all},
		{"headers", []patch{{20, []byte{255}}, {block, []byte{255}}, {endOfSlot, []byte{255}}}, fail.Corrupt, "of the segments 1 to 9 these may have been in it: 3, 5-7"},
		{"other version", []patch{{8, []byte{2}}}, fail.Unsupported, "version 2"},
	} {
		base, slot := spoilt(t, c.patches...)
		_, err := compact.Open(base)
		if !fail.Is(err, c.kind) || !strings.Contains(err.Error(), c.expect) || !strings.Contains(err.Error(), fmt.Sprint("slot ", slot)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
