package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// crashes is how many power failures one run of TestCrash has: VARVE_CRASHES,
// or 2,000.
func crashes() int {
	if v, err := strconv.Atoi(os.Getenv("VARVE_CRASHES")); err == nil {
		return v
	}
	return 2000
}

// TestCrash cuts the power at random points of random scripts, over several
// volumes, clones, snapshots and rollbacks, and during recovery itself. After
// each failure the pool must open, hold every operation that was acknowledged
// as durable, and be a prefix of what happened, at every moment looked at.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("VARVE_SEED=%d", seed)
	const perScript = 10
	total := struct {
		sync.Mutex
		phases map[string]int
	}{phases: map[string]int{}}
	scripts := (crashes() + perScript - 1) / perScript
	t.Run("scripts", func(t *testing.T) {
		for i := range scripts {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				phases := crashScript(t, seed+uint64(i), perScript)
				total.Lock()
				defer total.Unlock()
				for p, n := range phases {
					total.phases[p] += n
				}
			})
		}
	})
	n := 0
	for _, p := range slices.Sorted(maps.Keys(total.phases)) {
		n += total.phases[p]
		t.Logf("%5d crashes in %s", total.phases[p], p)
	}
	t.Logf("%5d crashes in all", n)
	if scripts < 200 || t.Failed() {
		return
	}
	for _, p := range []string{
		"write", "large trim", "flush", "checkpoint", "rollback", "snapshot", "clone", "drain", "open", "close",
		"file create", "file write", "file rename", "rename over", "file remove", "link", "setattr", "truncate",
		"large remove", "large truncate", "large rename", "prune", "retire", "move", "gone", "bury",
	} {
		if total.phases[p] == 0 {
			t.Errorf("no crash in phase %q", p)
		}
	}
}

var crashConfigs = []config{
	{name: "plain", segment: 1 << 20, checkpoint: 12},
	{name: "small", segment: 512 << 10, frame: 40, cache: 1 << 17, checkpoint: 6, reopen: 30, drain: 3, baseOps: 25},
	{name: "few checkpoints", segment: 1 << 20, checkpoint: 60, drain: 4, reopen: 50},
	{name: "many checkpoints", segment: 1 << 20, checkpoint: 2, drain: 5},
	{name: "forgetful", segment: 512 << 10, checkpoint: 8, drain: 4, forget: 5, baseOps: 30},
	{name: "moved", segment: 512 << 10, checkpoint: 8, drain: 4, forget: 3, baseOps: 20, moves: true},
}

// crashScript runs one script with n power failures and returns in which
// phases they came.
func crashScript(t *testing.T, seed uint64, n int) map[string]int {
	luck := rand.New(rand.NewPCG(seed, 3))
	conf := crashConfigs[seed%uint64(len(crashConfigs))]
	disk := vfs.NewMem(seed)
	if err := dir.Make(disk, "pool", conf.segment, 4<<30); err != nil {
		t.Fatal(err)
	}
	store, err := dir.Open(disk, "pool", dir.Options{Spare: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := newSim(t, conf, store, seed)
	s.begins = func() {
		if strings.HasPrefix(s.phase, "large") && luck.IntN(4) > 0 { // they are few, and short
			disk.CrashAfter(1 + luck.IntN(3))
		}
		if (s.phase == "gone" || s.phase == "bury") && luck.IntN(2) > 0 { // these are few
			disk.CrashAfter(1 + luck.IntN(8))
		}
	}
	phases := map[string]int{}
	for range n {
		disk.CrashAfter(1 + luck.IntN(1+luck.IntN(400)))
		s.runUntilCrash(t)
		phases[s.phase]++
		disk = s.reboot(t, disk, luck, phases)
	}
	s.e.Abort()
	return phases
}

// runUntilCrash goes on with the script until the power goes.
func (s *sim) runUntilCrash(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			st, ok := r.(stopped)
			if !ok {
				panic(r)
			}
			if !errors.Is(st.err, vfs.ErrCrashed) {
				t.Fatalf("the script failed without a crash: %v", st.err)
			}
		}
	}()
	for range 2000 {
		s.step()
		s.between()
	}
	t.Fatal("the power never went")
}

// reboot opens what the failure left, maybe after failures of that too, and
// compares it with the model.
func (s *sim) reboot(t *testing.T, disk *vfs.Mem, luck *rand.Rand, phases map[string]int) *vfs.Mem {
	if s.beside != nil {
		<-s.beside // it fails, or the power went after it
	}
	if s.e != nil {
		s.e.Abort()
	}
	for {
		disk = disk.Crash(luck)
		if luck.IntN(6) == 0 {
			s.checkAtRest(t, disk)
		}
		again := luck.IntN(3) == 0
		if again {
			disk.CrashAfter(1 + luck.IntN(12))
		}
		err := s.tryOpen(disk)
		if err == nil {
			disk.CrashAfter(0)
			if _, err = disk.Stat("pool"); err == nil {
				break
			}
			s.e.Abort() // the power went right after
		}
		if !again || !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("recovery: %v", err)
		}
		phases["open"]++
	}
	s.judge(t)
	return disk
}

// checkAtRest checks what a failure left, as it is: nothing of that is damage.
func (s *sim) checkAtRest(t *testing.T, disk *vfs.Mem) {
	files, err := dir.Open(disk, "pool", dir.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("after a crash in %s: %v", s.phase, err)
	}
	defer files.Close()
	var store segstore.Store = files
	if s.conf.moves {
		if store, err = compact.Open(files); err != nil {
			t.Fatalf("after a crash in %s: %v", s.phase, err)
		}
	}
	rep, err := engine.CheckStore(context.Background(), store, true, nil)
	if err != nil || rep.Frames == 0 || len(rep.Damage) > 0 {
		t.Errorf("checked at rest after a crash in %s: %+v, %v", s.phase, rep, err)
	}
}

func (s *sim) tryOpen(disk *vfs.Mem) (err error) {
	defer func() {
		if r := recover(); r != nil {
			st, ok := r.(stopped)
			if !ok {
				panic(r)
			}
			err = st.err
		}
	}()
	store, err := dir.Open(disk, "pool", dir.Options{Spare: 4})
	if err != nil {
		return err
	}
	s.store = &gatedStore{Store: store}
	s.openEngine()
	return nil
}

// judge compares the recovered pool with the model.
func (s *sim) judge(t *testing.T) {
	lsn := s.e.Status().LastLSN
	if lsn < s.flushed {
		t.Fatalf("after a crash in %s: recovered to lsn %d, but %d was acknowledged", s.phase, lsn, s.flushed)
	}
	for _, step := range s.steps { // one operation each
		if lsn > s.m.last() {
			s.m.push(s.pending)
			step()
		}
	}
	if lsn == s.m.last()+1 && s.pending != nil && s.steps == nil {
		s.m.push(s.pending)
		if s.made != nil {
			s.made()
		}
	}
	if lsn > s.m.last() {
		t.Fatalf("recovered to lsn %d, but only %d happened", lsn, s.m.last())
	}
	s.m.truncate(lsn)
	s.flushed, s.pending, s.steps = lsn, nil, nil
	if s.conf.forget > 0 {
		s.noteTime()
	}
	if s.conf.forget > 0 && s.knob.IntN(4) == 0 {
		checkClean(t, s)
	}
	s.compareAll(fmt.Sprintf("after a crash in %s", s.phase), 4)
}
