package redo_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/redo"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// wreck is a world on a disk whose power may go.
type wreck struct {
	*world
	disk  *vfs.Mem
	begin uint64
}

func newWreck(t *testing.T, seed uint64) *wreck {
	t.Helper()
	w := &wreck{world: &world{t: t, clock: time.Now()}, disk: vfs.NewMem(seed)}
	w.ok(dir.Make(w.disk, "pool", 1<<20, 1<<30))
	store, err := dir.Open(w.disk, "pool", dir.Options{Spare: 2})
	w.ok(err)
	w.ok(engine.Format(store, w.clock, rand.NewChaCha8([32]byte{1})))
	w.e, err = engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	w.ok(err)
	w.f = fs.New(w.e, fs.Options{})
	_, err = w.e.CreateShare(engine.Caller{}, "home", 0o777, 0, 0)
	w.ok(err)
	_, err = w.e.CreateVolume(engine.Caller{}, "disk", 1<<20)
	w.ok(err)
	s, err := w.f.Share("home")
	w.ok(err)
	w.root = fs.Handle{Dataset: s.ID, Ino: 2}
	one, two := scene(w.world, seed)
	w.begin = w.last()
	rng := rand.New(rand.NewPCG(seed, 3))
	for i := range 60 {
		one.step()
		two.step()
		w.scribble("one", rng)
		w.scribble("three", rng)
		if i == 30 {
			w.ok(w.e.Checkpoint())
		}
	}
	w.ok(w.e.Flush())
	return w
}

// scribble writes some bytes of the volume, in blocks of which others write too.
func (w *wreck) scribble(client string, rng *rand.Rand) {
	w.t.Helper()
	h, err := w.e.Attach("disk", engine.Caller{Proto: "NBD", Addr: client + ":1"}, true, func() {})
	w.ok(err)
	defer h.Detach()
	p := make([]byte, 1+rng.IntN(9000))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	w.ok(h.WriteAt(p, rng.Uint64N(1<<20-10_000)))
}

// act undoes the one client's work, or replays the other's into a new dataset; a
// checkpoint comes beside it.
func (w *wreck) act(dataset string, replay bool) error {
	beside := make(chan error, 1)
	go func() { beside <- w.e.Checkpoint() }()
	var err error
	if replay {
		_, err = redo.Replay(context.Background(), w.e, caller, dataset, redo.ReplayOptions{From: at(w.begin), To: at(w.last()), Exclude: of("one"), Name: "new"})
	} else {
		_, err = redo.Undo(context.Background(), w.e, caller, dataset, redo.UndoOptions{Since: at(w.begin), Match: of("one")})
	}
	if cerr := <-beside; err == nil {
		err = cerr
	}
	return err
}

// state is all that a dataset has.
func (w *wreck) state(dataset string, volume bool) map[string]string {
	w.t.Helper()
	if volume {
		return map[string]string{"bytes": string(w.world.disk(dataset, w.last()))}
	}
	return w.paths(dataset, w.last())
}

// reboot opens what the power left, at times after another failure.
func (w *wreck) reboot(luck *rand.Rand) {
	w.t.Helper()
	w.f.Close()
	w.e.Abort()
	for {
		w.disk = w.disk.Crash(luck)
		again := luck.IntN(3) == 0
		if again {
			w.disk.CrashAfter(1 + luck.IntN(30))
		}
		store, err := dir.Open(w.disk, "pool", dir.Options{Spare: 2})
		if err == nil {
			w.e, err = engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
		}
		if err == nil {
			w.disk.CrashAfter(0)
			if _, err = w.disk.Stat("pool"); err == nil {
				break
			}
			w.e.Abort()
		}
		if !again {
			w.t.Fatal(err)
		}
	}
	w.f = fs.New(w.e, fs.Options{})
}

// Killed in the middle of an undo or a replay, a dataset is as before or as after,
// and nothing half made is left.
func TestCrashInRedo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	luck := rand.New(rand.NewPCG(seed, 1))
	for _, dataset := range []string{"home", "disk"} {
		for _, replay := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, replay %v", dataset, replay), func(t *testing.T) { crashes(t, luck, dataset, replay) })
		}
	}
}

func crashes(t *testing.T, luck *rand.Rand, dataset string, replay bool) {
	volume := dataset == "disk"
	whole := newWreck(t, 7)
	before := whole.state(dataset, volume)
	whole.ok(whole.act(dataset, replay))
	name := dataset
	if replay {
		name = "new"
	}
	after := whole.state(name, volume)
	whole.f.Close()
	whole.e.Abort()
	was, is := 0, 0
	for range 30 {
		w := newWreck(t, 7)
		w.disk.CrashAfter(1 + luck.IntN(16))
		err := w.act(dataset, replay)
		w.reboot(luck)
		done := w.ended(dataset, replay)
		switch {
		case err == nil && !done:
			t.Fatal("it was answered, and is not there after a crash")
		case done:
			is++
			w.same("after", w.state(name, volume), after)
		default:
			was++
			w.same("before", w.state(dataset, volume), before)
		}
		w.check()
		n := 2
		if replay && done {
			n = 3
		}
		if all := len(w.e.Datasets(false)) + len(w.e.Datasets(true)); all != n {
			t.Fatalf("%d datasets, want %d", all, n)
		}
		w.f.Close()
		w.e.Abort()
	}
	if t.Logf("%d as before, %d as after", was, is); was == 0 || is == 0 {
		t.Errorf("%d as before, %d as after", was, is)
	}
}

// ended says whether it is done by the catalog alone.
func (w *wreck) ended(dataset string, replay bool) bool {
	if replay {
		_, err := w.e.Dataset("new")
		return err == nil
	}
	snaps, err := w.e.Snapshots(dataset)
	w.ok(err)
	return len(snaps) > 0 && strings.HasPrefix(snaps[0].Name, "before-undo")
}
