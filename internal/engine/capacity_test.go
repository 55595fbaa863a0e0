package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

const mega = 1 << 20

// resized is a pool in a directory, with a volume.
type resized struct {
	t     *testing.T
	disk  *vfs.Mem
	store segstore.Store
	e     *engine.Engine
	v     *vol.Volume
	every time.Duration
}

func newResized(t *testing.T, capacity int64, every time.Duration) *resized {
	t.Helper()
	p := &resized{t: t, disk: vfs.NewMem(1), every: every}
	must := fatalOn(t)
	must(dir.Make(p.disk, "/pool", mega, capacity))
	must(p.disk.SyncDir("/"))
	p.files()
	must(engine.Format(p.store, time.Now(), seedReader{rand.New(rand.NewPCG(1, 1))}))
	p.serve()
	must(second(p.e.CreateVolume(tester, "d", 64*mega)))
	must(second(p.e.Set(tester, "d", "keep", "none")))
	p.attach()
	return p
}

func (p *resized) files() {
	p.t.Helper()
	files, err := dir.Open(p.disk, "/pool", dir.Options{Spare: 4})
	if err == nil {
		p.store, err = compact.Open(files)
	}
	fatalOn(p.t)(err)
}

func (p *resized) serve() {
	p.t.Helper()
	var err error
	p.e, err = engine.Open(engine.Options{Store: p.store, CheckpointEvery: p.every})
	fatalOn(p.t)(err)
}

func (p *resized) attach() {
	p.t.Helper()
	var err error
	p.v, err = vol.Open(p.e, "d", nil, tester, func() {})
	fatalOn(p.t)(err)
}

func (p *resized) stop() {
	p.t.Helper()
	p.v.Close()
	fatalOn(p.t)(errors.Join(p.e.Close(context.Background()), p.store.Close()))
}

// restart stops the pool, or kills it, and serves it again.
func (p *resized) restart(kill bool) {
	p.t.Helper()
	if kill {
		p.v.Close()
		p.e.Abort()
		disk := p.disk.Crash(nil)
		p.store.Close()
		p.disk = disk
	} else {
		p.stop()
	}
	p.files()
	p.serve()
	p.attach()
}

