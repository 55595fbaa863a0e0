package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
)

// mostlyDead makes a pool whose older segments are a sixteenth alive, or in every
// second block.
func mostlyDead(t *testing.T, store segstore.Store, scattered bool) *engine.Engine {
	t.Helper()
	moving, err := compact.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	e := newCrowd(t, engine.Options{Store: moving, CheckpointEvery: -1}).e
	t.Cleanup(e.Abort)
	for _, err := range []error{
		second(e.CreateVolume(tester, "d", 64<<20)),
		second(e.Set(tester, "d", "history", "none")),
		second(e.Set(tester, "d", "keep", "none")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	v, err := vol.Open(e, "d", nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	const n = largeWrite
	for round := range 4 {
		for off := uint64(0); off < 64<<20; off += n {
			p := make([]byte, n)
			at := off
			switch {
			case round == 0:
			case scattered:
				p = p[:block]
				at += block * uint64(2*round)
			case off%(16*n) == 0:
				continue
			}
			if err := v.WriteAt(p, at); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := e.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Retain(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return e
}

// Writers who wait on a full pool wait for some space, not until all is clean.
func TestRoomIsMadeInSteps(t *testing.T) {
	store := mem.New(1<<20, 512<<20)
	e := mostlyDead(t, store, false)
	if err := e.Reclaim(false); err != nil { // what is dead as a whole goes always
		t.Fatal(err)
	}
	sp, err := store.Space()
	if err != nil {
		t.Fatal(err)
	}
	reserve := e.Status().Space.Reserve
	store.SetCapacity(sp.Used + reserve)
	r, err := e.MakeRoom()
	if err != nil {
		t.Fatal(err)
	}
	if sp, err = store.Space(); err != nil || sp.Free < reserve+4<<20 {
		t.Errorf("%d bytes are free, %d of them in reserve", sp.Free, reserve)
	}
	all, err := e.Squeeze()
	if err != nil || r.Compacted == 0 || r.Compacted > 16 || all.Compacted < 3*r.Compacted {
		t.Errorf("%+v to make room, %+v when asked for all: %v", r, all, err)
	}
}

// slowHoles takes its time to make holes, as some file systems do.
type slowHoles struct {
	segstore.Store
	made atomic.Int64
}

func (s *slowHoles) PunchHole(n uint64, off, length int64) error {
	s.made.Add(1)
	time.Sleep(2 * time.Millisecond)
	return s.Store.PunchHole(n, off, length)
}

// Nor do they wait for somebody else who cleans all.
func TestRoomBesideCleaning(t *testing.T) {
	store := &slowHoles{Store: mem.New(1<<20, 512<<20)}
	e := mostlyDead(t, store, true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Squeeze()
	}()
	for store.made.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	if _, err := e.MakeRoom(); err != nil { // there is
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("writers waited %v, and %d holes", took, store.made.Load())
	}
	e.Abort()
	<-done
}

// A pool can be closed while the cleaner has thousands of holes to make.
func TestCleaningEndsWithThePool(t *testing.T) {
	store := &slowHoles{Store: mem.New(1<<20, 512<<20)}
	e := mostlyDead(t, store, true)
	done := make(chan error, 1)
	go func() { done <- second(e.Squeeze()) }()
	for store.made.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Log(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("closing took %v, after %d holes", took, store.made.Load())
	}
}
