package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// wrist is a clock that only a test turns.
type wrist struct{ t time.Time }

func (w *wrist) now() time.Time { return w.t }

// diary is a pool with a volume "d", and what happened when: times by LSN.
type diary struct {
	t     *testing.T
	e     *engine.Engine
	clock *wrist
	opt   engine.Options
	times map[uint64]time.Time
}

func newDiary(t *testing.T) *diary {
	d := &diary{t: t, clock: &wrist{time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}, times: map[uint64]time.Time{}}
	d.opt = engine.Options{
		Store: mem.New(4<<20, 1<<30), Now: d.clock.now, CheckpointEvery: -1, BaseOps: 10,
		Segment: func(o *segment.Options) { o.MarkerDelay = -1 },
	}
	d.e = newCrowd(t, d.opt).e
	t.Cleanup(func() { d.e.Abort() })
	return d
}

// at does something at a time after 10:00 and notes when it happened.
func (d *diary) at(sec int, do func() error) uint64 {
	d.t.Helper()
	d.clock.t = time.Date(2026, 11, 22, 10, 0, sec, 0, time.UTC)
	before := d.e.Status().LastLSN
	if err := do(); err != nil {
		d.t.Fatal(err)
	}
	lsn := d.e.Status().LastLSN
	for n := before + 1; n <= lsn; n++ {
		d.times[n] = d.clock.t
	}
	return lsn
}

func (d *diary) write(name string) func() error {
	return func() error {
		v, err := vol.Open(d.e, name, nil, tester, func() {})
		if err != nil {
			return err
		}
		defer v.Close()
		return v.WriteAt(make([]byte, block), 0)
	}
}

func (d *diary) want(name, w string, lsn uint64, sec int) {
	d.t.Helper()
	spec, err := when.Parse(w, time.UTC)
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := d.e.Resolve(name, spec)
	at := time.Date(2026, 11, 22, 10, 0, sec, 0, time.UTC)
	if err != nil || m.LSN != lsn || !m.Time.Truncate(time.Millisecond).Equal(at) || m.Dataset != name || m.Spec != spec.String() {
		d.t.Errorf("%s%s: %+v, %v; want lsn %d at %v", name, w, m, err, lsn, at)
	}
}

// wantAbout is want for a time by the pool's clock, which is within a second.
func (d *diary) wantAbout(name, w string, lsn uint64, sec int) {
	d.t.Helper()
	spec, err := when.Parse(w, time.UTC)
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := d.e.Resolve(name, spec)
	at := time.Date(2026, 11, 22, 10, 0, sec, 0, time.UTC)
	if err != nil || m.LSN != lsn || m.Time.Before(at) || m.Time.Sub(at) >= time.Second {
		d.t.Errorf("%s%s: %+v, %v; want lsn %d at about %v", name, w, m, err, lsn, at)
	}
}

func (d *diary) refuses(name, w string, kind fail.Kind, words ...string) {
	d.t.Helper()
	spec, err := when.Parse(w, time.UTC)
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := d.e.Resolve(name, spec)
	if !fail.Is(err, kind) {
		d.t.Errorf("%s%s: %+v, %v; want %v", name, w, m, err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			d.t.Errorf("%s%s: %q does not say %q", name, w, err, word)
		}
	}
}

