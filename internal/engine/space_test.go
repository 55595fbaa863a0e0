package engine_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
	"varve/internal/when"
)

// shortage is a way to run out of space, and to get some again.
type shortage struct {
	name   string
	store  func(t *testing.T) segstore.Store
	fill   func() // from now on there is little or no space
	relief func()
}

func shortages() []*shortage {
	capacity := &shortage{name: "capacity"}
	capacity.store = func(*testing.T) segstore.Store {
		s := mem.New(1<<20, 1<<40)
		capacity.fill = func() {
			sp, _ := s.Space()
			s.SetCapacity(sp.Used + 4<<20)
		}
		capacity.relief = func() { s.SetCapacity(1 << 40) }
		return s
	}
	small := &shortage{name: "small disk"}
	small.store = func(t *testing.T) segstore.Store {
		disk := vfs.NewMem(1)
		small.fill = func() { disk.SetSpace(24 << 20) }
		small.relief = func() { disk.SetSpace(1 << 40) }
		return makeDir(t, disk, 1<<20)
	}
	refused := &shortage{name: "allocation refused"}
	refused.store = func(t *testing.T) segstore.Store {
		faulty := vfs.NewFaulty(vfs.NewMem(1))
		var fault *vfs.Fault
		refused.fill = func() {
			fault = faulty.Add(vfs.Rule{Op: vfs.OpAllocate, Path: "*.new", Err: syscall.ENOSPC})
		}
		refused.relief = func() { faulty.End(fault) }
		return makeDir(t, faulty, 1<<20)
	}
	return []*shortage{capacity, small, refused}
}

func TestFullDisk(t *testing.T) {
	for _, sh := range shortages() {
		t.Run(sh.name, func(t *testing.T) {
			t.Parallel()
			fullDisk(t, sh)
		})
	}
}

func fullDisk(t *testing.T, sh *shortage) {
	s := newSim(t, config{segment: 1 << 20}, sh.store(t), 1)
	defer recoverStop(t)
	s.create()
	s.play(60)
	name, past := s.firstLive(t)
	s.must("flush", s.e.Flush())
	snap := fmt.Sprintf("keep%d", s.serial)
	s.run("snapshot", s.m.now(), func() { s.m.setSnap(snapKey(s.idOf(name), snap), s.m.last()) }, func() error {
		return second(s.e.Snapshot(tester, name, snap))
	})

	sh.fill()
	accepted := s.writeUntilFull(t, name)
	if accepted == 0 {
		t.Error("nothing was accepted before the disk was full")
	}
	last := s.e.Status().LastLSN
	s.refusesSpace(t, name)
	if now := s.e.Status().LastLSN; now != last {
		t.Errorf("refused operations took lsns %d to %d", last+1, now)
	}
	s.must("flush", s.e.Flush())
	s.flushed = s.m.last()
	if st := s.e.Status(); st.State != "online" || st.DurableLSN != last {
		t.Errorf("status: %s (%s), durable %d of %d", st.State, st.Reason, st.DurableLSN, last)
	}
	s.compareAll("full", 10)
	if err := same(s.openAt(name, *past), s.m.at(s.idOf(name), past.LSN)); err != nil {
		t.Error(err)
	}
	if sh.name != "allocation refused" { // where the file system does not say that it is full, nobody can
		s.frees(t, name, snap)
	}

	sh.relief()
	if s.writeUntilFull(t, s.anyName(t)) != limitOfWrites {
		t.Error("with space again, writes are refused")
	}
	s.must("checkpoint", s.e.Checkpoint())
	s.play(30)
	s.compareAll("with space again", 10)
	s.must("close", s.e.Close(context.Background()))
	s.openEngine()
	s.compareAll("reopened", 10)
	checkClean(t, s)
	s.must("close", s.e.Close(context.Background()))
}

const limitOfWrites = 400

