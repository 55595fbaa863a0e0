package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore"
)

// emptying is a volume of which every second block of so many is written, one
// extent each, and which is then destroyed for good; whose tree was as nodes say.
type emptying struct {
	*past
	blocks int
	nodes  []segment.Addr
	data   []segment.Addr
}

func newEmptying(t *testing.T, blocks int) *emptying {
	p := &emptying{past: newWithD(t, 2*blocks), blocks: blocks}
	p.must("create", second(p.e.CreateVolume(tester, "other", smallSize)))
	p.put("other", 5, 77, nil)
	for b := range blocks {
		p.put("d", 2*b, 1, nil)
	}
	p.must("checkpoint", p.e.Checkpoint())
	roots, err := p.e.Roots(1)
	p.must("roots", err)
	for _, a := range slices.Sorted(maps.Keys(roots[len(roots)-1].Nodes)) {
		p.nodes = append(p.nodes, segment.Addr(a))
	}
	extents, err := p.e.Extents(1, roots[len(roots)-1].LSN)
	p.must("extents", err)
	for a := range extents {
		p.data = append(p.data, segment.Addr(a))
	}
	if len(p.data) != blocks {
		t.Fatalf("%d blocks have data", len(p.data))
	}
	return p
}

// drain empties dying lists and takes a checkpoint, some times over.
func (p *emptying) drain(rounds int) {
	p.t.Helper()
	for range rounds {
		for p.e.DrainStep() {
		}
		p.must("checkpoint", p.e.Checkpoint())
	}
}

// empty gives all back that can be, and returns how many of the blocks of data are
// kept.
func (p *emptying) empty() (kept int) {
	p.drain(6)
	for _, a := range p.data {
		if !p.e.IsFree(a) {
			kept++
		}
	}
	if p.e.MoreToDo() {
		p.t.Error("something is left to be done")
	}
	if !p.e.Buried(1) {
		p.t.Error("the dataset is still in the pool")
	}
	got := make([]byte, block)
	if p.read("other", 5, got); got[0] != 77 {
		p.t.Error("another volume lost what was written")
	}
	p.must("close", p.e.Close(context.Background()))
	return kept
}

// eachDamaged lets f damage each node in turn, by its number, of a pool that is then
// emptied. The root has to keep all data, and each of the leaves its own.
func eachDamaged(t *testing.T, blocks int, f func(p *emptying, k int)) {
	var kept []int
	for k, nodes := 0, 1; k < nodes; k++ {
		t.Run(strconv.Itoa(k), func(t *testing.T) {
			defer recoverStop(t)
			p := newEmptying(t, blocks)
			nodes = len(p.nodes)
			f(p, k)
			kept = append(kept, p.empty())
		})
	}
	all, sum := 0, 0
	for _, n := range kept {
		if n == blocks {
			all++
		} else if sum += n; n == 0 {
			t.Error("a damaged node kept nothing")
		}
	}
	if all != 1 || sum != blocks {
		t.Errorf("of %d blocks the nodes kept %v", blocks, kept)
	}
}

// What lies below a damaged node is not given back, and everything else is.
func TestDyingListPassesDamage(t *testing.T) {
	eachDamaged(t, 1500, func(p *emptying, k int) {
		p.must("close", p.e.Close(context.Background()))
		p.damage(p.nodes[k])
		p.openEngine()
		p.must("destroy", second(p.e.Destroy(tester, "d", true)))
	})
}

// A pool is opened though a node was damaged since a step of emptying, which is in
// the log, read it.
func TestDrainAcrossDamage(t *testing.T) {
	eachDamaged(t, 3000, func(p *emptying, k int) { // two steps
		p.must("destroy", second(p.e.Destroy(tester, "d", true)))
		for range 4 {
			p.must("checkpoint", p.e.Checkpoint()) // the list is in every super root that is there
		}
		for range k%2 + 1 {
			if !p.e.DrainStep() {
				p.t.Fatal("no step")
			}
		}
		p.must("flush", p.e.Flush())
		p.e.Abort()
		p.damage(p.nodes[k])
		p.openEngine()
	})
}

// refusing is a store that does not give some blocks.
type refusing struct {
	segstore.Store
	blocks map[segment.Addr]bool
}

func (r *refusing) ReadAt(seg uint64, p []byte, off int64) error {
	for a := range r.blocks {
		if at := int64(a.Block()) * block; a.Segment() == seg && off <= at && at < off+int64(len(p)) && len(p) == block {
			return fail.New(fail.IO, "refused")
		}
	}
	return r.Store.ReadAt(seg, p, off)
}

// What the disk does not give for a while is not lost: neither where a list is
// emptied, nor where that is repeated.
func TestDrainAwaitsDisk(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprintf("live %v", live), func(t *testing.T) {
			defer recoverStop(t)
			p := newEmptying(t, 1500)
			r := &refusing{Store: p.store.Store, blocks: map[segment.Addr]bool{}}
			p.must("destroy", second(p.e.Destroy(tester, "d", true)))
			for range 4 {
				p.must("checkpoint", p.e.Checkpoint())
			}
			if !live {
				for p.e.DrainStep() {
				}
				p.must("flush", p.e.Flush())
			}
			p.e.Abort()
			for _, n := range p.nodes {
				r.blocks[n] = true
			}
			if p.store.Store = r; live {
				p.openEngine()
				for p.e.DrainStep() {
				}
				p.must("close", p.e.Close(context.Background()))
			} else if _, err := engine.Open(p.conf.options(p.store, p.clock)); !fail.Is(err, fail.IO) {
				t.Errorf("opening: %v", err)
			}
			r.blocks = nil
			p.openEngine()
			if kept := p.empty(); kept > 0 {
				t.Errorf("%d of %d blocks are never given back", kept, p.blocks)
			}
		})
	}
}
