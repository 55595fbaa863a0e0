package engine

import (
	"context"
	"errors"
	"slices"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/tree"
)

// What the tests of the ledger look at.

// Death is a death record: of blocks of payload, or of one node.
type Death struct {
	Node, Foreign   bool
	Addr, Birth, At uint64
	Blocks          uint64
}

// Deaths returns every death record of a dataset, verified against the runs
// that name their pages.
func (e *Engine) Deaths(id uint64) ([]Death, error) {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	e.pool.Blocking(true)
	var out []Death
	var bad error
	err := e.pool.Scan(itemKey(tagDeaths, id, 0), itemKey(tagDeaths, id+1, 0), func(k tree.Key, v []byte) bool {
		_, _, seq := splitKey(k)
		var x *deathRun
		if x, bad = parseDeathRun(seq, v); bad == nil {
			out, bad = e.showRun(out, id, x)
		}
		return bad == nil
	})
	return out, errors.Join(err, bad)
}

func (e *Engine) showRun(out []Death, id uint64, x *deathRun) ([]Death, error) {
	ds, err := e.readRun(id, x)
	if err != nil {
		return out, err
	}
	var again deathRun
	again.tally(ds)
	if again.first != x.first || again.last != x.last || again.data != x.data || again.nodes != x.nodes || again.count != x.count {
		return out, fail.New(fail.Corrupt, "run %d claims %+v; it has %+v", x.seq, x, again)
	}
	for _, d := range ds {
		out = append(out, Death{Node: d.kind != dataDeath, Foreign: x.list == foreignList, Addr: d.addr, Birth: d.birth, At: d.death, Blocks: uint64(d.count)})
	}
	return out, nil
}

// Root is a kept tree and its nodes: birth by address.
type Root struct {
	LSN   uint64
	Nodes map[uint64]uint64
}

