package engine_test

import (
	"bytes"
	"fmt"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/vol"
	"varve/internal/when"
)

// compare checks one dataset at one moment, or its head (lsn 0), against the
// model.
func (s *sim) compare(what string, id, lsn uint64) {
	name := s.m.now()[id].name
	want := s.m.now()[id]
	var at *when.Spec
	if lsn != 0 {
		want = s.m.at(id, lsn)
		spec := atLSN(lsn)
		at = &spec
	}
	v, err := vol.Open(s.e, name, at, engine.Caller{Proto: "test"}, func() {})
	if want == nil {
		if !fail.Is(err, fail.OutsideHistory) {
			s.t.Fatalf("%s: %s@lsn:%d should be outside history: %v", what, name, lsn, err)
		}
		return
	}
	if err != nil {
		s.t.Fatalf("%s: %s@lsn:%d: %v", what, name, lsn, err)
	}
	defer v.Close()
	if err := same(v, want); err != nil {
		s.t.Fatalf("%s: %s (dataset %d) at lsn %d of %d: %v", what, name, id, lsn, s.m.last(), err)
	}
}

// same compares a volume with the model's, holes included.
func same(v *vol.Volume, want *disk) error {
	if v.Size() != want.size {
		return fmt.Errorf("size %d, want %d", v.Size(), want.size)
	}
	buf := make([]byte, 1<<20)
	mapped := 0
	for off := uint64(0); off < want.size; off += uint64(len(buf)) {
		var spans []vol.Span
		if err := v.ReadAt(buf, off, &spans); err != nil {
			return err
		}
		at := uint64(0)
		for _, sp := range spans {
			if !sp.Hole {
				for b := at / block; b < (at+sp.Len)/block; b++ {
					mapped++
					data := want.blocks[off/block+b]
					if data == nil {
						return fmt.Errorf("block %d is data, want a hole", off/block+b)
					}
					if !bytes.Equal(buf[b*block:(b+1)*block], data[:]) {
						return fmt.Errorf("block %d differs: starts with %x, want %x", off/block+b, buf[b*block:b*block+8], data[:8])
					}
				}
			}
			at += sp.Len
		}
	}
	if mapped != len(want.blocks) {
		return fmt.Errorf("%d blocks are data, want %d", mapped, len(want.blocks))
	}
	return nil
}

// compareSnapshots checks that each dataset has the snapshots that the model
// has, at their moments.
func (s *sim) compareSnapshots(what string) {
	have := s.m.snaps[s.m.last()]
	for id, d := range s.m.now() {
		if d.destroyed {
			continue
		}
		snaps, err := s.e.Snapshots(d.name)
		s.must("snapshots", err)
		n := 0
		for _, got := range snaps {
			if got.Guard {
				continue
			}
			n++
			if want, ok := have[snapKey(id, got.Name)]; !ok || want != got.LSN || len(got.Holds) > 1 {
				s.t.Fatalf("%s: %s@%s is lsn %d, want %d (%v); holds %v", what, d.name, got.Name, got.LSN, want, ok, got.Holds)
			}
		}
		for key := range have {
			if strings.HasPrefix(key, snapKey(id, "")) {
				n--
			}
		}
		if n != 0 {
			s.t.Fatalf("%s: %s has %d snapshots too many", what, d.name, n)
		}
	}
}

// compareAll checks every live head, and views of sample random moments (all
// moments if sample < 0).
func (s *sim) compareAll(what string, sample int) {
	s.compareSnapshots(what)
	w := s.m.now()
	var ids []uint64
	for id := uint64(1); id <= uint64(len(w)); id++ {
		if d := w[id]; d != nil && !d.destroyed {
			s.compare(what, id, 0)
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	if sample < 0 {
		for _, id := range ids {
			for lsn := uint64(1); lsn <= s.m.last(); lsn++ {
				s.compare(what, id, lsn)
			}
		}
		return
	}
	for range sample {
		s.compare(what, ids[s.knob.IntN(len(ids))], 1+s.knob.Uint64N(s.m.last()))
	}
}
