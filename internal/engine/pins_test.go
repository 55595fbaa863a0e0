package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// pinned makes a volume with n snapshots that each keep one block of their own,
// behind the horizon, and returns the engine.
func pinned(t *testing.T, n int) *engine.Engine {
	t.Helper()
	c := newCrowd(t, engine.Options{Store: mem.New(1<<20, 8<<30), CheckpointEvery: -1})
	e := c.e
	if _, err := e.CreateVolume(tester, "d", 8<<20); err != nil {
		t.Fatal(err)
	}
	v, err := vol.Open(e, "d", nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	buf := make([]byte, block)
	for i := range n {
		buf[0], buf[1] = byte(i), byte(i>>8)
		if err := v.WriteAt(buf, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Snapshot(tester, "d", fmt.Sprintf("s%d", i)); err != nil {
			t.Fatal(err)
		}
		if i%200 == 199 {
			if err := e.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := v.WriteAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}}); err != nil {
		t.Fatal(err)
	}
	settleAll(t, e)
	return e
}

func settleAll(t *testing.T, e *engine.Engine) {
	t.Helper()
	for range 200 {
		if err := e.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if !e.MoreToDo() {
			return
		}
	}
	t.Fatal("there is always more to do")
}

// Destroying one snapshot of 10,000 costs what destroying one of 10 does, and
// frees the one block that it alone kept; listing them all with their sizes is
// quick.
func TestManyPins(t *testing.T) {
	cost := map[int]int64{}
	for _, n := range []int{10, 10_000} {
		e := pinned(t, n)
		began := time.Now()
		list, err := e.Snapshots("d")
		took := time.Since(began)
		if err != nil || len(list) != n {
			t.Fatalf("%d snapshots: %v", len(list), err)
		}
		for _, s := range list[:n-1] {
			if s.Used != block {
				t.Fatalf("%d snapshots: %s uses %d bytes, want %d", n, s.Name, s.Used, block)
			}
		}
		if took > 200*time.Millisecond {
			t.Errorf("listing %d snapshots took %v", n, took)
		}
		middle := fmt.Sprintf("s%d", n/2)
		if r, err := e.Reclaimable("d", []string{middle}); err != nil || r != block {
			t.Errorf("%d snapshots: destroying %s would free %d bytes (%v)", n, middle, r, err)
		}
		free, before := e.FreeCount(), e.Status().LogBytes
		if _, err := e.DestroySnapshot(tester, "d", middle); err != nil {
			t.Fatal(err)
		}
		if err := e.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		cost[n] = e.Status().LogBytes - before
		if e.FreeCount() <= free {
			t.Errorf("%d snapshots: destroying one freed nothing", n)
		}
		t.Logf("%d snapshots: listed in %v, one destroyed with %d bytes of log", n, took, cost[n])
		rep, err := e.Check(context.Background(), false, nil)
		if err != nil || len(rep.Damage) > 0 {
			t.Fatalf("check: %v %v", err, rep.Damage)
		}
		e.Abort()
	}
	// The pool tree of 10,000 snapshots is higher: each item that changes rewrites
	// the nodes above it. Nothing else grows.
	if cost[10_000] > 6*cost[10] {
		t.Errorf("destroying one of 10,000 snapshots writes %d bytes, one of 10 writes %d", cost[10_000], cost[10])
	}
}

// What only a view kept when the server was killed has no pin any more. It is
// neither needed nor free until the pool is opened for writing, and no damage.
func TestKilledWithAView(t *testing.T) {
	store := mem.New(1<<20, 8<<30)
	c := newCrowd(t, engine.Options{Store: store, CheckpointEvery: -1})
	e := c.e
	must := fatalOn(t)
	must(second(e.CreateVolume(tester, "d", 8<<20)))
	v, err := vol.Open(e, "d", nil, tester, func() {})
	must(err)
	defer v.Close()
	must(v.WriteAt(make([]byte, 64*block), 0))
	must(second(e.Snapshot(tester, "d", "s")))
	must(v.WriteAt(make([]byte, 64*block), 0))
	must(second(e.Prune(tester, "d", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})))
	settleAll(t, e)
	m, err := e.Resolve("d", when.Spec{Kind: when.Snapshot, Name: "s"})
	must(err)
	view, err := e.OpenView(m)
	must(err)
	must(second(e.DestroySnapshot(tester, "d", "s")))
	settleAll(t, e)
	e.Abort()
	view.Close()
	check := func(when string) {
		t.Helper()
		rep, err := engine.CheckStore(context.Background(), store, true, nil)
		must(err)
		for _, d := range rep.Damage {
			t.Errorf("%s: %s: %s", when, d.Where, d.What)
		}
	}
	check("killed")
	e, err = engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	must(err)
	must(e.Close(context.Background()))
	check("opened again")
}