// Roots returns every kept root of a dataset that is on disk, by LSN.
func (e *Engine) Roots(id uint64) ([]Root, error) {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	e.gate.RLock()
	defer e.gate.RUnlock()
	var out []Root
	for _, r := range e.datasets[id].roots {
		if r.vers != nil {
			continue
		}
		v := e.cache.OpenVersion(r.ref)
		x := Root{LSN: r.lsn, Nodes: map[uint64]uint64{}}
		err := tree.Walk(v, tree.Key{}, tree.MaxKey, func(n tree.Node) error {
			x.Nodes[n.Ref.Addr] = n.Ref.Birth
			return nil
		}, nil)
		v.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// Leaf returns where the leaf of a key is, in the newest root that is on disk.
func (e *Engine) Leaf(id uint64, k tree.Key) (at segment.Addr, err error) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	roots := slices.DeleteFunc(slices.Clone(e.datasets[id].roots), func(r *root) bool { return r.vers != nil })
	v := e.cache.OpenVersion(roots[len(roots)-1].ref)
	defer v.Close()
	err = tree.Walk(v, k, k.Next(), func(n tree.Node) error {
		at = segment.Addr(n.Ref.Addr)
		return nil
	}, nil)
	return at, err
}

// Extents returns the payload blocks of a dataset at a moment: birth by
// address.
func (e *Engine) Extents(id, lsn uint64) (map[uint64]uint64, error) {
	e.gate.RLock()
	d := e.datasets[id]
	e.gate.RUnlock()
	im, err := e.imageAt(d, lsn)
	if err != nil {
		return nil, err
	}
	defer im.close()
	im.tree.Blocking(true)
	out := map[uint64]uint64{}
	var bad error
	err = im.tree.Scan(tree.Key{}, tree.MaxKey, func(k tree.Key, v []byte) bool {
		if !isExtent(k) {
			return true
		}
		var x extent
		if x, bad = parseExtent(k, v); bad != nil {
			return false
		}
		for i := range x.count {
			out[x.addr+i] = x.birth
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return out, err
}

// Births returns every payload block that was ever written on a dataset's own
// line: birth by address.
func (e *Engine) Births(id uint64) (map[uint64]uint64, error) {
	out := map[uint64]uint64{}
	err := e.scanFrom(e.checkpoints[0], e.lastLSN(), func(op *oplog.Op) bool {
		if op.Dataset == id {
			for _, x := range op.Extents {
				for i := range uint64(len(x.CRC)) {
					out[x.Addr+i] = op.LSN
				}
			}
		}
		return true
	})
	return out, err
}

// Rollback notes that a line went back, at moment At, to moment To.
type Rollback struct{ At, To, From uint64 }

// Rollbacks returns the rollbacks of a dataset, in order.
func (e *Engine) Rollbacks(id uint64) (out []Rollback) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	for _, l := range e.datasets[id].lines[1:] {
		out = append(out, Rollback{l.id, l.fork, l.forkFrom})
	}
	return out
}

// Line tells where a dataset begins: its creation and the moment it forked
// from, and its last change.
func (e *Engine) Line(id uint64) (created, fork, changed uint64) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	d := e.datasets[id]
	return d.created.lsn, d.fork, d.changed
}

// PoolRoot returns where the root of the pool tree is on disk.
func (e *Engine) PoolRoot() segment.Addr {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	v := e.pool.Freeze(e.lastCkpt.Load().(checkpointRecord).number)
	defer v.Close()
	ref, _ := v.Ref()
	return segment.Addr(ref.Addr)
}

// Recount makes a head's count of mapped blocks exact, as the background does
// when all dying lists are empty; false when all are.
func (e *Engine) Recount() bool { return e.recount() }

// ExtentBlocks is what package inode counts the blocks of an extent with.
var ExtentBlocks = extentBlocks

// FreeBlocks reads a pool, and returns what tells which blocks of payload nobody
// needs, and the frame at which the records begin that somebody does.
func FreeBlocks(store segstore.Store) (free func(segment.Addr) bool, records segment.Addr, err error) {
	e := newEngine(Options{Store: store})
	defer e.release()
	if _, _, err := e.readState(false, 0, 0); err != nil {
		return nil, 0, err
	}
	return e.space.isFree, e.checkpoints[0].pos.Addr, nil
}

// IsFree reports whether nobody needs a block of payload.
func (e *Engine) IsFree(a segment.Addr) bool { return e.space.isFree(a) }

// Reclaim gives back what is free, as the background does.
func (e *Engine) Reclaim(force bool) error {
	w := wantMarks
	if force {
		w = wantAll
	}
	_, err := e.reclaim(context.Background(), w)
	return err
}

// Buried reports whether nothing is left of a dataset.
func (e *Engine) Buried(id uint64) bool {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return e.datasets[id] == nil
}

// WarnOfLimits does what the background does from time to time.
func (e *Engine) WarnOfLimits() { e.warnOfLimits() }

// ShortenHistory forgets some of the oldest history.
func (e *Engine) ShortenHistory() (bool, error) { return e.shortenHistory() }

// CheckAsItIs is Check without a checkpoint before.
func (e *Engine) CheckAsItIs(progress func(done, total uint64)) (CheckReport, error) {
	return e.newChecker(context.Background(), true, progress).check()
}

// CleanQuietly is a round of the cleaner that nobody asked for.
func (e *Engine) CleanQuietly() (CleanReport, error) {
	return e.reclaim(context.Background(), wantMarks)
}

// Asked reports whether somebody who asked for a round of the cleaner waits.
func (e *Engine) Asked() bool { return e.asked.Load() > 0 }

// MakeRoom gives back what writers need who wait.
func (e *Engine) MakeRoom() (CleanReport, error) { return e.reclaim(context.Background(), wantRoom) }

// Squeeze gives back all that can be, by every effort of the cleaner, whatever the
// watermarks say.
func (e *Engine) Squeeze() (CleanReport, error) {
	e.cleaning.Lock()
	defer e.cleaning.Unlock()
	r := round{e: e, ctx: context.Background(), want: wantAll}
	err := r.retireDead()
	for _, x := range efforts {
		if x.until = highWater; err == nil {
			err = r.exert(x)
		}
	}
	return r.CleanReport, err
}

// HoldCleaner lets no round of the cleaner begin or end until release.
func (e *Engine) HoldCleaner() (release func()) {
	e.cleaning.Lock()
	return e.cleaning.Unlock
}

// LookNow lets the background look at what may be forgotten.
func (e *Engine) LookNow() { e.wakeRetain() }

// RecordsFrom is the first segment whose records somebody may need.
func (e *Engine) RecordsFrom() uint64 { return e.recordsFrom() }

// MoreToDo reports whether the next checkpoint has something to do though
// nothing was logged.
func (e *Engine) MoreToDo() bool { return e.moreToDo.Load() }

// SpendReadAround takes all credit for reading ahead around misses.
func (e *Engine) SpendReadAround() { e.around.credit.Store(0) }

// EarnReadAround tells of n reads that found their blocks in memory.
func (e *Engine) EarnReadAround(n int) {
	for range n {
		e.around.hit()
	}
}

// Cleaned is what the cleaner did since the pool was opened.
func (e *Engine) Cleaned() CleanReport {
	e.cleaned.mu.Lock()
	defer e.cleaned.mu.Unlock()
	return e.cleaned.CleanReport
}

// ReadyBlocks is how many blocks the store may have.
func (e *Engine) ReadyBlocks() int64 {
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	return e.space.ready
}

// FreeCount is how many blocks nobody needs.
func (e *Engine) FreeCount() int64 {
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	return e.space.blocks
}

// DropViews closes the views that nobody uses.
func (e *Engine) DropViews() {
	e.views.dropIdle()
	e.views.dropIdle()
}

// FreeData is how many blocks of data nobody needs, in segments that are there.
func (e *Engine) FreeData() (blocks int64, err error) {
	segs, err := e.store.List()
	for _, x := range segs {
		if err == nil {
			err = segment.Inspect(e.store, e.super.pool, x.Number, func(f segment.Found) error {
				for r := range f.Frame.Runs() {
					for i := r.First; r.Kind == segment.Data && i < r.First+r.N; i++ {
						if e.space.isFree(f.Frame.PayloadAddr(i)) {
							blocks++
						}
					}
				}
				return nil
			})
		}
	}
	return blocks, err
}

// Gaps returns how many gaps the lines of a dataset have.
func (e *Engine) Gaps(id uint64) (n int) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	for _, l := range e.datasets[id].lines {
		n += len(l.gaps)
	}
	return n
}
