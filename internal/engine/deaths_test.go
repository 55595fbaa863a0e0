package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/vfs"
)

// witness collects what the ledger of each dataset must account for.
type witness struct {
	*sim
	t     *testing.T
	nodes map[uint64]map[uint64]uint64 // per dataset, every node seen in a root: birth by address
	seen  *tally
}

func newWitness(t *testing.T, s *sim, seen *tally) *witness {
	return &witness{sim: s, t: t, nodes: map[uint64]map[uint64]uint64{}, seen: seen}
}

// tally counts the deaths judged, over all scripts of a test.
type tally struct{ data, foreignData, nodes, foreignNodes atomic.Int64 }

func (n *tally) count(d engine.Death) {
	switch {
	case d.Node && d.Foreign:
		n.foreignNodes.Add(1)
	case d.Node:
		n.nodes.Add(1)
	case d.Foreign:
		n.foreignData.Add(1)
	default:
		n.data.Add(1)
	}
}

func (n *tally) enough(t *testing.T, clones bool) {
	t.Logf("judged: %d deaths of data, %d foreign; %d of nodes, %d foreign",
		n.data.Load(), n.foreignData.Load(), n.nodes.Load(), n.foreignNodes.Load())
	if n.data.Load() == 0 || n.nodes.Load() == 0 || clones != (n.foreignData.Load() > 0) || clones != (n.foreignNodes.Load() > 0) {
		t.Error("too few, or too many")
	}
}

// audit drains everything, takes a checkpoint and judges the ledgers.
func (w *witness) audit(what string) {
	w.t.Helper()
	for w.e.DrainStep() {
		w.did("drain", w.m.now(), true)
	}
	w.must("checkpoint", w.e.Checkpoint())
	for id := range w.m.now() {
		w.data(what, id)
	}
	w.books(what)
}

// aliveAt reports whether a block was in its tree at moment m: the state then
// is that at the target of the last rollback before it, and what came since.
func aliveAt(rollbacks []engine.Rollback, deaths []engine.Death, birth, m uint64) bool {
	var since engine.Rollback
	for _, r := range rollbacks {
		if r.At <= m {
			since = r
		}
	}
	for _, d := range deaths {
		if since.At <= d.At && d.At <= m { // its own too: what the way back left out
			return false
		}
	}
	if birth >= since.At {
		return birth <= m
	}
	return aliveAt(rollbacks, deaths, birth, since.To)
}

// data checks that at every moment looked at, the blocks born on the line and
// not dead are those of its tree.
func (w *witness) data(what string, id uint64) {
	w.t.Helper()
	births, err := w.e.Births(id)
	w.must("births", err)
	deaths, err := w.e.Deaths(id)
	w.must("deaths", err)
	rollbacks := w.e.Rollbacks(id)
	if len(rollbacks) > 0 {
		return // deaths that a rollback undid are not kept: the books say whether the others are right
	}
	created, fork, changed := w.e.Line(id)
	dead := map[uint64][]engine.Death{} // by block
	inherited, err := w.e.Extents(id, created)
	w.must("extents", err)
	for _, d := range deaths {
		if d.Node {
			w.seen.count(d) // the books say whether they are right
			continue
		}
		if d.Foreign != (d.Birth <= fork) {
			w.t.Fatalf("%s: dataset %d, forked at %d: %+v has the wrong flag", what, id, fork, d)
		}
		w.seen.count(d)
		for a := d.Addr; a < d.Addr+d.Blocks; a++ {
			birth, own := births[a]
			if inh, ok := inherited[a]; !own && ok {
				birth = inh
			} else if !own && len(rollbacks) == 0 {
				w.t.Fatalf("%s: dataset %d: %+v of a block that it never had", what, id, d)
			}
			if birth != 0 && birth != d.Birth || d.At <= d.Birth {
				w.t.Fatalf("%s: dataset %d: %+v of a block born at %d", what, id, d, birth)
			}
			dead[a] = append(dead[a], d)
		}
	}
	alive := func(a, birth, m uint64) bool { return aliveAt(rollbacks, dead[a], birth, m) }
	for a, birth := range births {
		if len(dead[a]) == 0 && !alive(a, birth, w.m.last()) {
			w.t.Fatalf("%s: dataset %d: block %#x, born at %d, is gone, and no death will ever free it (rollbacks %v)", what, id, a, birth, rollbacks)
		}
	}
	for a, ds := range dead {
		for i, d := range ds {
			if slices.ContainsFunc(ds[:i], func(o engine.Death) bool { return o.At == d.At }) {
				w.t.Fatalf("%s: dataset %d: block %#x dies twice at one moment: %+v", what, id, a, ds)
			}
			if !alive(a, d.Birth, d.At-1) {
				w.t.Fatalf("%s: dataset %d: block %#x dies when it is dead: %+v of %+v (rollbacks %v)", what, id, a, d, ds, rollbacks)
			}
		}
	}
	last := w.m.last()
	for _, m := range []uint64{last, changed, max(created, changed-1), created + (last-created)/2, created + (last-created)/3} {
		have, err := w.e.Extents(id, m)
		w.must("extents", err)
		born := births
		if len(rollbacks) == 0 { // else an ancestor's earlier moments may come in
			born = maps.Clone(inherited)
			maps.Copy(born, births)
		}
		for a, birth := range born {
			if _, in := have[a]; in != alive(a, birth, m) {
				w.t.Fatalf("%s: dataset %d at lsn %d of %d: block %#x, born at %d, is in the tree: %v; its deaths: %+v; rollbacks %v",
					what, id, m, last, a, birth, in, dead[a], rollbacks)
			}
		}
	}
}

