package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

// machine is a clock that only a test turns: the wall, which may jump, and what
// elapses.
type machine struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func newMachine() *machine { return &machine{wall: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)} }

func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

func (m *machine) since() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.elapsed
}

func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall, m.elapsed = m.wall.Add(d), m.elapsed+d
}

func (m *machine) jump(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(d)
}

// aged is a pool that grows old: a volume that is overwritten at random, of
// which the test remembers which version of each block is where.
type aged struct {
	t        *testing.T
	disk     *vfs.Mem
	e        *engine.Engine
	clock    *machine
	v        *vol.Volume
	rng      *rand.Rand
	capacity int64
	now      []uint32            // version by block
	points   map[string][]uint32 // kept points, as they were when they were made
	version  uint32
	buf      []byte
	flushes  bool // after each write: a frame for each
	fullest  int  // least percent that was free
}

const largeWrite = 64 << 10

func newAged(t *testing.T, capacity, volume, segment int64) *aged {
	t.Helper()
	a := &aged{
		t: t, disk: vfs.NewMem(1), clock: newMachine(), rng: rand.New(rand.NewPCG(1, 2)), capacity: capacity, fullest: 100,
		now: make([]uint32, volume/block), points: map[string][]uint32{}, buf: make([]byte, largeWrite),
	}
	if err := dir.Make(a.disk, "pool", segment, capacity); err != nil {
		t.Fatal(err)
	}
	a.e = newCrowd(t, a.options()).e
	if _, err := a.e.CreateVolume(tester, "d", uint64(volume)); err != nil {
		t.Fatal(err)
	}
	a.attach()
	return a
}

func (a *aged) options() engine.Options {
	a.t.Helper()
	store, err := compact.Open(openDir(a.t, a.disk))
	if err != nil {
		a.t.Fatal(err)
	}
	return engine.Options{Store: store, Now: a.clock.now, Elapsed: a.clock.since, CheckpointEvery: -1}
}

func (a *aged) attach() {
	a.t.Helper()
	var err error
	if a.v, err = vol.Open(a.e, "d", nil, tester, func() {}); err != nil {
		a.t.Fatal(err)
	}
}

// crash cuts the power while the cleaner works, and opens what is left.
func (a *aged) crash() {
	a.t.Helper()
	if err := a.v.Flush(); err != nil {
		a.t.Fatal(err)
	}
	a.v.Close()
	a.disk.CrashAfter(1 + a.rng.IntN(150))
	for range 3 {
		if a.clean() != nil {
			break
		}
	}
	killed := a.disk
	a.disk = killed.Crash(a.rng)
	a.e.Abort()
	var err error
	if a.e, err = engine.Open(a.options()); err != nil {
		a.t.Fatalf("after a crash: %v", err)
	}
	a.attach()
	a.remember()
	a.compareAll()
	for range 3 { // after so many checkpoints the cleaner may touch what is old
		a.tend()
	}
}

func (a *aged) set(key, value string) {
	a.t.Helper()
	if _, err := a.e.Set(tester, "d", key, value); err != nil {
		a.t.Fatal(err)
	}
}

// fillBlock is what a version of a block holds.
func fillBlock(p []byte, at int, version uint32) {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(version)<<32|uint64(at))
	}
}

