package engine_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
)

// lostMoment makes a pool with a loss, and returns a moment of which it is known what
// it was, but not by the root before it, which is damaged. Then it lets that root go:
// an older one leads there.
func lostMoment(t *testing.T) (*lossy, uint64) {
	l := newLossy(t, false)
	l.hit()
	moment := l.e.Status().LastLSN
	l.put("d", 6, 9, nil)
	l.crash("d")
	if _, err := l.e.Clone(tester, "d", atLSN(moment), "early"); !fail.Is(err, fail.Corrupt) {
		t.Errorf("from the damaged root: %v", err)
	}
	for b := range 6 {
		l.put("d", 10+2*b, 1, nil)
		l.must("checkpoint", l.e.Checkpoint())
	}
	return l, moment
}

// pass forgets all history, and gives back what it kept.
func (l *lossy) pass() {
	l.t.Helper()
	for range 4 {
		l.must("prune", second(l.e.Prune(tester, "", engine.PruneOptions{Before: &present})))
		l.put("other", 1, 1, nil)
		l.put("d", 20, 1, nil)
		l.drain(1)
	}
	l.must("reclaim", l.e.Reclaim(true))
	l.e.DropViews()
	l.verify(l.e.Check(context.Background(), true, nil))
}

// wasLost reads what a dataset has of what was lost.
func (l *lossy) wasLost(name string) {
	l.t.Helper()
	l.has(name, map[int]byte{2: 9, 4: 9, 1500: 9, 6: 1})
}

// A moment of what was given up is what it was, where an older root leads to it. Who
// holds on to it keeps all that it needs.
func TestMomentsOfLoss(t *testing.T) {
	for name, f := range map[string]func(l *lossy, moment uint64){
		"clone": func(l *lossy, moment uint64) {
			l.must("clone", second(l.e.Clone(tester, "d", atLSN(moment), "c")))
			l.wasLost("c")
			l.pass()
			l.wasLost("c")
			l.must("destroy", second(l.e.Destroy(tester, "d", true)))
			l.orphans = true
			l.drain(8)
			l.wasLost("c")
		},
		"snapshot": func(l *lossy, moment uint64) {
			l.must("snapshot", second(l.e.SnapshotAt(tester, "d", "s", atLSN(moment))))
			l.pass()
			l.must("clone", second(l.e.Clone(tester, "d", atLSN(moment), "c")))
			l.wasLost("c")
		},
		"horizon": func(l *lossy, moment uint64) {
			at := atLSN(moment)
			l.must("prune", second(l.e.Prune(tester, "d", engine.PruneOptions{Before: &at})))
			for range 3 {
				l.put("other", 1, 1, nil)
				l.must("checkpoint", l.e.Checkpoint())
			}
			l.must("reclaim", l.e.Reclaim(true))
			l.must("clone", second(l.e.Clone(tester, "d", at, "c")))
			l.wasLost("c")
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer recoverStop(t)
			l, moment := lostMoment(t)
			f(l, moment)
			l.verify(l.e.Check(context.Background(), true, nil))
		})
	}
}

// A rollback to such a moment brings it back. Of what the lost writes had replaced only
// the block whose place is in the damaged leaf is nobody's: nobody can tell which it is.
func TestRollbackToLoss(t *testing.T) {
	defer recoverStop(t)
	l, moment := lostMoment(t)
	l.must("rollback", second(l.e.Rollback(tester, "d", atLSN(moment), false)))
	l.wasLost("d")
	l.e.Abort()
	l.openEngine()
	l.orphans = true
	l.pass()
	l.wasLost("d")
	r, err := l.e.Check(context.Background(), true, nil)
	l.must("check", err)
	if len(r.Damage) != 1 || !strings.HasPrefix(r.Damage[0].What, "nobody needs this data") || strings.Contains(r.Damage[0].Where, " to ") {
		t.Errorf("check: %+v", r.Damage)
	}
	l.put("d", 4, 3, nil)
	l.pass()
	l.has("d", map[int]byte{2: 9, 4: 3, 1500: 9})
}

// What an undo or a replay was making is nobody's loss, but for a replay into a new
// dataset that was there already.
func TestPublishedDraftOfLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.spoils("d", inode.DataKey(0, 1500))
	l.must("snapshot", second(l.e.Snapshot(tester, "d", "s")))
	l.put("d", 1500, 9, nil)
	m := atLSN(l.e.Status().LastLSN)
	l.put("d", 1502, 9, nil)
	l.settle()
	for _, name := range []string{"new", ""} {
		moment, err := l.e.Resolve("d", m)
		l.must("resolve", err)
		draft, err := l.e.Draft(tester, moment, "draft"+name)
		l.must("draft", err)
		l.must("write", draft.WriteAt(make([]byte, block), 0))
		if name != "" {
			l.must("publish", second(draft.Publish(tester, name)))
			l.put(name, 6, 9, nil)
		}
	}
	l.must("flush", l.e.Flush())
	l.e.Abort()
	l.damage(l.leaf)
	o := l.conf.options(l.store, l.clock)
	o.AcceptLoss = true
	var err error
	l.e, err = engine.Open(o)
	l.must("open", err)
	if said := l.e.Status().Recovery.Discarded; !strings.HasPrefix(said, "the clone new was given up: ") || strings.Contains(said, "draft") {
		t.Errorf("it says %q", said)
	}
}

