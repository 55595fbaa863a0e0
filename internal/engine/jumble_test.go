package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/when"
)

// jumble does whatever moves lines and moments about, in any order. It has no
// model: a snapshot stays what it was when it was first looked at, what begins with
// a moment is what that was, and the books are right.
type jumble struct {
	*sim
	t     *testing.T
	disk  *vfs.Mem
	sums  map[string]uint64 // of snapshots, by dataset and moment
	draft *engine.Draft
	from  string // its dataset
	big   int    // blocks of a volume
}

// Whatever is done, drafts and power failures in checkpoints among it, loses no
// snapshot, frees nothing that is needed, and leaks nothing.
func TestJumble(t *testing.T) {
	for seed := uint64(1); seed <= uint64(seeds(60)); seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			defer recoverStop(t)
			j := newJumble(t, seed)
			for i := range 200 {
				if j.step(); i%8 == 7 {
					checkClean(t, j.sim)
				}
				if i%40 == 39 {
					j.look()
				}
				if t.Failed() {
					t.Fatalf("at step %d, lsn %d", i, j.e.Status().LastLSN)
				}
			}
			j.drop()
			j.e.DropViews()
			for j.e.DrainStep() {
			}
			j.checkpoints(1)
			for i := 0; j.e.MoreToDo() && i < 500; i++ {
				j.checkpoints(1)
			}
			checkClean(t, j.sim)
			j.look()
			j.must("close", j.e.Close(context.Background()))
		})
	}
}

func newJumble(t *testing.T, seed uint64) *jumble {
	disk, rng := vfs.NewMem(seed), rand.New(rand.NewPCG(seed, 5))
	if err := dir.Make(disk, "pool", 512<<10, 1<<30); err != nil {
		t.Fatal(err)
	}
	store, err := dir.Open(disk, "pool", dir.Options{Spare: 4})
	if err != nil {
		t.Fatal(err)
	}
	c := config{segment: 512 << 10, volumes: true, alone: true, baseOps: []uint64{5, 25, 200}[rng.IntN(3)]}
	return &jumble{sim: newSim(t, c, store, seed), t: t, disk: disk, sums: map[string]uint64{}, big: 90 + 80*rng.IntN(3)}
}

func (j *jumble) step() {
	name, ok := one(j.sim, j.names())
	if !ok {
		name = j.name("v")
		j.must("create", second(j.e.CreateVolume(tester, name, uint64(j.big)*block)))
		for b := 0; b < j.big; b += 2 {
			j.put(name, b)
		}
		return
	}
	switch pick := j.rng.IntN(30); {
	case pick < 5:
		for range 1 + j.rng.IntN(6) {
			j.put(name, j.rng.IntN(j.big))
		}
	case pick < 6:
		j.may(second(j.e.Snapshot(tester, name, j.name("s"))))
	case pick < 9:
		j.may(second(j.e.SnapshotAt(tester, name, j.name("s"), j.moment(name))))
	case pick < 12:
		j.turn(name, j.moment(name))
	case pick < 13:
		if len(j.names()) < 5 {
			j.may(second(j.e.Clone(tester, name, j.moment(name), j.name("c"))))
		}
	case pick < 14:
		j.may(second(j.e.Destroy(tester, name, true)))
	case pick < 16:
		j.remake(name)
	case pick < 18:
		j.put(name, 0) // else it keeps its horizon
		now := when.Spec{Kind: when.Now}
		_, err := j.e.Prune(tester, name, engine.PruneOptions{Before: &now})
		j.may(err)
		j.checkpoints(j.rng.IntN(4))
	case pick < 21:
		j.checkpoints(1)
	case pick < 23:
		j.e.DrainStep()
	case pick < 28:
		j.draw(name)
	case pick < 29:
		j.must("reclaim", j.e.Reclaim(true))
	default:
		j.powerFails()
	}
}

func (j *jumble) name(kind string) string {
	j.serial++
	return fmt.Sprintf("%s%d", kind, j.serial)
}

func (j *jumble) names() (out []string) {
	for _, d := range j.e.Datasets(false) {
		out = append(out, d.Name)
	}
	return out
}

// may fails the test but where an operation is not possible just now.
func (j *jumble) may(err error) bool {
	for _, k := range []fail.Kind{fail.OutsideHistory, fail.NotFound, fail.Invalid, fail.Busy, fail.Exists, fail.TooBig} {
		if fail.Is(err, k) {
			return false
		}
	}
	j.must("step", err)
	return true
}