// write fills so many MiB of the volume from at, until there is no room.
func (p *resized) write(at, n int, b byte) error {
	buf := make([]byte, 256<<10)
	for i := range buf {
		buf[i] = b
	}
	for off := uint64(at) * mega; off < uint64(at+n)*mega; off += uint64(len(buf)) {
		if err := p.v.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

func (p *resized) capacity(want int64) {
	p.t.Helper()
	if s := p.e.Status(); s.CapacityBytes != want {
		p.t.Fatalf("the capacity is %d, want %d", s.CapacityBytes, want)
	}
}

func (p *resized) set(bytes uint64) {
	p.t.Helper()
	last := p.e.Status().LastLSN
	done, err := p.e.SetCapacity(bytes)
	if err != nil || done.CapacityBytes != int64(bytes) || done.LSN < last || done.Time.IsZero() {
		p.t.Fatalf("capacity %d: %+v, %v", bytes, done, err)
	}
}

// check verifies that nothing was lost, once no room is being made for a capacity of
// before: that ends a check without a verdict.
func (p *resized) check() {
	p.t.Helper()
	rep, err := p.e.Check(context.Background(), true, nil)
	for tries := 0; fail.Is(err, fail.Busy) && tries < 100; tries++ {
		time.Sleep(20 * time.Millisecond)
		rep, err = p.e.Check(context.Background(), true, nil)
	}
	if err != nil || len(rep.Damage) > 0 {
		p.t.Fatalf("%v %+v", err, rep)
	}
}

// A writer that waits for room on a full pool goes on at once when the pool becomes
// larger, though nothing is given back; the capacity outlives a kill.
func TestGrowWhileAWriterWaits(t *testing.T) {
	p := newResized(t, 32*mega, 10*time.Minute)
	must := fatalOn(t)
	must(second(p.e.Set(tester, "d", "history", "all")))
	must(p.write(0, 10, 1))
	must(p.e.Checkpoint())
	release := p.e.HoldCleaner() // nothing comes of the history that could go
	written := make(chan error, 1)
	go func() {
		var err error
		for round := 0; round < 8 && err == nil; round++ {
			err = p.write(0, 10, byte(round))
		}
		written <- err
	}()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s := p.e.Status()
		if s.FreeBytes < s.Space.Reserve+mega {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the pool does not become full: %d of %d are free, %d in reserve", s.FreeBytes, s.CapacityBytes, s.Space.Reserve)
		}
	}
	select {
	case err := <-written:
		t.Fatalf("the writer does not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.set(256 * mega)
	select {
	case err := <-written:
		must(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the writer still waits")
	}
	release()
	s := p.e.Status()
	if reserve := s.Space.Reserve; reserve != 256*mega/20 {
		t.Errorf("%d are in reserve", reserve)
	}
	for _, kill := range []bool{true, false} {
		p.restart(kill)
		p.capacity(256 * mega)
	}
	must(p.write(20, 40, 9))
	p.check()
	p.stop()
}

// A pool that refused a writer takes its writes as soon as it is larger, without
// waiting until it looks for room again.
func TestGrowAfterRefusal(t *testing.T) {
	p := newResized(t, 16*mega, 10*time.Minute)
	if err := p.write(0, 30, 1); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a full pool takes writes: %v", err)
	}
	p.set(64 * mega)
	fatalOn(t)(p.write(0, 30, 1))
	p.check()
	p.stop()
}

// A smaller capacity is refused where data that stays has no room in it, and says
// what the least is; that is taken, and the pool works in it.
func TestShrinkToTheLeast(t *testing.T) {
	p := newResized(t, 128*mega, 10*time.Minute)
	must := fatalOn(t)
	must(p.write(0, 20, 1))
	must(second(p.e.Snapshot(tester, "d", "kept")))
	must(p.write(0, 10, 2))
	must(second(p.e.Clean(context.Background(), nil)))
	_, err := p.e.SetCapacity(16 * mega)
	var least int64
	if _, hint, ok := strings.Cut(fmt.Sprint(err), "the least now is capacity="); ok {
		fmt.Sscanf(hint, "%dM;", &least)
	}
	if least *= mega; !fail.Is(err, fail.NoSpace) || least < 36*mega || least > 48*mega { // 20 MiB are live, the snapshot pins 10
		t.Fatalf("a capacity that is too small: the least is %d, %v", least, err)
	}
	if _, err := p.e.SetCapacity(uint64(least) - mega); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a capacity below the least of %d: %v", least, err)
	}
	p.capacity(128 * mega)
	_, err = p.e.SetCapacity(3 * mega)
	if !fail.Is(err, fail.Invalid) {
		t.Fatalf("a capacity of three segments: %v", err)
	}
	if _, err = p.e.SetCapacity(1 << 62); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("a capacity beyond the disk: %v", err)
	}
	p.set(uint64(least))
	for _, kill := range []bool{true, false} {
		p.restart(kill)
		p.capacity(least)
		if err := p.write(0, 1, 3); err != nil {
			s := p.e.Status()
			t.Fatalf("kill %v: %v; %+v, %d used of %d", kill, err, s.Space, s.UsedBytes, s.CapacityBytes)
		}
	}
	if done, err := p.e.SetCapacity(0); err != nil || done.CapacityBytes < 700<<30 || done.CapacityBytes > 900<<30 { // of 1 TiB
		t.Errorf("by default: %+v, %v", done, err)
	}
	p.check()
	p.stop()
}

// A pool that shrinks below what it occupies gives space back until it fits: history
// goes, and what a snapshot pins stays.
func TestShrinkForgets(t *testing.T) {
	p := newResized(t, 256*mega, 20*time.Millisecond)
	must := fatalOn(t)
	must(second(p.e.Set(tester, "d", "history", "all")))
	must(p.write(0, 4, 7))
	must(second(p.e.Snapshot(tester, "d", "kept")))
	for round := range 12 {
		must(p.write(0, 8, byte(round)))
		must(p.e.Checkpoint())
	}
	const small = 40 * mega
	if used := p.e.Status().UsedBytes; used < 2*small {
		t.Fatalf("only %d are occupied", used)
	}
	p.set(small)
	p.fits(small)
	p.restart(true)
	p.fits(small)
	p.check()
	v, err := vol.Open(p.e, "d", &when.Spec{Kind: when.Snapshot, Name: "kept"}, tester, nil)
	must(err)
	b := make([]byte, 4*mega)
	must(v.ReadAt(b, 0, nil))
	v.Close()
	for i := range b {
		if b[i] != 7 {
			t.Fatalf("byte %d of the snapshot is %d", i, b[i])
		}
	}
	must(p.write(0, 8, 1))
	p.stop()
}

// fits waits until the pool occupies no more than its capacity, on the disk too, and
// the four spare segments that stay for when others have filled that.
func (p *resized) fits(capacity int64) {
	p.t.Helper()
	var used int64
	for range 400 {
		free, total, err := p.disk.Space("/pool")
		fatalOn(p.t)(err)
		if used = total - free; used <= capacity+4*mega+mega/2 {
			p.capacity(capacity)
			return
		}
		p.e.LookNow()
		time.Sleep(25 * time.Millisecond)
	}
	s := p.e.Status()
	p.t.Fatalf("%d are still occupied of %d: %+v", used, capacity, s.Space)
}

// The capacity changes beside writers, the cleaner and checkpoints: nobody is
// refused but by a pool that is full, and nothing is lost.
func TestCapacityBesideWriters(t *testing.T) {
	p := newResized(t, 128*mega, 5*time.Millisecond)
	must := fatalOn(t)
	var group sync.WaitGroup
	var stop atomic.Bool
	var taken atomic.Int64
	for w := range 3 {
		group.Go(func() {
			for round := 0; !stop.Load(); round++ {
				switch err := p.write(4*w, 4, byte(round)); {
				case err == nil:
					taken.Add(1)
				case !fail.Is(err, fail.NoSpace):
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	group.Go(func() {
		for !stop.Load() {
			if _, err := p.e.Clean(context.Background(), nil); err != nil && !fail.Is(err, fail.NoSpace) {
				t.Errorf("cleaning: %v", err)
			}
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		_, err := p.e.SetCapacity(uint64(40+rng.IntN(200)) * mega)
		if err != nil && !fail.Is(err, fail.NoSpace) {
			t.Errorf("capacity: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop.Store(true)
	group.Wait()
	p.set(256 * mega)
	must(p.write(0, 12, 1))
	if taken.Load() == 0 {
		t.Error("no writer wrote")
	}
	p.check()
	p.restart(true)
	p.capacity(256 * mega)
	p.check()
	p.stop()
}

// A pool in memory has no limit by default.
func TestCapacityInMemory(t *testing.T) {
	e := newCrowd(t, engine.Options{Store: mem.New(mega, 64*mega), CheckpointEvery: -1}).e
	defer e.Abort()
	if done, err := e.SetCapacity(0); err != nil || done.CapacityBytes < 1<<50 {
		t.Errorf("%+v %v", done, err)
	}
}