// content is the first byte of each block that has data.
type content map[int]byte

// aftermath is a pool after a loss, with what its datasets have and what d was.
type aftermath struct {
	*lossy
	rnd  *rand.Rand
	have map[string]content
	was  map[uint64]content // d, after each operation on it
}

func newAftermath(t *testing.T, seed uint64) *aftermath {
	a := &aftermath{lossy: newLossy(t, false), rnd: rand.New(rand.NewPCG(seed, 0)), was: map[uint64]content{}}
	d := content{}
	for b := range 1500 {
		d[2*b] = 1
	}
	a.have = map[string]content{"d": d}
	a.spoils("d", inode.DataKey(0, 1500))
	a.write("d", 2, 9)
	whole := maps.Clone(d)
	a.write("d", 1500, 9)
	a.damaged = a.e.Status().LastLSN
	for range 5 {
		a.write("d", a.block(), 9)
	}
	a.crash("d")
	a.have["d"] = whole
	a.note()
	return a
}

// block is one that is not below the damaged leaf.
func (a *aftermath) block() int {
	if b := a.rnd.IntN(2000); b >= 1000 {
		return 1000 + b
	} else {
		return b
	}
}

func (a *aftermath) write(name string, b int, value byte) {
	a.put(name, b, value, nil)
	a.have[name][b] = value
	if name == "d" {
		a.note()
	}
}

// note keeps what d is.
func (a *aftermath) note() { a.was[a.e.Status().LastLSN] = maps.Clone(a.have["d"]) }

// moment chooses one that is known.
func (a *aftermath) moment() uint64 {
	return slices.Sorted(maps.Keys(a.was))[a.rnd.IntN(len(a.was))]
}

func (a *aftermath) name() string {
	return slices.Sorted(maps.Keys(a.have))[a.rnd.IntN(len(a.have))]
}

// done reports whether something was done that may be refused, as of a moment that is
// not kept, or whose root is damaged.
func (a *aftermath) done(what string, _ any, err error) bool {
	if err != nil && !fail.Is(err, fail.OutsideHistory) && !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Busy) && !fail.Is(err, fail.Exists) {
		a.must(what, err)
	}
	return err == nil
}

func (a *aftermath) step(i int) {
	switch m := a.moment(); a.rnd.IntN(11) {
	case 0, 1, 2:
		a.write(a.name(), a.block(), byte(2+a.rnd.IntN(200)))
	case 3:
		name := fmt.Sprint("c", i)
		if c, err := a.e.Clone(tester, "d", atLSN(m), name); a.done("clone", c, err) {
			a.have[name] = maps.Clone(a.was[m])
		}
	case 4:
		s, err := a.e.SnapshotAt(tester, "d", fmt.Sprint("s", i), atLSN(m))
		a.done("snapshot", s, err)
	case 5:
		if r, err := a.e.Rollback(tester, "d", atLSN(m), false); a.done("rollback", r, err) {
			a.have["d"] = maps.Clone(a.was[m])
			a.note()
		}
	case 6:
		if name := a.name(); name != "d" {
			a.must("destroy", second(a.e.Destroy(tester, name, true)))
			delete(a.have, name)
		}
	case 7:
		at := atLSN(m)
		p, err := a.e.Prune(tester, "d", engine.PruneOptions{Before: &at})
		a.done("prune", p, err)
	case 8:
		a.must("checkpoint", a.e.Checkpoint())
		for a.e.DrainStep() {
		}
	case 9:
		a.must("checkpoint", a.e.Checkpoint())
		a.must("reclaim", a.e.Reclaim(true))
	case 10:
		a.must("flush", a.e.Flush())
		a.e.Abort()
		a.openEngine()
	}
}

// compare reads some of what there is. What is below the damaged leaf may be refused.
func (a *aftermath) compare() {
	got := make([]byte, block)
	for name, have := range a.have {
		v := a.open(name)
		for range 6 {
			b := a.rnd.IntN(3000)
			if err := v.ReadAt(got, uint64(b)*block, nil); fail.Is(err, fail.Corrupt) && b > 1000 && b < 2000 {
				continue
			} else if err != nil || got[0] != have[b] {
				a.t.Errorf("block %d of %s is %d, want %d (%v)", b, name, got[0], have[b], err)
			}
		}
		v.Close()
	}
}

// Whatever is done with the moments before and after a loss, nothing that is needed is
// given back, and each shows what it was.
func TestAftermathOfLoss(t *testing.T) {
	for seed := range uint64(seeds(12)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			defer recoverStop(t)
			a := newAftermath(t, seed)
			a.orphans = true
			for i := range 80 {
				a.step(i)
				a.compare()
				if i%8 == 7 {
					a.verify(a.e.Check(context.Background(), true, nil))
				}
				if t.Failed() {
					t.Fatalf("at step %d", i)
				}
			}
		})
	}
}