// writeUntilFull writes until not even a block is accepted, or often enough,
// and returns how many writes were.
func (s *sim) writeUntilFull(t *testing.T, name string) int {
	t.Helper()
	v := s.open(name)
	defer v.Close()
	n := 64 << 10
	for i := range limitOfWrites {
		p := make([]byte, n)
		for j := range p {
			p[j] = byte(i + j)
		}
		off := uint64(i*n) % (v.Size() / uint64(n) * uint64(n))
		err := v.WriteAt(p, off)
		if fail.Is(err, fail.NoSpace) {
			if n == block {
				return i
			}
			n = block
			continue
		}
		s.must("write", err)
		id, d := s.m.now().named(name)
		s.did("write", s.m.now().with(id, d.written(p, off)), false)
	}
	return limitOfWrites
}

func (s *sim) anyName(t *testing.T) string {
	t.Helper()
	name, _ := s.firstLive(t)
	return name
}

func (s *sim) refusesSpace(t *testing.T, name string) {
	t.Helper()
	v := s.open(name)
	defer v.Close()
	now := when.Spec{Kind: when.Now}
	for what, err := range map[string]error{
		"write":           v.WriteAt(make([]byte, 64<<10), 0),
		"unaligned write": v.WriteAt(make([]byte, 9000), 777),
		"create":          second(s.e.CreateVolume(tester, "more", block)),
		"clone":           second(s.e.Clone(tester, name, now, "more")),
		"snapshot":        second(s.e.Snapshot(tester, name, "more")),
	} {
		if !fail.Is(err, fail.NoSpace) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
}

// frees does what must work in the reserve.
func (s *sim) frees(t *testing.T, name, snap string) {
	s.must("checkpoint in the reserve", s.e.Checkpoint())
	w := s.m.now()
	s.run("destroy snapshot", w, func() { s.m.setSnap(snapKey(s.idOf(name), snap), 0) }, func() error {
		return second(s.e.DestroySnapshot(tester, name, snap))
	})
	v := s.open(name)
	id, d := w.named(name)
	d = d.trimmed(0, d.size/block)
	w = w.with(id, d)
	s.intend("trim", w, nil)
	s.must("trim on a full disk", v.Trim(0, v.Size()))
	s.did("trim", w, false)
	v.Close()
	s.compareAll("trimmed", 0)
	if s.count(false) > 1 {
		gone := *d
		gone.destroyed = true
		s.run("destroy", w.with(id, &gone), nil, func() error { return second(s.e.Destroy(tester, name, false)) })
	}
	for s.e.DrainStep() {
		s.did("drain", s.m.now(), true)
	}
	s.must("checkpoint in the reserve", s.e.Checkpoint())
}

func (d *disk) trimmed(first, n uint64) *disk {
	nd := *d
	nd.blocks = map[uint64]*[block]byte{}
	for b, data := range d.blocks {
		if b < first || b >= first+n {
			nd.blocks[b] = data
		}
	}
	nd.large = d.large || n >= largeFile
	return &nd
}

// fatalOn returns what ends a test at an error.
func fatalOn(t *testing.T) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A pool on a disk that is full, to the last byte, opens and can be read.
func TestFullDiskReopened(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed cleanly %v", clean), func(t *testing.T) {
			disk := vfs.NewMem(2)
			s := newSim(t, config{segment: 1 << 20, volumes: true}, makeDir(t, disk, 1<<20), 2)
			defer recoverStop(t)
			s.create()
			s.play(60)
			disk.SetSpace(20 << 20)
			s.writeUntilFull(t, s.anyName(t))
			s.must("flush", s.e.Flush())
			s.flushed = s.m.last()
			if clean {
				if err := s.e.Close(context.Background()); err != nil && !fail.Is(err, fail.NoSpace) {
					t.Fatal(err)
				}
			}
			killed := disk.Kill()
			if !clean {
				s.e.Abort()
			}
			for i := range 2 { // each takes a segment of the reserve

				if err := s.tryOpen(killed); err != nil {
					t.Fatalf("opening %d of a full pool: %v", i, err)
				}
				s.judge(t)
				s.e.Abort()
				killed = killed.Kill()
			}
			killed.SetSpace(1 << 40)
			if err := s.tryOpen(killed); err != nil {
				t.Fatal(err)
			}
			s.judge(t)
			s.play(20)
			s.compareAll("with space again", 5)
			s.must("close", s.e.Close(context.Background()))
		})
	}
}
