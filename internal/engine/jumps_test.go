package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segment"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
)

// jumper is a pool with an hour of history and hourly points, whose machine's
// clock does not always say the truth.
type jumper struct {
	t       *testing.T
	opt     engine.Options
	e       *engine.Engine
	clock   *machine
	written []moment // that may be forgotten when they are an hour old
	last    time.Time
	value   byte
}

// moment is an operation and what had elapsed then.
type moment struct {
	lsn     uint64
	elapsed time.Duration
}

const jumperHistory = time.Hour

func newJumper(t *testing.T) *jumper {
	j := &jumper{t: t, clock: newMachine()}
	j.opt = engine.Options{
		Store: mem.New(1<<20, 0), Now: j.clock.now, Elapsed: j.clock.since, CheckpointEvery: -1,
		Segment: func(o *segment.Options) { o.MarkerDelay = -1 },
	}
	j.e = newCrowd(t, j.opt).e
	j.must(second(j.e.CreateVolume(tester, "d", 8*block)))
	j.must(second(j.e.Set(tester, "d", "history", "1h")))
	j.must(second(j.e.Set(tester, "d", "keep", "hourly:3")))
	t.Cleanup(func() { j.e.Abort() })
	return j
}

func (j *jumper) must(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

func (j *jumper) restart() {
	j.t.Helper()
	j.must(j.e.Close(context.Background()))
	var err error
	j.e, err = engine.Open(j.opt)
	j.must(err)
}

// live goes on for some time, as a pool in use does.
func (j *jumper) live(d time.Duration) {
	j.t.Helper()
	for passed := time.Duration(0); passed < d; passed += 10 * time.Minute {
		j.clock.pass(10 * time.Minute)
		j.write()
		j.retain()
	}
}

// retain forgets what may be forgotten.
func (j *jumper) retain() {
	j.t.Helper()
	j.must(j.e.Checkpoint())
	for range 2 { // a point that is new lets an older one go
		j.must(second(j.e.Retain()))
	}
	j.soon()
}

// write changes the volume, and looks at the time that the log gives to it.
func (j *jumper) write() {
	j.t.Helper()
	v, err := vol.Open(j.e, "d", nil, tester, func() {})
	j.must(err)
	defer v.Close()
	j.value++
	j.must(v.WriteAt([]byte{j.value}, 100))
	done, err := j.e.Set(tester, "d", "quota", "")
	j.must(err)
	if done.Time.Before(j.last) {
		j.t.Errorf("the time of operations fell from %v to %v", j.last, done.Time)
	}
	j.last = done.Time
	j.written = append(j.written, moment{done.LSN, j.clock.since()})
}

// soon checks that nothing went that is not an hour old by what elapsed.
func (j *jumper) soon() {
	j.t.Helper()
	info, err := j.e.Dataset("d")
	j.must(err)
	for _, m := range j.written {
		if j.clock.since()-m.elapsed < jumperHistory && info.OldestLSN > m.lsn {
			j.t.Errorf("operation %d of %v ago cannot be reached any more: %d is the oldest", m.lsn, j.clock.since()-m.elapsed, info.OldestLSN)
		}
	}
}

// kept are the names of the points, and the horizon.
func (j *jumper) kept() (names []string, oldest uint64) {
	j.t.Helper()
	snaps, err := j.e.Snapshots("d")
	j.must(err)
	for _, s := range snaps {
		names = append(names, s.Name)
	}
	info, err := j.e.Dataset("d")
	j.must(err)
	return names, info.OldestLSN
}

// suspects checks what the pool says of the machine's clock.
func (j *jumper) suspects(what string, want bool) {
	j.t.Helper()
	s := j.e.Status()
	warned := slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "varve clock confirm") })
	if s.Clock.Suspect != want || warned != want {
		j.t.Errorf("%s: suspect %v by %v, warnings %q; want %v", what, s.Clock.Suspect, s.Clock.Jump, s.Warnings, want)
	}
}

// keeps lives on for some time in which nothing may go or come.
func (j *jumper) keeps(what string, d time.Duration) {
	j.t.Helper()
	names, oldest := j.kept()
	j.live(d)
	if now, at := j.kept(); !slices.Equal(now, names) || at != oldest {
		j.t.Errorf("%s: points %v and history from %d became %v and %d", what, names, oldest, now, at)
	}
}

// A clock that jumps by years prunes nothing: neither when it does, nor after a
// restart, nor when it is confirmed. What goes then goes by what elapsed.
func TestClockJumpsByYears(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{10 * year, -10 * year, 2 * year, -2 * year} {
		t.Run(jump.String(), func(t *testing.T) {
			j := newJumper(t)
			j.live(5 * time.Hour)
			if names, oldest := j.kept(); len(names) != 3 || oldest <= 3 {
				t.Fatalf("after five hours the points are %v, history begins with %d", names, oldest)
			}
			j.suspects("before", false)

			j.clock.jump(jump)
			j.suspects("jumped", true)
			j.keeps("jumped", 4*time.Hour)
			j.restart()
			j.suspects("jumped and restarted", true)
			j.keeps("jumped and restarted", 2*time.Hour)

			j.clock.jump(-jump)
			j.suspects("back", false)
			names, oldest := j.kept()
			j.live(2 * time.Hour)
			if now, at := j.kept(); len(now) != 3 || slices.Equal(now, names) || at <= oldest {
				t.Errorf("two hours after it was back the points are %v, history begins with %d; were %v, %d", now, at, names, oldest)
			}

			j.clock.jump(jump)
			j.keeps("jumped again", time.Hour)
			before, _ := j.kept()
			j.must(second(j.e.ConfirmClock(tester)))
			j.suspects("confirmed", false)
			j.write()
			j.retain()
			after, _ := j.kept()
			gone := slices.DeleteFunc(slices.Clone(before), func(n string) bool { return slices.Contains(after, n) })
			if len(after) != 3 || len(gone) > 1 {
				t.Errorf("of the points %v a confirmed clock leaves %v", before, after)
			}
			j.restart()
			j.suspects("confirmed and restarted", false)
			_, oldest = j.kept()
			j.live(3 * time.Hour)
			if now, at := j.kept(); len(now) != 3 || at <= oldest {
				t.Errorf("three hours after it was confirmed the points are %v, history begins with %d, as did %d", now, at, oldest)
			}
		})
	}
}

// A machine that was suspended has aged: no jump, and what is too old goes.
func TestSuspend(t *testing.T) {
	j := newJumper(t)
	j.live(2 * time.Hour)
	lsn := j.written[len(j.written)-1].lsn
	j.clock.pass(9 * time.Hour)
	j.suspects("resumed", false)
	if _, oldest := j.kept(); oldest > lsn {
		t.Errorf("history begins with %d before anybody looked", oldest)
	}
	j.live(20 * time.Minute)
	if _, oldest := j.kept(); oldest < lsn {
		t.Errorf("history begins with %d, and %d is nine hours old", oldest, lsn)
	}
}
