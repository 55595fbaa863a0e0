package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// bounded is a pool whose datasets have limits.
type bounded struct {
	t *testing.T
	e *engine.Engine
}

func newBounded(t *testing.T) *bounded {
	e := newCrowd(t, engine.Options{Store: mem.New(1<<20, 0)}).e
	t.Cleanup(func() { e.Close(context.Background()) })
	return &bounded{t, e}
}

func (b *bounded) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bounded) set(name, key string, blocks int) {
	b.t.Helper()
	b.must(second(b.e.Set(tester, name, key, fmt.Sprint(blocks*block))))
}

// open opens a volume; whoever is asked to leave it does. A clone that is empty
// again may still be held for a moment by what emptied it.
func (b *bounded) open(name string) *vol.Volume {
	b.t.Helper()
	var v *vol.Volume
	opened := make(chan struct{})
	leave := func() {
		go func() {
			<-opened
			v.Close()
		}()
	}
	v, err := vol.Open(b.e, name, nil, tester, leave)
	for deadline := time.Now().Add(20 * time.Second); fail.Is(err, fail.Busy) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		v, err = vol.Open(b.e, name, nil, tester, leave)
	}
	b.must(err)
	close(opened)
	b.t.Cleanup(v.Close)
	return v
}

// write writes n blocks of a value; it has to be refused unless fits.
func (b *bounded) write(v *vol.Volume, at, n int, value byte, fits bool) {
	b.t.Helper()
	err := v.WriteAt(bytes.Repeat([]byte{value}, n*block), uint64(at*block))
	if fits && err != nil || !fits && !fail.Is(err, fail.NoSpace) {
		b.t.Errorf("%d blocks at %d of %s: %v, fits %v", n, at, v.Name(), err, fits)
	}
}

// shows compares a volume with a value for each block.
func (b *bounded) shows(name string, want ...byte) {
	b.t.Helper()
	v := b.open(name)
	defer v.Close()
	for at, value := range want {
		got := make([]byte, block)
		b.must(v.ReadAt(got, uint64(at*block), nil))
		if !bytes.Equal(got, bytes.Repeat([]byte{value}, block)) {
			b.t.Errorf("block %d of %s begins with %d, want %d", at, name, got[0], value)
		}
	}
}

// used checks what a dataset says of its limit, and whether status warns of it.
func (b *bounded) used(name, limit string, blocks, of, percent int) {
	b.t.Helper()
	info, err := b.e.Dataset(name)
	b.must(err)
	want := engine.LimitInfo{Name: limit, Limit: int64(of * block), Used: int64(blocks * block), Percent: percent}
	if !slices.Contains(info.Limits, want) {
		b.t.Errorf("limits of %s: %+v, want %+v", name, info.Limits, want)
	}
	warning := fmt.Sprintf("%s has used %d %% of its %s", name, percent, limit)
	if got := b.e.Status().Warnings; slices.Contains(got, warning) != (percent >= 80) {
		b.t.Errorf("at %d %% the warnings are %q", percent, got)
	}
}

func TestQuotaOfAVolume(t *testing.T) {
	b := newBounded(t)
	b.must(second(b.e.CreateVolume(tester, "d", 32*block)))
	b.set("d", "quota", 10)
	v := b.open("d")
	b.write(v, 0, 7, 1, true)
	b.used("d", "quota", 7, 10, 70)
	b.write(v, 7, 1, 1, true)
	b.used("d", "quota", 8, 10, 80)
	b.write(v, 20, 3, 2, false) // one too many
	b.write(v, 20, 2, 2, true)
	b.used("d", "quota", 10, 10, 100)
	b.write(v, 10, 1, 3, false)
	b.write(v, 7, 2, 3, false) // one of them is new
	b.shows("d", 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0)
	b.write(v, 0, 8, 4, true) // these are not
	b.write(v, 20, 2, 4, true)
	b.used("d", "quota", 10, 10, 100)
	b.must(v.Trim(2*block, 3*block))
	b.used("d", "quota", 7, 10, 70)
	b.write(v, 10, 3, 5, true)
	b.write(v, 13, 1, 5, false)
	b.shows("d", 4, 4, 0, 0, 0, 4, 4, 4, 0, 0, 5, 5, 5, 0)
	b.set("d", "quota", 11)
	b.write(v, 13, 1, 6, true)
	b.set("d", "quota", 4) // less than it has
	b.write(v, 14, 1, 6, false)
	b.write(v, 13, 1, 7, true)
	b.must(second(b.e.Set(tester, "d", "quota", "")))
	b.write(v, 14, 16, 6, true)
}

