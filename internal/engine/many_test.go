package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// 10,000 snapshots and 1,000 clones: made, listed in under 100 ms, and a write
// allocates and dirties no more than without them.
func TestManySnapshotsAndClones(t *testing.T) {
	store := mem.New(8<<20, 8<<30)
	if err := engine.Format(store, time.Now(), seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	if _, err := e.CreateVolume(tester, "d", 64<<20); err != nil {
		t.Fatal(err)
	}
	v, err := vol.Open(e, "d", nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p := make([]byte, block)
	rng := rand.New(rand.NewPCG(2, 2))
	write := func() {
		if err := v.WriteAt(p, rng.Uint64N(64<<20/block)*block); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint := func() {
		if err := e.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	const snapshots, clones = 10_000, 1_000
	for i := range snapshots {
		write()
		if _, err := e.Snapshot(tester, "d", fmt.Sprintf("s%d", i)); err != nil {
			t.Fatal(err)
		}
		if i%500 == 499 {
			checkpoint()
		}
	}
	for i := range clones {
		at := when.Spec{Kind: when.Snapshot, Name: fmt.Sprintf("s%d", i*10)}
		if _, err := e.Clone(tester, "d", at, fmt.Sprintf("c%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint()

	began := time.Now()
	list, err := e.Snapshots("")
	if err != nil || len(list) != snapshots {
		t.Fatal(len(list), err)
	}
	if n := len(e.Datasets(false)); n != clones+1 {
		t.Fatal(n)
	}
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("listing took %v", took)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	dirty := e.Status().DirtyBytes
	for range 2000 {
		write()
	}
	grown := e.Status().DirtyBytes - dirty
	checkpoint()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if heap := int64(after.HeapAlloc) - int64(before.HeapAlloc); heap > 16<<20 {
		t.Errorf("2,000 writes and a checkpoint left %d MiB on the heap", heap>>20)
	}
	if leaves := int64(16384 / 60 * block); grown > 2*leaves {
		t.Errorf("2,000 writes made %d KiB of nodes dirty: more than the volume's tree has", grown>>10)
	}
	t.Logf("%d MiB of heap, %d KiB dirty by 2,000 writes", after.HeapAlloc>>20, grown>>10)
}
