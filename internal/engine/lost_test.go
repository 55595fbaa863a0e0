package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
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

// Damage between a checkpoint's cut and its super root, in an earlier segment:
// giving up what follows the damage must give up that checkpoint too, and its
// tree nodes, which lie beyond.
func TestAcceptLossBeforeSuperRoot(t *testing.T) {
	disk := vfs.NewMem(5)
	p := &patient{disk: disk}
	p.sim = newDirSim(t, config{segment: 512 << 10, volumes: true}, disk, 5)
	defer recoverStop(t)
	const blocks = 36000
	_, err := p.e.CreateVolume(tester, "d", 4*blocks*block)
	p.must("create", err)
	v := p.open("d")
	stamps := func(first uint64) {
		buf := make([]byte, block)
		for b := first; b < first+blocks; b++ {
			buf[0], buf[1] = byte(b), byte(b>>8)
			p.must("write", v.WriteAt(buf, b*2*block))
		}
	}
	for i := range uint64(2) {
		stamps(i * blocks)
		p.must("checkpoint", p.e.Checkpoint())
		v.Flush()
	}
	v.Close()
	p.e.Abort() // closing would write another checkpoint, which needs no more than its own segment
	disk = disk.Kill()
	broken := p.beforeSuperRoot(t, disk)
	bad := flipped(t, disk, p.path(broken.Segment()), int64(broken.Block())*block+40, 3)
	if e, err := p.openCopy(t, bad, false); !fail.Is(err, fail.Corrupt) {
		t.Errorf("opening a pool with a broken log: %v", err)
		if err == nil {
			e.Abort()
		}
	}
	for i := range 2 {
		bad = bad.Kill()
		e, err := p.openCopy(t, bad, i == 0)
		if err != nil {
			t.Fatalf("opening %d, accepting loss: %v", i+1, err)
		}
		if lsn := e.Status().LastLSN; lsn < blocks {
			t.Errorf("opened at lsn %d", lsn)
		}
		at := when.Spec{Kind: when.Now}
		v, err := vol.Open(e, "d", &at, tester, nil)
		p.must("open", err)
		buf := make([]byte, block)
		for b := range uint64(2 * blocks) {
			if err := v.ReadAt(buf, b*2*block, nil); err != nil {
				t.Fatalf("opening %d: block %d: %v", i+1, b, err)
			}
			if got := [2]byte(buf); got != [2]byte{byte(b), byte(b >> 8)} && (b+1 < e.Status().LastLSN || got != [2]byte{}) {
				t.Fatalf("opening %d: block %d is %x", i+1, b, got)
			}
		}
		v.Close()
		e.Abort()
	}
}

// beforeSuperRoot finds a frame between the last super root and its cut, in an
// earlier segment than the super root's.
func (p *patient) beforeSuperRoot(t *testing.T, disk *vfs.Mem) (broken segment.Addr) {
	t.Helper()
	var lastOps segment.Addr
	var cuts, supers []segment.Addr
	p.frames(t, disk.Kill(), func(f *segment.Frame) {
		switch {
		case f.Kind == segment.FrameSuper:
			cuts, supers = append(cuts, lastOps), append(supers, f.Position.Addr)
		case f.NumOps > 0:
			lastOps = f.Position.Addr
		}
	})
	cut, super := cuts[len(cuts)-1], supers[len(supers)-1]
	p.frames(t, disk.Kill(), func(f *segment.Frame) {
		if a := f.Position.Addr; broken == 0 && a > cut && a.Segment() < super.Segment() {
			broken = a
		}
	})
	if broken == 0 {
		t.Fatalf("the checkpoint lies in one segment: cut %v, super root %v", cut, super)
	}
	return broken
}
