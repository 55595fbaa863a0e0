package engine_test

import (
	"bytes"
	"fmt"
	"maps"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/vol"
	"varve/internal/when"
)

// compare checks one dataset at one moment, or its head (lsn 0), against the
// model.
func (s *sim) compare(what string, id, lsn uint64) {
	now := s.m.now()[id]
	want := now
	if lsn != 0 {
		want = s.m.at(id, lsn)
	}
	may := always
	if lsn != 0 {
		may = s.reach(id, lsn)
	}
	err := s.compareWith(now, id, lsn, want)
	if err == nil && lsn == 0 {
		err = s.compareInfo(now)
	}
	if may == never {
		if !fail.Is(err, fail.OutsideHistory) {
			s.t.Fatalf("%s: %s@lsn:%d should be outside history: %v", what, now.name, lsn, err)
		}
		return
	}
	if may == maybe && fail.Is(err, fail.OutsideHistory) {
		return
	}
	if err != nil {
		s.t.Fatalf("%s: %s (dataset %d) at lsn %d of %d: %v", what, now.name, id, lsn, s.m.last(), err)
	}
}

func (s *sim) compareWith(now *disk, id, lsn uint64, want *disk) error {
	if now.isShare() {
		sh, done, err := s.openShare(id, lsn)
		if err != nil || want == nil {
			return err
		}
		defer done()
		return s.sameShare(sh, want, now.name)
	}
	var at *when.Spec
	if lsn != 0 {
		spec := atLSN(lsn)
		at = &spec
	}
	v, err := vol.Open(s.e, now.name, at, engine.Caller{Proto: "test"}, func() {})
	if err != nil || want == nil {
		return err
	}
	defer v.Close()
	return same(v, want)
}

// compareInfo checks what the engine says of a dataset.
func (s *sim) compareInfo(want *disk) error {
	i, err := s.e.Dataset(want.name)
	if err != nil {
		return err
	}
	mapped := uint64(want.mapped()) * block
	switch {
	case (i.Kind == "share") != want.isShare() || i.Inodes != uint64(len(want.files)) || i.Size != want.size:
		return fmt.Errorf("it is a %s of %d bytes and %d inodes, want %d and %d", i.Kind, i.Size, i.Inodes, want.size, len(want.files))
	case i.Mapped < mapped || i.Mapped > mapped && (!want.large || s.settled):
		return fmt.Errorf("%d bytes are mapped, want %d", i.Mapped, mapped)
	case !maps.Equal(i.Properties, want.props):
		return fmt.Errorf("the properties are %v, want %v", i.Properties, want.props)
	}
	return nil
}

// settle empties all dying lists: then every figure is exact.
func (s *sim) settle(what string) {
	for s.e.DrainStep() {
		s.did("drain", s.m.now(), true)
	}
	for s.e.Recount() {
	}
	s.settled = true
	s.compareAll(what, 0)
	s.settled = false
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
