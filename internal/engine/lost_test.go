package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// twoRuns makes a pool that was served twice, and returns its disk and the
// simulation's state after each run.
func twoRuns(t *testing.T) (*vfs.Mem, *sim, uint64) {
	disk := vfs.NewMem(5)
	if err := dir.Make(disk, "pool", 1<<20, 4<<30); err != nil {
		t.Fatal(err)
	}
	store, err := dir.Open(disk, "pool", dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSim(t, config{checkpoint: 10}, store, 5)
	for range 40 {
		s.step()
		s.between()
	}
	s.joinCheckpoint()
	s.must("close", s.e.Close(context.Background()))
	first := s.m.last()
	s.openEngine()
	s.changeQuickly(liveNames(s.m.now())[0])
	s.flush()
	s.must("close", s.e.Close(context.Background()))
	s.must("close", store.Close())
	return disk, s, first
}

// The last segment is all that a short run leaves. When its file is gone,
// flushed data is gone: that is told, and given up only when asked to.
func TestLostLastSegment(t *testing.T) {
	disk, s, first := twoRuns(t)
	list, err := disk.ReadDir("pool/log")
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Remove("pool/log/" + list[len(list)-1].Name); err != nil {
		t.Fatal(err)
	}
	store, err := dir.Open(disk, "pool", dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := s.conf.options(store, s.clock)
	_, err = engine.Open(o)
	if !fail.Is(err, fail.Corrupt) || !strings.Contains(fmt.Sprint(err), "--accept-loss") {
		t.Fatalf("opening without the last segment: %v", err)
	}
	rep, err := engine.CheckStore(context.Background(), store, false, nil)
	if err != nil || len(rep.Damage) == 0 {
		t.Errorf("check: %v, %+v", err, rep)
	}
	o.AcceptLoss = true
	if s.e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	if got := s.e.Status().LastLSN; got != first {
		t.Fatalf("opened at lsn %d, want %d", got, first)
	}
	s.m.truncate(first)
	s.compareAll("after the loss", 10)
	if err := s.e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	o.AcceptLoss = false
	e, err := engine.Open(o)
	if err != nil {
		t.Fatalf("the loss was accepted once: %v", err)
	}
	e.Abort()
}

// A damaged node of the newest checkpoint costs time, not data: the one before
// it and the log are whole.
func TestDamagedCheckpoint(t *testing.T) {
	disk, s, _ := twoRuns(t)
	store, err := dir.Open(disk, "pool", dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := s.conf.options(store, s.clock)
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	at := e.PoolRoot()
	e.Abort() // closing would write another checkpoint
	page := make([]byte, block)
	off := int64(at.Block()) * block
	if err := store.ReadAt(at.Segment(), page, off); err != nil {
		t.Fatal(err)
	}
	page[100] ^= 4
	if err := store.WriteDurableAt(at.Segment(), page, off); err != nil {
		t.Fatal(err)
	}
	if s.e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	s.compareAll("after the damage", 10)
	if err := s.e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
