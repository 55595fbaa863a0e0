package engine_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"varve/internal/engine"
	"varve/internal/segment"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/when"
)

// past is a pool with a snapshot of the past, made between two checkpoints, whose
// records are gone.
type past struct {
	*sim
	t    *testing.T
	disk *vfs.Mem
	want []byte // what the volume d was at d@old
}

const pastBlocks = 240

// newWithD makes a pool with a volume d of so many blocks.
func newWithD(t *testing.T, blocks int) *past {
	disk := vfs.NewMem(3)
	if err := dir.Make(disk, "pool", 512<<10, 64<<20); err != nil {
		t.Fatal(err)
	}
	store, err := dir.Open(disk, "pool", dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &past{sim: newSim(t, config{volumes: true, alone: true, cache: 1 << 16}, store, 9), t: t, disk: disk, want: make([]byte, blocks*block)}
	p.must("create", second(p.e.CreateVolume(tester, "d", uint64(len(p.want)))))
	return p
}

// damage spoils a block of the log.
func (p *past) damage(at segment.Addr) {
	p.must("damage", p.store.WriteAt(at.Segment(), bytes.Repeat([]byte{0x5a}, block), int64(at.Block())*block))
}

func newPast(t *testing.T) *past {
	p := newWithD(t, smallSize/block)
	for b := range pastBlocks {
		p.put("d", b, byte(b), p.want)
	}
	p.must("checkpoint", p.e.Checkpoint())
	for b := 0; b < pastBlocks; b += 40 {
		p.put("d", b, byte(b+100), p.want)
	}
	moment := p.e.Status().LastLSN
	segs, err := p.store.List()
	p.must("list", err)
	last := segs[len(segs)-1].Number
	p.overwrite("d", 1)
	p.must("snapshot", second(p.e.SnapshotAt(tester, "d", "old", atLSN(moment))))
	p.overwrite("d", 2)
	p.forget()
	if first := p.e.RecordsFrom(); first <= last {
		t.Fatalf("the records of the snapshot lie in segment %d, and those from %d on are kept", last, first)
	}
	checkClean(t, p.sim)
	return p
}

// put writes one block, which begins with b and the value.
func (p *past) put(name string, b int, value byte, model []byte) {
	data := bytes.Repeat([]byte{value, byte(b), 7}, block)[:block]
	v := p.open(name)
	defer v.Close()
	p.must("write", v.WriteAt(data, uint64(b)*block))
	if model != nil {
		copy(model[b*block:], data)
	}
}

// read reads from a block on.
func (p *past) read(name string, b int, got []byte) {
	v := p.open(name)
	defer v.Close()
	p.must("read", v.ReadAt(got, uint64(b)*block, nil))
}

// zero takes a block back.
func (p *past) zero(name string, b int) error {
	v := p.open(name)
	defer v.Close()
	return v.Trim(uint64(b)*block, block)
}

func (p *past) overwrite(name string, value byte) {
	for b := range pastBlocks {
		if b%3 > 0 {
			p.put(name, b, value, nil)
		}
	}
}

// forget moves the horizon of every dataset to now, and gives back what is free.
func (p *past) forget() {
	for i := range 4 {
		before := when.Spec{Kind: when.Now}
		_, err := p.e.Prune(tester, "", engine.PruneOptions{Before: &before})
		p.must("prune", err)
		for _, d := range p.e.Datasets(false) { // a dataset that nothing changes keeps its horizon
			p.put(d.Name, 255, byte(i), nil)
		}
		for p.e.DrainStep() {
		}
		p.must("checkpoint", p.e.Checkpoint())
	}
	for p.e.MoreToDo() {
		p.must("checkpoint", p.e.Checkpoint())
	}
	p.must("checkpoint", p.e.Checkpoint())
	p.must("reclaim", p.e.Reclaim(true))
}

func (p *past) reopen() {
	p.must("close", p.e.Close(context.Background()))
	p.openEngine()
}

var old = when.Spec{Kind: when.Snapshot, Name: "old"}

// shows checks that a dataset is what d@old was, at a moment.
func (p *past) shows(name string, at when.Spec) {
	p.t.Helper()
	m, err := p.e.Resolve(name, at)
	p.must("resolve", err)
	v, err := p.e.OpenView(m)
	p.must("view", err)
	defer v.Close()
	got := make([]byte, smallSize)
	p.must("read", v.ReadAt(got, 0, nil))
	if !bytes.Equal(got, p.want) {
		p.t.Fatalf("%s@%v is not what the snapshot was", name, at)
	}
}

// A snapshot between two checkpoints stays whole when the records that it was
// made from are gone; and what is made of it is not replayed.
func TestPastNeedsNoRecords(t *testing.T) {
	defer recoverStop(t)
	p := newPast(t)
	for _, open := range []func(){func() {}, p.reopen} {
		open()
		p.shows("d", old)
		p.must("clone", second(p.e.Clone(tester, "d", old, "c")))
		p.shows("c", when.Spec{Kind: when.Now})
		checkClean(t, p.sim)
		p.must("rollback", second(p.e.Rollback(tester, "d", old, false)))
		p.shows("d", when.Spec{Kind: when.Now})
		p.reopen()
		p.shows("c", when.Spec{Kind: when.Now})
		p.shows("d", when.Spec{Kind: when.Now})
		p.overwrite("c", 3)
		p.overwrite("d", 4)
		p.forget()
		checkClean(t, p.sim)
		p.must("destroy", second(p.e.Destroy(tester, "c", true)))
		p.forget()
		checkClean(t, p.sim)
		p.shows("d", old)
	}
	p.must("close", p.e.Close(context.Background()))
}

// A clone of a snapshot of the past absorbs its origin, and neither loses nor
// leaks what the two share.
func TestPastAbsorbed(t *testing.T) {
	defer recoverStop(t)
	p := newPast(t)
	p.must("clone", second(p.e.Clone(tester, "d", old, "c")))
	p.must("snapshot", second(p.e.Snapshot(tester, "c", "old")))
	p.overwrite("c", 5)
	p.must("checkpoint", p.e.Checkpoint())
	p.must("destroy", second(p.e.Destroy(tester, "d", true)))
	p.forget()
	if info, err := p.e.Dataset("c"); err != nil || info.Origin != "" {
		t.Fatalf("the clone did not absorb its origin: %+v, %v", info, err)
	}
	checkClean(t, p.sim)
	p.reopen()
	p.shows("c", old)
	p.must("destroy", second(p.e.DestroySnapshot(tester, "c", "old")))
	p.overwrite("c", 6)
	p.forget()
	checkClean(t, p.sim)
	p.must("close", p.e.Close(context.Background()))
}

// Lines that begin one after another with the same snapshot of the past have its
// nodes in common: what one gave up before it became the other's past is still
// there in the other.
func TestPastBegunWithAgain(t *testing.T) {
	again := map[string]func(p *past){
		"rolled back to": func(p *past) {
			p.must("rollback", second(p.e.Rollback(tester, "d", old, false)))
			p.put("d", 0, 11, p.want)
		},
		"left again": func(p *past) {
			mid := when.Spec{Kind: when.Snapshot, Name: "mid"}
			p.must("snapshot", second(p.e.Snapshot(tester, "d", mid.Name)))
			p.must("clone", second(p.e.Clone(tester, "d", mid, "c"))) // the line that was left stays one
			now := make([]byte, smallSize)
			p.read("d", 0, now)
			p.must("rollback", second(p.e.Rollback(tester, "d", old, false)))
			p.overwrite("d", 8)
			p.must("checkpoint", p.e.Checkpoint())
			p.must("rollback", second(p.e.Rollback(tester, "d", mid, false)))
			p.want = now
		},
		"cloned": func(p *past) {
			p.must("clone", second(p.e.Clone(tester, "d", old, "c")))
			p.put("c", 0, 11, p.want)
			p.must("checkpoint", p.e.Checkpoint())
			p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "old")))
			p.must("destroy", second(p.e.Destroy(tester, "d", true)))
			p.must("rename", second(p.e.Rename(tester, "c", "d")))
		},
	}
	for name, begin := range again {
		t.Run(name, func(t *testing.T) {
			defer recoverStop(t)
			p := newPast(t)
			p.must("rollback", second(p.e.Rollback(tester, "d", old, false)))
			p.overwrite("d", 4)
			p.forget()
			checkClean(t, p.sim)
			p.shows("d", old)
			begin(p)
			p.forget()
			checkClean(t, p.sim)
			if name != "cloned" {
				p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "old")))
			}
			p.forget()
			checkClean(t, p.sim)
			p.reopen()
			copy(p.want[255*block:], make([]byte, block))
			p.must("write", p.zero("d", 255))
			p.shows("d", when.Spec{Kind: when.Now})
			p.must("close", p.e.Close(context.Background()))
		})
	}
}