// write overwrites n blocks.
func (a *aged) write(at, n int) {
	a.t.Helper()
	a.version++
	for i := range n {
		fillBlock(a.buf[i*block:(i+1)*block], at+i, a.version)
		a.now[at+i] = a.version
	}
	if err := a.v.WriteAt(a.buf[:n*block], uint64(at*block)); err != nil {
		s := a.e.Status()
		a.t.Fatalf("the pool ran out: %v\n%+v; free %d of %d", err, s.Space, s.FreeBytes, s.CapacityBytes)
	}
	if !a.flushes {
		return
	}
	if err := a.v.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// random overwrites so many bytes at random: by as many writes of 64 KiB as of
// single blocks, or by these alone.
func (a *aged) random(bytes int64, singles bool) {
	for done := int64(0); done < bytes; {
		n := 1
		if !singles && a.rng.IntN(2) == 0 {
			n = largeWrite / block
		}
		a.write(a.rng.IntN(len(a.now)/n)*n, n)
		done += int64(n * block)
	}
}

// clean does what the background does from time to time.
func (a *aged) clean() error {
	for a.e.DrainStep() {
	}
	for _, step := range []func() error{
		a.e.Checkpoint,
		func() error { return second(a.e.Retain()) },
		func() error { return a.e.Reclaim(false) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tend is clean where nothing may fail.
func (a *aged) tend() {
	a.t.Helper()
	if err := a.clean(); err != nil {
		a.t.Fatal(err)
	}
	s := a.e.Status()
	a.fullest = min(a.fullest, int(s.FreeBytes*100/s.CapacityBytes))
	a.remember()
}

// remember notes new kept points, since which nothing was written, and forgets
// those that went.
func (a *aged) remember() {
	a.t.Helper()
	snaps, err := a.e.Snapshots("d")
	if err != nil {
		a.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, s := range snaps {
		if there[s.Name] = true; a.points[s.Name] == nil {
			a.points[s.Name] = slices.Clone(a.now)
		}
	}
	for name := range a.points {
		if !there[name] {
			delete(a.points, name)
		}
	}
}

// compare reads blocks of the volume as it is, or as a kept point has it.
func (a *aged) compare(what string, v *vol.Volume, versions []uint32) {
	a.t.Helper()
	got, want := make([]byte, largeWrite), make([]byte, block)
	for at := 0; at < len(versions); at += largeWrite / block {
		n := min(largeWrite/block, len(versions)-at)
		if err := v.ReadAt(got[:n*block], uint64(at*block), nil); err != nil {
			a.t.Fatalf("%s, block %d: %v", what, at, err)
		}
		for i := range n {
			if clear(want); versions[at+i] != 0 {
				fillBlock(want, at+i, versions[at+i])
			}
			if !bytes.Equal(got[i*block:(i+1)*block], want) {
				a.t.Fatalf("%s: block %d is not version %d", what, at+i, versions[at+i])
			}
		}
	}
}

func (a *aged) compareAll() {
	a.t.Helper()
	a.compare("now", a.v, a.now)
	for name, versions := range a.points {
		v, err := vol.Open(a.e, "d", &when.Spec{Kind: when.Snapshot, Name: name}, tester, nil)
		if err != nil {
			a.t.Fatalf("%s: %v", name, err)
		}
		a.compare(name, v, versions)
		v.Close()
	}
}

// fill writes all of the volume in order.
func (a *aged) fill() {
	a.set("history", "30m")
	a.set("keep", "hourly:3")
	for at := 0; at < len(a.now); at += largeWrite / block {
		a.write(at, largeWrite/block)
		if at%(1<<20/block) == 0 {
			a.clock.pass(time.Minute)
			a.tend()
		}
	}
}

// TestAgingCrashes cuts the power while the cleaner of a nearly full pool works:
// what was flushed and every kept point read back, and the pool goes on.
func TestAgingCrashes(t *testing.T) {
	const capacity = 32 << 20
	a := newAged(t, capacity, capacity*55/100/largeWrite*largeWrite, 1<<20)
	a.fill()
	times := 60
	if crashes() < 1000 {
		times = 15
	}
	copied := int64(0)
	for i := range times {
		for range 4 {
			a.random(256<<10, i%2 == 0)
			a.clock.pass(20 * time.Minute)
			a.tend()
		}
		copied += a.e.Cleaned().CopiedBytes
		a.crash()
	}
	if copied == 0 {
		t.Error("nothing was ever moved")
	}
	rep, err := a.e.Check(context.Background(), true, nil)
	if err != nil || len(rep.Damage) > 0 {
		t.Errorf("check: %v %+v", err, rep.Damage)
	}
	t.Logf("%d crashes, %d MiB moved, %d %% free at least", times, copied>>20, a.fullest)
	a.v.Close()
	if err := a.e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestAging overwrites a pool five times at random, while kept points and history
// come and go, and counts what its cleaner has to copy.
func TestAging(t *testing.T) {
	const capacity, step = 96 << 20, 1 << 20
	times := 5
	if crashes() < 1000 { // under the race detector
		times = 2
	}
	for _, c := range []struct {
		name    string
		live    int64 // percent of the capacity that the volume has
		singles bool
	}{
		{"mixed", 70, false},
		{"single blocks", 70, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAged(t, capacity, capacity*c.live/100/largeWrite*largeWrite, 1<<20)
			a.fill()
			before, filled := a.e.Cleaned(), a.e.Status()
			for i := range times * capacity / step {
				a.random(step, c.singles)
				a.clock.pass(45 * time.Minute)
				a.tend()
				if i%(capacity/step) == 0 {
					a.report("", before, filled)
				}
			}
			a.end(before, filled, 1.3, 3)
		})
	}
}

func (a *aged) report(what string, before engine.CleanReport, filled engine.Status) float64 {
	r, s := a.e.Cleaned(), a.e.Status()
	written := s.PayloadBytes - filled.PayloadBytes
	copied := r.CopiedBytes - before.CopiedBytes
	wa := 1 + float64(copied)/float64(max(1, written))
	percent := func(n int64) int64 { return n * 100 / a.capacity }
	a.t.Logf("%swritten %d MiB (%.1f x), copied %d MiB, amplification %.3f; punched %d MiB, %d retired, %d compacted; live %d %%, history %d %%, points %d %%, nodes %d %%, dead %d %%, free %d %% (least %d %%), %d segments",
		what, written>>20, float64(written)/float64(a.capacity), copied>>20, wa, r.PunchedBytes>>20, r.Retired, r.Compacted,
		percent(s.Space.Live), percent(s.Space.History), percent(s.Space.Snapshots), percent(s.Space.Nodes), percent(s.Space.Dead), percent(s.FreeBytes), a.fullest, s.Segments)
	return wa
}

// end is what must hold of an old pool.
func (a *aged) end(before engine.CleanReport, filled engine.Status, most float64, points int) {
	t := a.t
	if wa := a.report("in all: ", before, filled); wa > most {
		t.Errorf("compaction amplifies writes %.3f times, want at most %.1f", wa, most)
	}
	if len(a.points) < points {
		t.Errorf("%d kept points are there, want %d", len(a.points), points)
	}
	a.compareAll()
	rep, err := a.e.Check(context.Background(), true, nil)
	if err != nil || len(rep.Damage) > 0 {
		t.Errorf("check: %v %+v", err, rep.Damage)
	}
	a.v.Close()
	if err := a.e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
