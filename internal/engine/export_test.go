package engine

import (
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
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
	var runs []deathRun
	var bad error
	err := e.pool.Scan(itemKey(tagDeaths, id, 0), itemKey(tagDeaths, id+1, 0), func(k tree.Key, v []byte) bool {
		_, _, seq := splitKey(k)
		if seq != uint64(len(runs)) {
			bad = fail.New(fail.Corrupt, "death run %d comes as number %d", seq, len(runs))
			return false
		}
		var x deathRun
		x, bad = parseDeathRun(seq, v)
		runs = append(runs, x)
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	var out []Death
	for _, x := range runs {
		if err != nil {
			break
		}
		out, err = e.readRun(out, id, x)
	}
	return out, err
}

func (e *Engine) readRun(out []Death, id uint64, x deathRun) ([]Death, error) {
	page := make([]byte, BlockSize)
	var ds []death
	for i, crc := range x.crc {
		if err := e.readBlocks(segment.Addr(x.addr)+segment.Addr(i), page); err != nil {
			return out, err
		}
		if segment.Checksum(page) != crc {
			return out, fail.New(fail.Corrupt, "death page %d of run %d fails its checksum", i, x.seq)
		}
		var err error
		if ds, err = decodeDeaths(ds, page, id); err != nil {
			return out, err
		}
	}
	if uint64(len(ds)) != x.count {
		return out, fail.New(fail.Corrupt, "run %d has %d deaths, not %d", x.seq, len(ds), x.count)
	}
	first, last := ds[0].death, ds[0].death
	for _, d := range ds {
		first, last = min(first, d.death), max(last, d.death)
		out = append(out, Death{Node: d.kind == nodeDeath, Foreign: d.foreign, Addr: d.addr, Birth: d.birth, At: d.death, Blocks: uint64(d.count)})
	}
	if first != x.first || last != x.last {
		return out, fail.New(fail.Corrupt, "run %d claims deaths from %d to %d; they are from %d to %d", x.seq, x.first, x.last, first, last)
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
		})
		v.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
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
	defer im.tree.Close()
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
	for _, r := range e.datasets[id].rollbacks {
		out = append(out, Rollback{r.at, r.to, r.from})
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

// SpendReadAround takes all credit for reading ahead around misses.
func (e *Engine) SpendReadAround() { e.around.credit.Store(0) }

// EarnReadAround tells of n reads that found their blocks in memory.
func (e *Engine) EarnReadAround(n int) {
	for range n {
		e.around.hit()
	}
}