// A snapshot of the past that is damaged, and with which a line began that has given
// it up since, does not stop the pool when that is all forgotten.
func TestPastDamaged(t *testing.T) {
	defer recoverStop(t)
	const blocks = 1500 // of every second one: a tree of several levels
	p := newWithD(t, 2*blocks)
	fill := func(step int, value byte) {
		for b := 0; b < blocks; b += step {
			p.put("d", 2*b, value, nil)
		}
	}
	fill(1, 1)
	p.must("checkpoint", p.e.Checkpoint())
	fill(40, 2)
	moment := p.e.Status().LastLSN
	p.put("d", 1, 3, nil)
	p.must("snapshot", second(p.e.SnapshotAt(tester, "d", "old", atLSN(moment))))
	for range 2 {
		p.must("checkpoint", p.e.Checkpoint())
	}
	p.must("rollback", second(p.e.Rollback(tester, "d", old, false)))
	fill(1, 4)
	for range 2 {
		p.must("checkpoint", p.e.Checkpoint())
	}
	roots, err := p.e.Roots(1)
	p.must("roots", err)
	top := segment.Addr(0) // children are written before it
	for _, r := range roots {
		for a, birth := range r.Nodes {
			if r.LSN == moment && birth == moment {
				top = max(top, segment.Addr(a))
			}
		}
	}
	p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "old")))
	p.must("close", p.e.Close(context.Background()))
	p.damage(top)
	p.openEngine()
	p.forget()
	got := make([]byte, 3*block)
	p.read("d", 0, got)
	if got[0] != 4 || got[2*block] != 4 {
		t.Error("the present is not what was written")
	}
	p.must("close", p.e.Close(context.Background()))
}

