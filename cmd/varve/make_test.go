package main

import (
	"context"
	"math/rand/v2"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/vfs"
)

// However far the making of a pool came when the power failed, it can be made
// then: with the sizes of the second attempt, or of the first if a layout was
// left and none are given.
func TestMakingAPoolIsInterrupted(t *testing.T) {
	const path, size, capacity = "/srv/pool", 1 << 20, 64 << 20
	whole := vfs.NewMem(1)
	if err := makePool(whole, path, capacity, size); err != nil {
		t.Fatal(err)
	}
	var already, finished, anew int
	for n := 1; n <= whole.Ops()+10; n++ { // the log's goroutines make the count vary
		for seed := range uint64(4) {
			disk := vfs.NewMem(seed)
			disk.CrashAfter(n)
			makePool(disk, path, capacity, size) // fails somewhere, or is done before
			disk = disk.Crash(rand.New(rand.NewPCG(seed, uint64(n))))

			_, begun, err := unfinished(disk, path)
			if err != nil {
				t.Fatalf("crash in call %d, seed %d: %v", n, seed, err)
			}
			switch begun {
			case 0:
				already++
			case size:
				finished++
			default:
				anew++
			}
			if seed%2 == 0 {
				err = makePoolOnce(disk, path)
			} else if err = makePool(disk, path, capacity, size); fail.Is(err, fail.Exists) && begun == 0 {
				err = nil
			}
			if err != nil {
				t.Fatalf("crash in call %d, seed %d: %v", n, seed, err)
			}
			checkEmptyPool(t, disk, path)
		}
	}
	if already == 0 || finished == 0 || anew == 0 {
		t.Errorf("of the crashes %d left a pool, %d a layout, %d nothing", already, finished, anew)
	}
}

func checkEmptyPool(t *testing.T, disk vfs.FS, path string) {
	t.Helper()
	store, err := openStore(disk, path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := engine.CheckStore(context.Background(), store, true, nil)
	if err != nil || len(r.Damage) > 0 || r.Datasets != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}
