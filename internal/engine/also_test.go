package engine_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// A snapshot and when it goes, a clone and what it is made with, are one operation
// each: a crash finds all of it or nothing.
func TestMadeAtOnce(t *testing.T) {
	defer recoverStop(t)
	s := newSim(t, config{volumes: true, alone: true}, mem.New(512<<10, 256<<20), 5)
	s.must("create", second(s.e.CreateVolume(tester, "d", smallSize)))
	now := when.Spec{Kind: when.Now}
	goes := s.clock.now().Add(time.Hour)
	want := map[string]string{"budget": "8192", "on-full": "reset"}

	past := s.e.Status().LastLSN
	s.must("set", second(s.e.Set(tester, "d", "quota", "1048576")))
	first := s.e.Status().LastLSN
	s.must("snapshot", second(s.e.Snapshot(tester, "d", "a", engine.Also{Expires: goes})))
	s.must("snapshot", second(s.e.SnapshotAt(tester, "d", "b", atLSN(past), engine.Also{Expires: goes})))
	s.must("snapshot", second(s.e.SnapshotAll(tester, "c", engine.Also{Expires: goes})))
	s.must("clone", second(s.e.Clone(tester, "d", now, "c1", engine.Also{Properties: want})))
	if made := s.e.Status().LastLSN - first; made != 4 {
		t.Fatalf("four operations took %d lsns", made)
	}
	if _, err := s.e.Snapshot(tester, "d", "late", engine.Also{Expires: goes.Add(-2 * time.Hour)}); !fail.Is(err, fail.Invalid) {
		t.Errorf("a snapshot that has expired: %v", err)
	}
	if _, err := s.e.Clone(tester, "d", now, "bad", engine.Also{Properties: map[string]string{"budget": "many"}}); !fail.Is(err, fail.Invalid) {
		t.Errorf("a clone with an impossible budget: %v", err)
	}
	if _, err := s.e.Dataset("bad"); !fail.Is(err, fail.NotFound) {
		t.Errorf("it left a clone: %v", err)
	}

	check := func(when string) {
		t.Helper()
		snaps, err := s.e.Snapshots("d")
		s.must("snapshots", err)
		if len(snaps) != 3 {
			t.Fatalf("%s: %d snapshots, want 3", when, len(snaps))
		}
		for _, x := range snaps {
			if x.Expires == nil || !x.Expires.Equal(goes) {
				t.Errorf("%s: %s expires %v, want %v", when, x.Name, x.Expires, goes)
			}
		}
		d, err := s.e.Dataset("c1")
		s.must("dataset", err)
		if !maps.Equal(d.Properties, want) {
			t.Errorf("%s: the clone has %v, want %v", when, d.Properties, want)
		}
	}
	check("made")
	s.e.Abort() // nothing but the log is written
	s.openEngine()
	check("replayed")
	s.must("close", s.e.Close(context.Background()))
	s.openEngine()
	check("loaded")

	s.must("set", second(s.e.Set(tester, "c1", "budget", "4096")))
	s.must("set", second(s.e.Set(tester, "c1", "on-full", "")))
	want = map[string]string{"budget": "4096"}
	s.must("close", s.e.Close(context.Background()))
	s.openEngine()
	check("changed")
	v := s.open("c1")
	defer v.Close()
	if err := v.WriteAt(make([]byte, 2*block), 0); !fail.Is(err, fail.NoSpace) {
		t.Errorf("a write beyond the budget: %v", err)
	}
	checkClean(t, s)
	s.must("close", s.e.Close(context.Background()))
}
