package engine_test

import (
	"context"
	"testing"

	"varve/internal/engine"
	"varve/internal/segment"
)

// Where the header or the summary of a frame is damaged, nobody can say what of
// its segment is alive: it is not moved, and all that it holds can be read as
// before. The others are moved.
func TestDamagedFrameIsNotMoved(t *testing.T) {
	for _, c := range []struct {
		what string
		off  int64 // in the frame
	}{
		{"magic", 1}, {"address", 50}, {"checksum", 250}, {"summary", 260},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			a := newAged(t, 64<<20, 8<<20, 1<<20)
			a.flushes = true
			a.set("history", "none")
			a.set("keep", "none")
			const n = largeWrite / block
			for round := range 2 { // of what the first one wrote, a twentieth lives
				for at := 0; at < len(a.now); at += n {
					if round == 0 || at%(20*n) != 0 {
						a.write(at, n)
					}
				}
				a.tend()
			}
			for range 3 {
				a.tend()
			}
			a.v.Close()
			if err := a.e.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			at := frameInUse(t, a)
			a.disk = flipped(t, a.disk.Kill(), (&patient{}).path(at.Segment()), int64(at.Block())*block+c.off, 3)
			var err error
			if a.e, err = engine.Open(a.options()); err != nil {
				t.Fatal(err)
			}
			a.attach()
			for range 3 { // the log goes on, far from what is looked at
				a.write(len(a.now)-1, 1)
				a.tend()
			}
			r, err := a.e.Squeeze()
			if err != nil || r.Damaged != 1 || r.Compacted == 0 {
				t.Errorf("%+v, %v; want one segment that is damaged, and others that were moved", r, err)
			}
			if r, err = a.e.Squeeze(); err != nil || r.Damaged != 0 || a.e.Status().QuarantinedBlocks != 1 {
				t.Errorf("once more: %+v, %v; %d blocks are damaged", r, err, a.e.Status().QuarantinedBlocks)
			}
			a.compareAll()
			if rep, err := a.e.Check(context.Background(), true, nil); err != nil || len(rep.Damage) == 0 {
				t.Errorf("check: %v, no damage", err)
			}
			a.v.Close()
			a.e.Abort()
		})
	}
}

// frameInUse finds a frame of an early segment of which something is alive.
func frameInUse(t *testing.T, a *aged) (at segment.Addr) {
	t.Helper()
	store := openDir(t, a.disk.Kill())
	defer store.Close()
	free, records, err := engine.FreeBlocks(store)
	if err != nil {
		t.Fatal(err)
	}
	super, err := store.Superblock()
	if err != nil {
		t.Fatal(err)
	}
	segs, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, seg := range segs {
		err := segment.Inspect(store, [16]byte(super[48:]), seg.Number, func(f segment.Found) error {
			for r := range f.Frame.Runs() {
				if r.Kind == segment.Data && at == 0 && f.Frame.Position.Addr.Block() > 0 && !free(f.Frame.PayloadAddr(r.First)) {
					at = f.Frame.Position.Addr
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if at == 0 || at.Segment() >= records.Segment() {
		t.Fatalf("no old segment has a frame in use: %v, records begin at %v", at, records)
	}
	return at
}