// books checks that of all blocks of the log each is needed, kept by a list, or
// free: no death is missing, and none is wrong.
func (w *witness) books(what string) {
	w.t.Helper()
	r, err := w.e.Check(context.Background(), true, nil)
	w.must("check", err)
	for i, d := range r.Damage {
		if i == 10 {
			break
		}
		w.t.Errorf("%s: %s: %s", what, d.Where, d.What)
	}
	if len(r.Damage) > 0 {
		w.t.Fatalf("%s: %d blocks", what, len(r.Damage))
	}
}

// forget starts the nodes anew: a crash has taken some.
func (w *witness) forget() { clear(w.nodes) }

// stepOn makes one step of a script on single lines, without rollbacks; clones
// says whether there may be clones.
func (w *witness) stepOn(clones bool) {
	names := liveNames(w.m.now())
	if w.lacks() {
		w.create()
		return
	}
	name := names[w.rng.IntN(len(names))]
	_, d := w.m.now().named(name)
	switch pick := w.rng.IntN(100); {
	case d.isShare() && pick < 75:
		w.scribe(name).step()
	case pick < 55:
		w.write(name)
	case pick < 75:
		w.trim(name)
	case pick < 82:
		w.snapshot(name)
	case pick < 88:
		w.stale(name)
	case pick < 92:
		_, err := w.e.Extents(w.idOf(name), w.m.last()) // freezes the head, as a view does
		w.must("extents", err)
	case pick < 95 && clones && len(names) < 6:
		w.clone(name)
	case pick < 96 && clones && len(names) < 6:
		w.create()
	default:
		w.flush()
	}
}

// stale prepares a write that then does not happen: its pages are copied, and
// nothing has changed.
func (w *witness) stale(name string) {
	h, err := w.e.Attach(name, tester, true, func() {})
	w.must("attach", err)
	defer h.Detach()
	if h.IsShare() {
		w.refused(h)
		return
	}
	b := w.rng.Uint64N(smallSize / block)
	err = h.Write(b*block, block, [][]byte{make([]byte, block)}, []engine.Expect{{Block: b, Addr: 1}})
	if !fail.Is(err, fail.Stale) {
		w.must("stale", fmt.Errorf("a write on a false condition: %v", err))
	}
	if w.rng.IntN(2) == 0 {
		_, err := w.e.Extents(w.idOf(name), w.m.last())
		w.must("extents", err)
	}
}

// refused lets a judge refuse an operation.
func (w *witness) refused(h *engine.Head) {
	no := errors.New("no")
	op := &oplog.Op{Kind: oplog.Remove, Ino: inode.Root}
	if err := h.Change(op, func(inode.Reader) error { return no }, nil); err != no {
		w.must("refused", fmt.Errorf("a judge refused, and there came %v", err))
	}
}

func TestDeathsSingleLine(t *testing.T) { testDeaths(t, false) }

func TestDeathsWithClones(t *testing.T) { testDeaths(t, true) }

func testDeaths(t *testing.T, clones bool) {
	seen := &tally{}
	t.Run("scripts", func(t *testing.T) {
		for seed := uint64(1); seed <= uint64(seeds(4)); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				defer recoverStop(t)
				conf := config{segment: 1 << 20, checkpoint: 8, drain: 6, baseOps: 30, cache: 1 << 17}
				w := newWitness(t, newSim(t, conf, memStore(conf), seed), seen)
				for i := range 240 {
					w.stepOn(clones)
					w.between()
					if i%15 == 14 {
						w.audit("live")
					}
				}
				w.must("close", w.e.Close(context.Background()))
				w.openEngine()
				w.audit("reopened")
				for range 40 {
					w.stepOn(clones)
				}
				w.audit("later")
				w.must("close", w.e.Close(context.Background()))
			})
		}
	})
	seen.enough(t, clones)
}

// Rollbacks take deaths back, and kill what was born since.
func TestDeathsWithRollbacks(t *testing.T) {
	seen := &tally{}
	t.Run("scripts", func(t *testing.T) {
		for seed := uint64(1); seed <= uint64(seeds(3)); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				defer recoverStop(t)
				conf := config{segment: 1 << 20, checkpoint: 8, drain: 6, baseOps: 30, alone: true}
				w := newWitness(t, newSim(t, conf, memStore(conf), seed), seen)
				for i := range 200 {
					if i%9 == 8 {
						names := liveNames(w.m.now())
						w.rollback(names[w.rng.IntN(len(names))])
					} else {
						w.stepOn(true)
					}
					w.between()
					if i%20 == 19 {
						w.audit("live")
					}
				}
				w.must("close", w.e.Close(context.Background()))
			})
		}
	})
	seen.enough(t, true)
}

// The ledgers account for everything after crashes too.
func TestDeathsAfterCrashes(t *testing.T) {
	seen := &tally{}
	t.Run("scripts", func(t *testing.T) {
		for seed := uint64(1); seed <= uint64(seeds(6)); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				conf := config{segment: 1 << 20, checkpoint: 8, drain: 6, baseOps: 30}
				disk := vfs.NewMem(seed)
				w := newWitness(t, newDirSim(t, conf, disk, seed), seen)
				luck := rand.New(rand.NewPCG(seed, 5))
				for range 8 {
					disk.CrashAfter(1 + luck.IntN(300))
					w.untilCrash()
					disk = w.sim.reboot(t, disk, luck, map[string]int{})
					w.forget()
					func() {
						defer recoverStop(t)
						w.audit("recovered")
					}()
				}
				w.e.Abort()
			})
		}
	})
	seen.enough(t, true)
}

// untilCrash goes on until the power goes.
func (w *witness) untilCrash() {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(stopped); !ok {
				panic(r)
			}
		}
	}()
	for range 2000 {
		w.stepOn(true)
		w.between()
	}
}
