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

// A write of the log whose place in the tree was damaged since cannot be repeated.
// That is told; and only what its own dataset did from then on is given up, when
// asked to.
func TestWriteOverDamage(t *testing.T) {
	p := newEmptying(t, 1500)
	for b := range uint64(3) { // the leaf is the same in all super roots that are there
		p.put("other", int(b), 1, nil)
		p.must("checkpoint", p.e.Checkpoint())
	}
	leaf, err := p.e.Leaf(1, 1500)
	p.must("leaf", err)
	p.put("d", 2, 9, nil) // before it: it is kept
	p.put("d", 1500, 9, nil)
	damaged := p.e.Status().LastLSN
	p.must("snapshot", second(p.e.Snapshot(tester, "d", "lost")))
	p.must("snapshot", second(p.e.SnapshotAll(tester, "all")))
	p.put("d", 4, 9, nil)
	p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "lost")))
	p.must("resize", second(p.e.Resize(tester, "d", 4000*block)))
	p.must("rename", second(p.e.Rename(tester, "d", "e")))
	p.put("other", 7, 9, nil)
	p.must("flush", p.e.Flush())
	last := p.e.Status().LastLSN
	p.e.Abort()
	p.damage(leaf)
	o := p.conf.options(p.store, p.clock)
	if _, err := engine.Open(o); !fail.Is(err, fail.Corrupt) || !strings.HasSuffix(fmt.Sprint(err), fmt.Sprintf("; --accept-loss gives up what follows lsn %d of d", damaged-1)) {
		t.Fatalf("opening with the damaged leaf: %v", err)
	}
	o.AcceptLoss, o.BaseOps, o.BaseAge = true, 1<<40, 1<<62
	if p.e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	if got := p.e.Status().Recovery.Discarded; !strings.HasPrefix(got, fmt.Sprintf("what follows lsn %d of e was given up: ", damaged-1)) {
		t.Errorf("it says %q", got)
	}
	value := func(name string, b int) byte {
		got := make([]byte, block)
		p.read(name, b, got)
		return got[0]
	}
	compare := func(when string) {
		if a, b, c := value("e", 2), value("e", 4), value("other", 7); a != 9 || b != 1 || c != 9 {
			t.Errorf("%s: before the loss %d, after it %d, on another volume %d", when, a, b, c)
		}
		v := p.open("e")
		defer v.Close()
		if err := v.ReadAt(make([]byte, block), 1500*block, nil); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: reading what is damaged: %v", when, err)
		}
	}
	compare("opened")
	if snaps, err := p.e.Snapshots(""); err != nil || len(snaps) != 1 || snaps[0].Dataset != "other" {
		t.Errorf("snapshots: %+v, %v", snaps, err)
	}
	if size := p.open("e").Size(); size != 3000*block {
		t.Errorf("it has %d bytes", size)
	}
	for lsn := damaged; lsn < last; lsn++ {
		if _, err := p.e.Clone(tester, "e", atLSN(lsn), "between"); !fail.Is(err, fail.Corrupt) {
			t.Errorf("a clone of what was given up, lsn %d: %v", lsn, err)
		}
	}
	p.put("e", 6, 8, nil)
	moment := p.e.Status().LastLSN
	p.put("e", 6, 7, nil)
	p.must("flush", p.e.Flush())
	p.e.Abort()
	o.AcceptLoss = false // it was accepted once
	if p.e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	compare("opened again")
	for b := range uint64(6) { // until no checkpoint of those days has a tree of its own
		p.put("e", 10+2*int(b), 1, nil)
		p.must("checkpoint", p.e.Checkpoint())
	}
	p.must("clone", second(p.e.Clone(tester, "e", atLSN(moment), "c")))
	if a, b := value("c", 4), value("c", 6); a != 1 || b != 8 {
		t.Errorf("a moment after the loss has %d and %d", a, b)
	}
	r, err := p.e.Check(context.Background(), true, nil)
	p.must("check", err)
	idle := 0
	for _, d := range r.Damage {
		if d.Where == "below what cannot be read" {
			idle++
		} else if !strings.Contains(d.What, "fails its checksum") {
			t.Errorf("check: %s: %s", d.Where, d.What)
		}
	}
	if idle != 1 {
		t.Errorf("check: %+v", r.Damage)
	}
	p.must("close", p.e.Close(context.Background()))
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
