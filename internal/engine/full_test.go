package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

// newSmall is a pool of 32 MiB, and a volume d of 8 MiB in it that keeps all of its
// history.
func newSmall(t *testing.T) (*crowd, *vol.Volume) {
	t.Helper()
	store, err := compact.Open(mem.New(1<<20, 32<<20))
	if err != nil {
		t.Fatal(err)
	}
	c := newCrowd(t, engine.Options{Store: store})
	t.Cleanup(func() { c.e.Close(context.Background()) })
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
	t.Cleanup(v.Close)
	return c, v
}

// A pool that is full of history goes on: what is oldest goes, and no snapshot.
func TestFullOfHistory(t *testing.T) {
	c, v := newSmall(t)
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

// What changes the catalog waits for room on a full pool as a write does, and is not
// refused while there is history to forget.
func TestCatalogOnFullPool(t *testing.T) {
	c, v := newSmall(t)
	buf := make([]byte, 64<<10)
	for off := uint64(0); off < 64<<20; off += uint64(len(buf)) {
		if err := v.WriteAt(buf, off%(4<<20)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2500 {
		if _, err := c.e.Snapshot(tester, "d", fmt.Sprintf("s%d", i)); err != nil {
			t.Fatalf("snapshot %d: %v\n%+v", i, err, c.e.Status().Space)
		}
	}
}

// Where history has just been forgotten by somebody else, and only waits for a
// checkpoint, there is something to be had: a writer on a full pool is not refused.
func TestForgottenMeanwhile(t *testing.T) {
	e := newCrowd(t, engine.Options{Store: mem.New(1<<20, 64<<20), CheckpointEvery: -1}).e
	defer e.Abort()
	must := fatalOn(t)
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

// After opening nobody remembers which holes were made before: but they are not
// counted as dead space that is still there, and nothing is moved for them again.
func TestHolesAreRemembered(t *testing.T) {
	disk := vfs.NewMem(1)
	if err := dir.Make(disk, "pool", 1<<20, 64<<20); err != nil {
		t.Fatal(err)
	}
	must := fatalOn(t)
	var store *compact.Store
	open := func() *engine.Engine {
		files, err := dir.Open(disk, "pool", dir.Options{})
		must(err)
		store, err = compact.Open(files)
		must(err)
		if _, err := store.Superblock(); fail.Is(err, fail.NotFound) {
			must(engine.Format(store, time.Now(), seedReader{rand.New(rand.NewPCG(1, 1))}))
		}
		e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
		must(err)
		return e
	}
	e := open()
	must(second(e.CreateVolume(tester, "d", 16<<20)))
	must(second(e.Set(tester, "d", "keep", "none")))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	buf := make([]byte, 1<<20)
	for off := uint64(0); off < 16<<20; off += uint64(len(buf)) {
		must(v.WriteAt(buf, off))
	}
	for _, stays := range []int{52, 12} { // of each MiB: too much to be moved, and then so little that it would be
		for off := uint64(0); off < 16<<20; off += uint64(len(buf)) {
			must(v.WriteAt(buf[stays*block:], off))
		}
		must(second(e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})))
		r, err := e.Clean(context.Background(), nil)
		must(err)
		if r.PunchedBytes < 1<<20 {
			t.Fatalf("the script makes no holes: %+v", r)
		}
	}
	v.Close()
	for range 2 {
		if st := e.Status(); st.Space.Dead > st.UsedBytes-st.Space.Live {
			t.Errorf("%d bytes are said to be dead and still there; the pool occupies %d, of which %d are live", st.Space.Dead, st.UsedBytes, st.Space.Live)
		}
		r, err := e.Clean(context.Background(), nil)
		must(err)
		if r.CopiedBytes > 0 {
			t.Errorf("%d bytes were moved for holes that were made before: %+v", r.CopiedBytes, r)
		}
		must(e.Close(context.Background()))
		must(store.Close())
		e = open()
	}
	e.Abort()
}

// checkBusy checks a pool of which all is overwritten once in between, and the
// rest that is dead given back.
func checkBusy(t *testing.T, o engine.Options, history string, between func(e *engine.Engine, v *vol.Volume) error) (engine.CheckReport, error) {
	t.Helper()
	e := newCrowd(t, o).e
	defer e.Close(context.Background())
	must := fatalOn(t)
	must(second(e.CreateVolume(tester, "d", 8<<20)))
	must(second(e.Set(tester, "d", "keep", "none")))
	must(second(e.Set(tester, "d", "history", history)))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	defer v.Close()
	for i := range 3 {
		must(overwrite(v, byte(i)))
		must(e.Checkpoint())
	}
	must(overwrite(v, 3)) // somebody writes between the checkpoint and the check
	began := false
	return e.CheckAsItIs(func(uint64, uint64) {
		if !began {
			began = true
			must(between(e, v))
		}
	})
}

func overwrite(v *vol.Volume, b byte) error {
	buf := bytes.Repeat([]byte{b}, 1<<20)
	for off := uint64(0); off < 8<<20; off += uint64(len(buf)) {
		if err := v.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

// What dies while a pool is checked is not given back under the check.
func TestCheckWhileCleaning(t *testing.T) {
	store, err := compact.Open(mem.New(1<<20, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	rep, err := checkBusy(t, engine.Options{Store: store, CheckpointEvery: -1}, "all", func(e *engine.Engine, v *vol.Volume) error {
		if err := e.Checkpoint(); err != nil { // what was in memory only when the check began is written
			return err
		}
		for i := range 3 {
			if err := overwrite(v, byte(10+i)); err != nil {
				return err
			}
			if _, err := e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}}); err != nil {
				return err
			}
			if _, err := e.Clean(context.Background(), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rep.Damage {
		t.Errorf("%s: %s", d.Where, d.What)
	}
}

// But writers on a full pool do not wait for a check to end: it ends without a
// verdict.
func TestCheckGivesWay(t *testing.T) {
	store, err := compact.Open(mem.New(1<<20, 48<<20))
	if err != nil {
		t.Fatal(err)
	}
	_, err = checkBusy(t, engine.Options{Store: store}, "all", func(_ *engine.Engine, v *vol.Volume) error {
		for i := range 12 {
			if err := overwrite(v, byte(10+i)); err != nil {
				return err
			}
		}
		return nil
	})
	if !fail.Is(err, fail.Busy) {
		t.Errorf("a check of what writers needed: %v", err)
	}
}
