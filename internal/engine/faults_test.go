package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

var tester = engine.Caller{Proto: "test", Addr: "here"}

// newDirSim starts a simulation on a directory of disk, reached through fsys.
func newDirSim(t *testing.T, conf config, fsys vfs.FS, seed uint64) *sim {
	t.Helper()
	return newSim(t, conf, makeDir(t, fsys, conf.segment), seed)
}

func makeDir(t *testing.T, fsys vfs.FS, segment int64) *dir.Store {
	t.Helper()
	if err := dir.Make(fsys, "pool", segment, 4<<30); err != nil {
		t.Fatal(err)
	}
	return openDir(t, fsys)
}

func openDir(t *testing.T, fsys vfs.FS) *dir.Store {
	t.Helper()
	store, err := dir.Open(fsys, "pool", dir.Options{Spare: 4})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// play makes n steps of the script.
func (s *sim) play(n int) {
	for range n {
		s.step()
		s.between()
	}
}

// playUntil goes on with the script until something fails, and returns that.
func (s *sim) playUntil(n int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			st, ok := r.(stopped)
			if !ok {
				panic(r)
			}
			err = st.err
		}
		if s.beside != nil {
			<-s.beside // as the script's end it fails, or it was done before
			s.beside = nil
		}
	}()
	s.play(n)
	return nil
}

// An error of the disk under the log stops all writing for good; reads go on;
// nothing that was acknowledged is lost.
func TestFailStop(t *testing.T) {
	faults := map[string]vfs.Rule{
		"a write":       {Op: vfs.OpWrite, Path: "*.seg", Err: syscall.EIO},
		"a short write": {Op: vfs.OpWrite, Path: "*.seg", Err: syscall.EIO, Short: true},
		"one write":     {Op: vfs.OpWrite, Path: "*.seg", Err: syscall.EIO, Count: 1},
		"a sync":        {Op: vfs.OpSync, Path: "*.seg", Err: syscall.EIO},
		"one sync":      {Op: vfs.OpSync, Path: "*.seg", Err: syscall.EIO, Count: 1},
		"space at last": {Op: vfs.OpWrite, Path: "*.seg", Err: syscall.ENOSPC},
	}
	for name, rule := range faults {
		for seed := uint64(1); seed <= 4; seed++ {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				rule := rule
				rule.After = int(seed-1) * 3
				failStop(t, rule, seed)
			})
		}
	}
}

func failStop(t *testing.T, rule vfs.Rule, seed uint64) {
	disk := vfs.NewMem(seed)
	faulty := vfs.NewFaulty(disk)
	conf := config{segment: 1 << 20, checkpoint: 11, baseOps: 30}
	s := newDirSim(t, conf, faulty, seed)
	defer recoverStop(t)
	s.play(90)
	w, past := s.firstLive(t)
	old, err := vol.Open(s.e, w, past, tester, nil)
	s.must("view", err)
	defer old.Close()
	oldWant := s.m.at(s.idOf(w), past.LSN)

	fault := faulty.Add(rule)
	err = s.playUntil(400)
	for tries := 0; err == nil && fault.Hits() > 0 && tries < 4; tries++ {
		fault = faulty.Add(rule) // it hit the wiping behind the log, which nobody relies on
		err = s.playUntil(400)
	}
	if !fail.Is(err, fail.FailStopped) || !errors.Is(err, rule.Err) || fault.Hits() == 0 {
		t.Fatalf("the script ended with %v (kind %v, %d hits)", err, fail.KindOf(err), fault.Hits())
	}
	if !strings.Contains(err.Error(), "docs/operations.md#fail-stop") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	faulty.End(fault) // too late: no sync is retried and believed
	s.takePending()
	s.refusesWrites(t, fail.FailStopped)
	st := s.e.Status()
	if st.State != "fail-stopped" || !strings.Contains(st.Reason, rule.Err.(syscall.Errno).Error()) {
		t.Errorf("status: %s, %q", st.State, st.Reason)
	}
	if st.DurableLSN < s.flushed {
		t.Errorf("lsn %d is durable, but %d was acknowledged", st.DurableLSN, s.flushed)
	}
	s.compareAll("fail-stopped", 0)
	if err := same(old, oldWant); err != nil {
		t.Errorf("a view that was open: %v", err)
	}
	s.pastIsThere(t, st.DurableLSN)

	if err := s.e.Close(context.Background()); !fail.Is(err, fail.FailStopped) {
		t.Errorf("close: %v", err)
	}
	reopened := disk.Kill()
	if seed%2 == 0 {
		reopened = disk.Crash(rand.New(rand.NewPCG(seed, 9)))
	}
	if err := s.tryOpen(reopened); err != nil {
		t.Fatal(err)
	}
	s.judge(t)
	checkClean(t, s)
	s.play(40)
	s.compareAll("after the failure", 10)
	s.must("close", s.e.Close(context.Background()))
}

// firstLive names a live volume and a moment of it that needs a replay.
func (s *sim) firstLive(t *testing.T) (string, *when.Spec) {
	t.Helper()
	w := s.m.now()
	for id := uint64(1); id <= uint64(len(w)); id++ {
		for lsn := s.m.last() / 2; lsn <= s.m.last(); lsn++ {
			if !w[id].destroyed && !w[id].isShare() && s.m.at(id, lsn) != nil {
				at := atLSN(lsn)
				return w[id].name, &at
			}
		}
	}
	t.Fatal("the script left no volume")
	return "", nil
}

func (s *sim) idOf(name string) uint64 {
	id, _ := s.m.now().named(name)
	return id
}

