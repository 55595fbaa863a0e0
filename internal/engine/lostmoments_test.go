package engine_test

import (
	"context"
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
		for l.e.DrainStep() {
		}
		l.must("checkpoint", l.e.Checkpoint())
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
			for range 8 {
				for l.e.DrainStep() {
				}
				l.must("checkpoint", l.e.Checkpoint())
			}
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
