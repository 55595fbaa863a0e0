package compact_test

import (
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
)

// Random changes and reopening, over each kind of store: after each change the
// store holds what the books say, and counts as they do.
func TestModel(t *testing.T) {
	overMem := func(*testing.T, uint64) func() segstore.Store {
		base := mem.New(segSize, capacity)
		return func() segstore.Store { return base }
	}
	overDir := func(t *testing.T, seed uint64) func() segstore.Store {
		disk := newDisk(t, seed)
		return func() segstore.Store {
			s, err := dir.Open(disk, "/pool", dir.Options{})
			check(t, err)
			return s
		}
	}
	for name, kind := range map[string]func(*testing.T, uint64) func() segstore.Store{"mem": overMem, "dir": overDir} {
		t.Run(name, func(t *testing.T) {
			moved := 0
			for seed := range uint64(6) {
				moved += modelRun(t, seed, kind(t, seed))
			}
			if moved < 1000 {
				t.Errorf("only %d blocks were moved", moved)
			}
		})
	}
}

func modelRun(t *testing.T, seed uint64, base func() segstore.Store) (moved int) {
	c := newScript(newRand(seed))
	c.s = open(t, base())
	for i := range 150 {
		if err := c.step(); err != nil && !fail.Is(err, fail.NoSpace) {
			t.Fatalf("seed %d, step %d, %s: %v", seed, i, c.doubt, err)
		}
		c.gone = 0
		err := c.verify()
		if err == nil {
			err = c.count()
		}
		if err == nil {
			err = c.freedFails()
		}
		if err != nil {
			t.Fatalf("seed %d, step %d, after %s: %v", seed, i, c.doubt, err)
		}
		if c.rng.IntN(20) == 0 {
			check(t, c.s.Close())
			c.s = open(t, base())
			if err := c.again(); err != nil {
				t.Fatalf("seed %d, step %d, reopened: %v", seed, i, err)
			}
		}
	}
	wantSegments(t, "pending", c.s.Pending())
	return c.moved
}

// freedFails reads everything of a relocated segment: what was freed must fail.
func (c *script) freedFails() error {
	p := make([]byte, block)
	for _, n := range c.s.Relocated() {
		for b := range segBlocks {
			err := c.s.ReadAt(n, p, int64(b)*block)
			if want := c.live[n][b]; want != (err == nil) || !want && !fail.Is(err, fail.Corrupt) {
				return fail.New(fail.Other, "segment %d block %d, alive %v: %v", n, b, want, err)
			}
			if err == nil && genuine(n, b, p) != nil {
				return fail.New(fail.Other, "segment %d block %d holds other bytes", n, b)
			}
		}
	}
	return nil
}
