package engine_test

import (
	"context"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// A pool that is full of history goes on: what is oldest goes, and no snapshot.
func TestFullOfHistory(t *testing.T) {
	store, err := compact.Open(mem.New(1<<20, 32<<20))
	if err != nil {
		t.Fatal(err)
	}
	c := newCrowd(t, engine.Options{Store: store})
	defer c.e.Close(context.Background())
	if _, err := c.e.CreateVolume(tester, "d", 8<<20); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"keep": "none", "history": "all"} {
		if _, err := c.e.Set(tester, "d", k, v); err != nil {
			t.Fatal(err)
		}
	}
	v, err := vol.Open(c.e, "d", nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.WriteAt([]byte("precious"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := c.e.Snapshot(tester, "d", "kept"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for round := range 30 {
		for off := uint64(0); off < 4<<20; off += uint64(len(buf)) {
			buf[0] = byte(round)
			if err := v.WriteAt(buf, off); err != nil {
				s := c.e.Status()
				t.Fatalf("round %d at %d: %v\n%+v free %d", round, off, err, s.Space, s.FreeBytes)
			}
		}
	}
	rep, err := c.e.Check(context.Background(), true, nil)
	if err != nil || len(rep.Damage) > 0 {
		t.Fatalf("%v %+v", err, rep)
	}
}

// Where history has just been forgotten by somebody else, and only waits for a
// checkpoint, there is something to be had: a writer on a full pool is not refused.
func TestForgottenMeanwhile(t *testing.T) {
	e := newCrowd(t, engine.Options{Store: mem.New(1<<20, 64<<20), CheckpointEvery: -1}).e
	defer e.Abort()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(second(e.CreateVolume(tester, "d", 8<<20)))
	must(second(e.Set(tester, "d", "keep", "none")))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	defer v.Close()
	for range 3 {
		must(v.WriteAt(make([]byte, 1<<20), 0))
		must(e.Checkpoint())
	}
	must(second(e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})))
	shortens := func(want bool) {
		t.Helper()
		if got, err := e.ShortenHistory(); err != nil || got != want {
			t.Fatalf("there is history to be had: %v, %v", got, err)
		}
	}
	shortens(true)
	settleAll(t, e)
	shortens(false) // nothing is left
}