// A view of a snapshot of the past keeps it whole when the snapshot goes.
func TestPastViewed(t *testing.T) {
	defer recoverStop(t)
	p := newPast(t)
	m, err := p.e.Resolve("d", old)
	p.must("resolve", err)
	if m.Time.IsZero() || m.Time.Unix() == 0 {
		t.Errorf("the time of the moment is forgotten: %v", m.Time)
	}
	v, err := p.e.OpenView(m)
	p.must("view", err)
	p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "old")))
	p.overwrite("d", 7)
	p.forget()
	checkClean(t, p.sim)
	got := make([]byte, smallSize)
	p.must("read", v.ReadAt(got, 0, nil))
	if !bytes.Equal(got, p.want) {
		t.Fatal("the view changed when its snapshot went")
	}
	listed := func() bool {
		roots, err := p.e.Roots(1)
		p.must("roots", err)
		return slices.ContainsFunc(roots, func(r engine.Root) bool { return r.LSN == m.LSN })
	}
	if !listed() {
		t.Error("a view is open, and its nodes may go")
	}
	v.Close()
	for range 2 { // a view that nobody uses stays for a while
		p.must("retain", second(p.e.Retain()))
	}
	p.forget()
	if listed() {
		t.Error("the root of a view that is closed is kept")
	}
	checkClean(t, p.sim)
	p.must("close", p.e.Close(context.Background()))
}