// cloned is a volume with eight blocks of ones, and a clone that may change five.
func (b *bounded) cloned() {
	b.t.Helper()
	b.must(second(b.e.CreateVolume(tester, "d", 32*block)))
	v := b.open("d")
	b.write(v, 0, 8, 1, true)
	v.Close()
	b.must(second(b.e.Clone(tester, "d", when.Spec{Kind: when.Now}, "c")))
	b.set("c", "budget", 5)
}

func TestBudgetOfAClone(t *testing.T) {
	b := newBounded(t)
	b.cloned()
	v := b.open("c")
	b.used("c", "budget", 0, 5, 0)
	b.write(v, 0, 2, 2, true) // of its origin, and changed
	b.used("c", "budget", 2, 5, 40)
	b.write(v, 20, 2, 2, true)
	b.used("c", "budget", 4, 5, 80)
	b.write(v, 7, 2, 3, false)
	b.write(v, 7, 1, 3, true)
	b.used("c", "budget", 5, 5, 100)
	b.write(v, 3, 1, 3, false)
	b.write(v, 0, 2, 4, true)
	b.write(v, 20, 2, 4, true)
	b.write(v, 2, 1, 4, false)
	b.shows("c", 4, 4, 1, 1, 1, 1, 1, 3)
	b.must(v.Trim(20*block, 2*block))
	b.used("c", "budget", 3, 5, 60)
	b.shows("d", 1, 1, 1, 1, 1, 1, 1, 1, 0)
}

// A clone that is reset when its budget is used up is what it was when it was
// made, and can be changed again. Its origin knows nothing of it.
func TestResetWhenFull(t *testing.T) {
	b := newBounded(t)
	b.cloned()
	b.must(second(b.e.Set(tester, "c", "on-full", "reset")))
	origin := b.open("d")
	b.write(origin, 1, 1, 9, true) // what the clone was made from is past
	for round := range byte(3) {
		v := b.open("c")
		b.write(v, 0, 3, 10+round, true)
		b.write(v, 8, 2, 10+round, true)
		b.used("c", "budget", 5, 5, 100)
		b.write(v, 12, 1, 10+round, false)
		b.emptied("c")
		b.used("c", "budget", 0, 5, 0)
		b.shows("c", 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0)
		b.shows("d", 1, 9, 1, 1, 1, 1, 1, 1, 0, 0)
	}
	rep, err := b.e.Check(context.Background(), true, nil)
	if err != nil || len(rep.Damage) > 0 {
		t.Errorf("check: %v %+v", err, rep.Damage)
	}
}

// emptied waits until a clone has changed nothing.
func (b *bounded) emptied(name string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		info, err := b.e.Dataset(name)
		b.must(err)
		if len(info.Limits) == 1 && info.Limits[0].Used == 0 && len(info.Writers) == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s was not reset: %+v", name, info)
		}
	}
}

// The log tells of each threshold once: of quotas from 80 % on, of the pool itself
// when the cleaner cannot help any more.
func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	store := mem.New(1<<20, 256<<20)
	e := newCrowd(t, engine.Options{Store: store, CheckpointEvery: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))}).e
	t.Cleanup(e.Abort)
	b := &bounded{t, e}
	b.must(second(e.CreateVolume(tester, "d", 64*block)))
	b.set("d", "quota", 10)
	v := b.open("d")
	warns := func(what string, want ...string) {
		t.Helper()
		log.Reset()
		e.WarnOfLimits()
		got := strings.Count(log.String(), "a limit is nearly reached")
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: the log does not say %q: %s", what, w, &log)
			}
		}
		if got != len(want) {
			t.Errorf("%s: %d warnings, want %d: %s", what, got, len(want), &log)
		}
	}
	warns("new")
	b.write(v, 0, 8, 1, true)
	warns("at 80 %", "dataset=d limit=quota bytes=40960 percent=80")
	warns("still at 80 %")
	sp, err := store.Space()
	b.must(err)
	reserve := e.Status().Space.Reserve
	store.SetCapacity(sp.Used + reserve + 8<<20)
	warns("the cleaner can help")
	store.SetCapacity(sp.Used + reserve + 512<<10)
	warns("the pool is nearly full", "dataset=pool limit=capacity")
	store.SetCapacity(sp.Used + reserve)
	warns("the pool is full", "dataset=pool limit=capacity")
	warns("still full")
}
