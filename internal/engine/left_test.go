package engine_test

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"testing"

	"varve/internal/segment"
	"varve/internal/when"
)

// A dataset of which a tree node is damaged can be rolled back to a moment that has
// another one, or destroyed: that the node cannot be read does not stop the pool,
// nor keeps it from being opened.
func TestDamagedHeadIsLeft(t *testing.T) {
	const blocks = 1500 // of every second one: a tree of several levels
	tried := 0
	for k := 0; k == 0 || k < tried; k++ {
		t.Run(strconv.Itoa(k), func(t *testing.T) {
			defer recoverStop(t)
			p := newWithD(t, 2*blocks)
			p.must("create", second(p.e.CreateVolume(tester, "other", smallSize)))
			for _, value := range []byte{1, 2} {
				for b := range blocks {
					p.put("d", 2*b, value, nil)
				}
				p.must("snapshot", second(p.e.Snapshot(tester, "d", strconv.Itoa(int(value)))))
				p.must("checkpoint", p.e.Checkpoint())
			}
			roots, err := p.e.Roots(1)
			p.must("roots", err)
			nodes := slices.Sorted(maps.Keys(roots[len(roots)-1].Nodes))
			tried = len(nodes)
			p.must("close", p.e.Close(context.Background()))
			p.damage(segment.Addr(nodes[k]))
			p.openEngine()
			p.must("rollback", second(p.e.Rollback(tester, "d", when.Spec{Kind: when.Snapshot, Name: "1"}, false)))
			for range 3 {
				p.must("checkpoint", p.e.Checkpoint())
				for p.e.DrainStep() {
				}
				p.must("flush", p.e.Flush())
			}
			p.put("other", 5, 77, nil)
			p.must("close", p.e.Close(context.Background()))
			p.openEngine()
			got := make([]byte, block)
			for b := range blocks {
				p.read("d", 2*b, got)
				if got[0] != 1 {
					t.Fatalf("block %d is %d after the rollback", 2*b, got[0])
				}
			}
			if p.read("other", 5, got); got[0] != 77 {
				t.Error("another volume lost what was written")
			}
			p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "1")))
			p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "2")))
			p.must("destroy", second(p.e.Destroy(tester, "d", true)))
			for range 3 {
				for p.e.DrainStep() {
				}
				p.must("checkpoint", p.e.Checkpoint())
			}
			p.must("close", p.e.Close(context.Background()))
			p.openEngine()
			p.must("close", p.e.Close(context.Background()))
		})
	}
	if tried < 5 {
		t.Errorf("only %d nodes were damaged", tried)
	}
}