// takePending adds to the model an operation that was applied though it could
// not be acknowledged.
func (s *sim) takePending() {
	if s.e.Status().LastLSN == s.m.last()+1 && s.pending != nil {
		s.m.push(s.pending)
		if s.made != nil {
			s.made()
		}
		name := liveNames(s.m.now())[0]
		m, err := s.e.Resolve(name, when.Spec{Kind: when.Now}) // the log may not be read where it failed
		s.must("resolve", err)
		s.m.times[s.m.last()] = m.Time.UnixNano()
	}
	s.pending = nil
}

// refusesWrites tries everything that would change the pool.
func (s *sim) refusesWrites(t *testing.T, kind fail.Kind) {
	t.Helper()
	name, _ := s.firstLive(t)
	last := s.e.Status().LastLSN
	v := s.open(name)
	defer func() { v.Close() }()
	refuses := func(what string, err error) {
		t.Helper()
		if !fail.Is(err, kind) {
			t.Errorf("%s: %v, want %v", what, err, kind)
		}
	}
	refuses("write", v.WriteAt(make([]byte, block), 0))
	refuses("unaligned write", v.WriteAt(make([]byte, 10), 5))
	refuses("trim", v.Trim(0, block))
	refuses("large trim", v.Trim(0, v.Size()))
	refuses("zero", v.Zero(0, 3*block, false))
	refuses("flush", v.Flush())
	v.Close()
	v = s.openAt(name, when.Spec{Kind: when.Now})
	_, err := s.e.Snapshot(tester, name, "late")
	refuses("snapshot", err)
	_, err = s.e.CreateVolume(tester, "late", block)
	refuses("create", err)
	_, err = s.e.Clone(tester, name, when.Spec{Kind: when.Now}, "late")
	refuses("clone", err)
	_, err = s.e.Rollback(tester, name, when.Spec{Kind: when.Now}, true)
	refuses("rollback", err)
	_, err = s.e.Rename(tester, name, "late")
	refuses("rename", err)
	_, err = s.e.Destroy(tester, name, false)
	refuses("destroy", err)
	refuses("checkpoint", s.e.Checkpoint())
	s.refusesFiles(t, refuses)
	if s.e.DrainStep() {
		t.Error("a drain step went through")
	}
	if now := s.e.Status().LastLSN; now != last {
		t.Errorf("refused operations took lsns %d to %d", last+1, now)
	}
}

// refusesFiles tries to change the files of every share.
func (s *sim) refusesFiles(t *testing.T, refuses func(string, error)) {
	t.Helper()
	refuses("create share", second(s.e.CreateShare(tester, "late", 0o755, 0, 0)))
	for id, d := range s.m.now() {
		if d.destroyed || !d.isShare() {
			continue
		}
		refuses("set", second(s.e.Set(tester, d.name, "quota", "1")))
		h := newHand(t, s.e, id)
		refuses("create file", second(h.create(inode.Root, "late", inode.ModeFile)))
		for _, at := range d.places((*object).isFile) {
			refuses("write file", h.write(at.ino, 100, []byte("late")))
			refuses("truncate", h.truncate(at.ino, 0))
			refuses("link", h.link(at.ino, inode.Root, "late"))
			refuses("rename file", h.rename(at.dir, at.name, inode.Root, "late"))
			refuses("remove", h.remove(at.dir, at.name))
		}
		h.Detach()
	}
}

func (s *sim) openAt(name string, at when.Spec) *vol.Volume {
	v, err := vol.Open(s.e, name, &at, tester, nil)
	s.must("open", err)
	return v
}

// pastIsThere compares every moment up to lsn; later ones may be refused, but
// never wrong.
func (s *sim) pastIsThere(t *testing.T, lsn uint64) {
	t.Helper()
	name, _ := s.firstLive(t)
	id := s.idOf(name)
	for at := uint64(1); at <= s.m.last(); at++ {
		spec := atLSN(at)
		v, err := vol.Open(s.e, name, &spec, tester, nil)
		want := s.m.at(id, at)
		switch {
		case err == nil && want != nil:
			if err := same(v, want); err != nil {
				t.Fatalf("%s at lsn %d: %v", name, at, err)
			}
			v.Close()
		case err == nil:
			t.Fatalf("%s at lsn %d: is there, should not", name, at)
		case want == nil && fail.Is(err, fail.OutsideHistory):
		case at > lsn && fail.Is(err, fail.FailStopped):
		default:
			t.Fatalf("%s at lsn %d, of %d durable: %v", name, at, lsn, err)
		}
	}
}

// The first error is what everybody is told, also those who wait already.
func TestFailStopUnderLoad(t *testing.T) {
	disk := vfs.NewMem(1)
	faulty := vfs.NewFaulty(disk)
	conf := config{segment: 1 << 20}
	s := newDirSim(t, conf, faulty, 1)
	defer recoverStop(t)
	_, err := s.e.CreateVolume(tester, "d", 64<<20)
	s.must("create", err)
	const writers = 6
	errs := make(chan error, writers)
	for g := range writers {
		v := s.open("d")
		go func() {
			defer v.Close()
			p := make([]byte, 64<<10)
			for i := 0; ; i++ {
				if err := v.WriteAt(p, uint64(g*10+i%10)*64<<10); err != nil {
					errs <- err
					return
				}
				if err := v.Flush(); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	faulty.Add(vfs.Rule{Op: vfs.OpSync, After: 20, Err: syscall.EIO})
	faulty.Add(vfs.Rule{Op: vfs.OpWrite, After: 60, Err: syscall.EIO})
	for range writers {
		select {
		case err := <-errs:
			// A new segment that cannot be made is no failure of the log.
			if !fail.Is(err, fail.FailStopped) && !fail.Is(err, fail.IO) {
				t.Errorf("a writer was told %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a writer waits for ever")
		}
	}
	s.e.Abort()
}