func TestResolve(t *testing.T) {
	d := newDiary(t)
	d.at(5, func() error { return second(d.e.CreateVolume(tester, "other", block)) }) // 1
	d.at(10, func() error { return second(d.e.CreateVolume(tester, "d", 8*block)) })  // 2
	d.at(20, d.write("d"))                                                            // 3
	d.at(30, func() error { return second(d.e.Snapshot(tester, "d", "first")) })      // 4
	d.at(35, d.e.Checkpoint)                                                          // checkpoint 3 of cut 4, after those of making and opening
	d.at(40, d.write("d"))                                                            // 5
	d.at(40, d.write("other"))                                                        // 6
	d.at(50, func() error { return second(d.e.Clone(tester, "d", atLSN(3), "c")) })   // 7, of the moment 3
	d.at(60, d.write("c"))                                                            // 8
	d.at(65, d.e.Checkpoint)                                                          // checkpoint 4 of cut 8
	d.at(70, func() error { return second(d.e.Snapshot(tester, "d", "second")) })     // 9
	check := func() {
		t.Helper()
		d.clock.t = time.Date(2026, 11, 22, 10, 1, 20, 0, time.UTC)
		d.want("d", "@now", 9, 70)
		for lsn := uint64(2); lsn <= 9; lsn++ {
			d.want("d", "@lsn:"+string('0'+rune(lsn)), lsn, d.times[lsn].Minute()*60+d.times[lsn].Second())
		}
		d.want("d", "@first", 4, 30)
		d.want("d", "@second", 9, 70)
		d.want("d", "@cp:3", 4, 35)
		d.want("d", "@cp:4", 8, 65)
		d.want("d", "@2026-11-22T10:00:10", 2, 10)
		d.want("d", "@2026-11-22T10:00:19", 2, 10)
		d.want("d", "@2026-11-22T10:00:34", 4, 30)
		d.want("d", "@2026-11-22T10:00:36", 4, 30) // after the checkpoint, before the next operation
		d.want("d", "@2026-11-22T10:00:41", 6, 40)
		d.want("d", "@2026-11-22T10:01:08", 8, 60)
		d.want("d", "@2026-11-22T10:01:20", 9, 70)
		d.want("d", "@2026-11-22T12:00:45+02:00", 6, 40)
		d.want("d", "@10s-ago", 9, 70)
		d.want("d", "@11s-ago", 8, 60)
		d.want("d", "@1m10s-ago", 2, 10)
		d.want("c", "@now", 9, 70)
		d.want("c", "@lsn:2", 2, 10) // its origin's moment
		d.want("c", "@lsn:5", 5, 40) // shows the moment it forked from
		oldest := "oldest moment 2026-11-22T10:00:10Z (lsn 2)"
		d.refuses("d", "@lsn:1", fail.OutsideHistory, oldest, "first", "second")
		d.refuses("d", "@2026-11-22T10:00:09", fail.OutsideHistory, oldest, "first", "second")
		d.refuses("d", "@2020-01-01", fail.OutsideHistory, oldest)
		d.refuses("d", "@1m11s-ago", fail.OutsideHistory, oldest)
		d.refuses("d", "@cp:1", fail.OutsideHistory, oldest)
		d.refuses("c", "@lsn:1", fail.OutsideHistory, oldest)
		d.refuses("d", "@lsn:10", fail.OutsideHistory, "not come yet", "lsn 9")
		d.refuses("d", "@lsn:18446744073709551615", fail.OutsideHistory, "not come yet")
		d.refuses("d", "@2026-11-22T10:01:21", fail.OutsideHistory, "not come yet", "10:01:20")
		d.refuses("d", "@2060-01-01", fail.OutsideHistory, "not come yet")
		d.refuses("d", "@third", fail.NotFound, "d@third")
		d.refuses("c", "@first", fail.NotFound, "c@first")
		d.refuses("d", "@cp:77", fail.NotFound, "77")
		d.refuses("nobody", "@now", fail.NotFound, "nobody")
	}
	check()
	if err := d.e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.e, err = engine.Open(d.opt); err != nil {
		t.Fatal(err)
	}
	check()
}

// The past looks right through every word that names it.
func TestMomentsShowTheirContent(t *testing.T) {
	d := newDiary(t)
	d.at(1, func() error { return second(d.e.CreateVolume(tester, "d", 8*block)) })
	stamp := func(b byte) func() error {
		return func() error {
			v, err := vol.Open(d.e, "d", nil, tester, func() {})
			if err != nil {
				return err
			}
			defer v.Close()
			return v.WriteAt([]byte{b}, 100)
		}
	}
	for i := range 50 {
		d.at(2+i, stamp(byte(i+1)))
		if i%7 == 6 {
			d.at(2+i, d.e.Checkpoint)
		}
	}
	d.clock.t = d.clock.t.Add(time.Second)
	shows := func(name string, spec when.Spec, want byte) {
		t.Helper()
		v, err := vol.Open(d.e, name, &spec, tester, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		var got [1]byte
		if err := v.ReadAt(got[:], 100, nil); err != nil || got[0] != want {
			t.Errorf("%s%v shows %d, want %d (%v)", name, spec, got[0], want, err)
		}
	}
	for i := range 50 {
		shows("d", when.Spec{Kind: when.Time, Time: time.Date(2026, 11, 22, 10, 0, 2+i, 5e8, time.UTC)}, byte(i+1))
		shows("d", when.Spec{Kind: when.Ago, Ago: time.Duration(50-i) * time.Second}, byte(i+1))
		shows("d", atLSN(uint64(i+2)), byte(i+1))
	}
	if _, err := d.e.Rollback(tester, "d", atLSN(21), false); err != nil {
		t.Fatal(err)
	}
	shows("d", when.Spec{Kind: when.Now}, 20)
	shows("d", when.Spec{Kind: when.Snapshot, Name: "before-rollback-1"}, 50)
	shows("d", atLSN(40), 39)
}

// A clock that jumps back loses no moment, and none comes to lie before an
// older one.
func TestClockJumpsBack(t *testing.T) {
	d := newDiary(t)
	d.at(10, func() error { return second(d.e.CreateVolume(tester, "d", 8*block)) }) // 1
	d.at(50, d.write("d"))                                                           // 2
	d.at(20, d.e.Checkpoint)
	d.at(21, d.write("d")) // 3, just after 50 by the pool's time
	d.wantAbout("d", "@lsn:3", 3, 50)
	d.wantAbout("d", "@now", 3, 50)
	d.want("d", "@2026-11-22T10:00:30", 1, 10)
	d.want("d", "@2026-11-22T10:00:50", 2, 50)
	d.at(22, d.e.Checkpoint)
	d.want("d", "@2026-11-22T10:00:30", 1, 10)
	d.want("d", "@2026-11-22T10:00:50", 2, 50)
	if err := d.e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.e, err = engine.Open(d.opt); err != nil {
		t.Fatal(err)
	}
	d.at(25, d.write("d")) // 4
	d.want("d", "@2026-11-22T10:00:30", 1, 10)
	d.wantAbout("d", "@now", 4, 54)
	d.at(70, d.write("d")) // 5
	d.wantAbout("d", "@2026-11-22T10:01:00", 4, 54)
	d.wantAbout("d", "@now", 5, 95) // it goes on, slower, until the clock has caught up
}
