package engine_test

import (
	"context"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// History is forgotten though a round of the cleaner takes for ever: else it would
// grow meanwhile, and the pool fill up.
func TestForgettingDoesNotWaitForCleaning(t *testing.T) {
	clock := newMachine()
	e := newCrowd(t, engine.Options{Store: mem.New(1<<20, 0), Now: clock.now, Elapsed: clock.since, CheckpointEvery: time.Hour}).e
	defer e.Abort()
	must := fatalOn(t)
	must(second(e.CreateVolume(tester, "d", 8*block)))
	must(second(e.Set(tester, "d", "history", "1h")))
	must(second(e.Set(tester, "d", "keep", "none")))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	defer v.Close()
	defer e.HoldCleaner()()
	for round := range 3 {
		before, err := e.Dataset("d")
		must(err)
		must(v.WriteAt([]byte{byte(round)}, 100))
		must(e.Checkpoint())
		clock.pass(2 * time.Hour)
		must(v.WriteAt([]byte{byte(round)}, 200))
		must(e.Checkpoint())
		e.LookNow()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			now, err := e.Dataset("d")
			must(err)
			if now.OldestLSN > before.OldestLSN {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("look %d: history still begins with %d, written two hours ago", round, now.OldestLSN)
			}
		}
	}
}

// removals tells of every segment that is given back.
type removals struct {
	segstore.Store
	n    int
	told func()
}

func (s *removals) Remove(n uint64) error {
	s.n++
	s.told()
	return s.Store.Remove(n)
}

// fullOfDead makes a pool of which most segments are dead as a whole.
func fullOfDead(t *testing.T, store segstore.Store) *engine.Engine {
	t.Helper()
	e := newCrowd(t, engine.Options{Store: store, CheckpointEvery: -1}).e
	t.Cleanup(e.Abort)
	must := fatalOn(t)
	must(second(e.CreateVolume(tester, "d", 24<<20)))
	must(second(e.Set(tester, "d", "keep", "none")))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	defer v.Close()
	buf := make([]byte, 1<<20)
	for round := range 2 {
		for off := uint64(0); off < 24<<20; off += uint64(len(buf)) {
			buf[0] = byte(round + 1)
			must(v.WriteAt(buf, off))
		}
		must(e.Checkpoint())
	}
	must(second(e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})))
	return e
}

// Who asked for cleaning and goes away ends it; what was left is there for the next.
func TestCleaningCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := &removals{Store: mem.New(1<<20, 0), told: cancel}
	e := fullOfDead(t, store)
	must := fatalOn(t)
	if r, err := e.Clean(ctx, nil); !fail.Is(err, fail.Canceled) {
		t.Fatalf("cleaning for somebody who went: %+v, %v", r, err)
	}
	if store.n != 1 {
		t.Errorf("%d segments were removed, want none after who asked was gone", store.n)
	}
	store.told = func() {}
	r, err := e.Clean(context.Background(), nil)
	must(err)
	if r.Retired < 15 || store.n < 10 {
		t.Errorf("%d segments were given back afterwards, %d of them removed; want what was left", r.Retired, store.n)
	}
}

// Who asks for cleaning does not wait for a round that rests, and need not wait
// for any.
func TestCleaningGoesFirst(t *testing.T) {
	store := &removals{Store: mem.New(1<<20, 0)}
	e := fullOfDead(t, store)
	asked := make(chan engine.CleanReport)
	store.told = func() {
		store.told = func() {}
		go func() {
			r, err := e.Clean(context.Background(), nil)
			if err != nil {
				t.Error(err)
			}
			asked <- r
		}()
		for deadline := time.Now().Add(10 * time.Second); !e.Asked(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("nobody waits for the round that runs")
				return
			}
		}
	}
	for range 3 { // hands over
		if _, err := e.Set(tester, "d", "keep", "none"); err != nil {
			t.Fatal(err)
		}
		if err := e.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := e.CleanQuietly(); err != nil || r.Retired == 0 || r.Retired > 8 {
		t.Errorf("a round that nobody asked for: %+v, %v; want it to give way", r, err)
	}
	if r := <-asked; r.Retired < 8 {
		t.Errorf("the round that was asked for: %+v", r)
	}

	defer e.HoldCleaner()()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := e.Clean(ctx, nil); done <- err }()
	cancel()
	select {
	case err := <-done:
		if !fail.Is(err, fail.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("who asked for cleaning and went away still waits for another round")
	}
}