// moment draws a snapshot, mostly, or an operation not long ago.
func (j *jumble) moment(name string) when.Spec {
	snaps, err := j.e.Snapshots(name)
	j.must("snapshots", err)
	if s, ok := one(j.sim, snaps); ok && j.rng.IntN(4) > 0 {
		return when.Spec{Kind: when.Snapshot, Name: s.Name}
	}
	last := j.e.Status().LastLSN
	return atLSN(last - min(last-1, j.rng.Uint64N(40)))
}

func (j *jumble) put(name string, b int) {
	v := j.open(name)
	defer v.Close()
	j.must("write", v.WriteAt(j.payload(block), uint64(b)*block))
}

// turn rolls a dataset back: then it is what it was.
func (j *jumble) turn(name string, at when.Spec) {
	m, err := j.e.Resolve(name, at)
	if !j.may(err) {
		return
	}
	was, ok := j.sum(name, m.LSN)
	if !j.may(second(j.e.Rollback(tester, name, at, false))) || !ok {
		return
	}
	if now, ok := j.sum(name, j.e.Status().LastLSN); !ok || now != was {
		j.t.Errorf("%s rolled back to %v is something else (%v)", name, at, ok)
	}
}

// remake destroys a snapshot, and makes it anew at times.
func (j *jumble) remake(name string) {
	snaps, err := j.e.Snapshots(name)
	j.must("snapshots", err)
	s, ok := one(j.sim, snaps)
	if ok && j.may(second(j.e.DestroySnapshot(tester, name, s.Name))) && j.rng.IntN(2) == 0 {
		j.may(second(j.e.SnapshotAt(tester, name, j.name("s"), atLSN(s.LSN))))
	}
}

// draw goes on with a draft, and lets it take its dataset's place in the end.
func (j *jumble) draw(name string) {
	if j.draft == nil {
		m, err := j.e.Resolve(name, j.moment(name))
		if !j.may(err) {
			return
		}
		if d, err := j.e.Draft(tester, m, "half"); j.may(err) {
			j.draft, j.from = d, name
		}
		return
	}
	switch pick := j.rng.IntN(8); {
	case pick < 4:
		for range 1 + j.rng.IntN(10) {
			j.must("write", j.draft.WriteAt(j.payload(block), uint64(j.rng.IntN(j.big))*block))
		}
	case pick < 7:
		j.may(second(j.draft.Replace(tester, j.e.Status().LastLSN)))
		j.drop()
	default:
		if j.may(second(j.draft.Publish(tester, j.name("p")))) {
			j.draft = nil
		}
	}
}

func (j *jumble) drop() {
	if j.draft != nil {
		j.draft.Discard()
		j.draft = nil
	}
}

func (j *jumble) checkpoints(n int) {
	for range n {
		j.must("checkpoint", j.e.Checkpoint())
	}
}

// powerFails cuts the power in a checkpoint. What it leaves is no damage.
func (j *jumble) powerFails() {
	j.must("flush", j.e.Flush())
	j.disk.CrashAfter(1 + j.rng.IntN(16))
	if err := j.e.Checkpoint(); !errors.Is(err, vfs.ErrCrashed) {
		j.must("checkpoint", err)
	}
	j.draft = nil
	j.e.Abort()
	j.disk = j.disk.Crash(j.rng)
	j.checkAtRest(j.t, j.disk)
	j.must("open", j.tryOpen(j.disk))
}

// sum is a checksum of what a dataset was.
func (j *jumble) sum(name string, lsn uint64) (uint64, bool) {
	v, err := j.e.OpenView(engine.Moment{Dataset: name, LSN: lsn})
	if !j.may(err) {
		return 0, false
	}
	defer v.Close()
	p := make([]byte, v.Size())
	j.must("read", v.ReadAt(p, 0, nil))
	h := fnv.New64a()
	h.Write(p)
	return cmp.Or(h.Sum64(), 1), true
}

// look compares all snapshots with what they were.
func (j *jumble) look() {
	for _, name := range j.names() {
		snaps, err := j.e.Snapshots(name)
		j.must("snapshots", err)
		for _, s := range snaps {
			key := fmt.Sprintf("%s@%d", name, s.LSN)
			is, ok := j.sum(name, s.LSN)
			if was := j.sums[key]; !ok || was != 0 && was != is {
				j.t.Errorf("%s (%s) is not what it was (%v)", key, s.Name, ok)
			}
			j.sums[key] = is
		}
	}
}
