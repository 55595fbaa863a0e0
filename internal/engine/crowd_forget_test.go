package engine_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// forgot is nil for an error that says that a moment is forgotten.
func forgot(err error) error {
	if fail.Is(err, fail.OutsideHistory) {
		return nil
	}
	return err
}

// forgetters move the horizons of the volumes that are written, and make snapshots
// of the past, and clones of these, while they may. It returns how many horizons
// moved, and how many clones were looked at.
func forgetters(c *crowd, writers []*writer, seed uint64) (pruned, cloned *atomic.Int64) {
	pruned, cloned = &atomic.Int64{}, &atomic.Int64{}
	rng := rand.New(rand.NewPCG(seed, 300))
	c.do("prune", func() error {
		time.Sleep(5 * time.Millisecond)
		name := fmt.Sprintf("d%d", rng.IntN(3))
		m, err := c.e.Resolve(name, when.Spec{Kind: when.Now})
		if err != nil {
			return err
		}
		before := atLSN(m.LSN - min(m.LSN, rng.Uint64N(2000)))
		r, err := c.e.Prune(tester, name, engine.PruneOptions{Before: &before})
		if err == nil && r[0].LSN > 0 {
			pruned.Add(1)
		}
		return forgot(err)
	})
	serial := 0
	c.do("past", func() error {
		serial++
		d := serial % 3
		name, label, clone := fmt.Sprintf("d%d", d), fmt.Sprintf("p%d", serial), fmt.Sprintf("pc%d", serial)
		from := counts(writers)
		m, err := c.e.Resolve(name, when.Spec{Kind: when.Now})
		if err != nil {
			return err
		}
		to := counts(writers)
		time.Sleep(2 * time.Millisecond) // so that it is the past
		if _, err := c.e.SnapshotAt(tester, name, label, atLSN(m.LSN)); err != nil {
			return forgot(err)
		}
		spec := when.Spec{Kind: when.Snapshot, Name: label}
		if err := c.lookPast(name, spec, writers, d, from, to); err != nil {
			return err
		}
		if serial%2 == 0 { // else it is not on disk yet
			if err := c.e.Checkpoint(); err != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := c.e.Clone(tester, name, spec, clone); err != nil {
			return err
		}
		if err := c.lookPast(clone, when.Spec{Kind: when.Now}, writers, d, from, to); err != nil {
			return err
		}
		cloned.Add(1)
		if _, err := c.e.Destroy(tester, clone, true); err != nil {
			return err
		}
		_, err = c.e.DestroySnapshot(tester, name, label)
		return err
	})
	return pruned, cloned
}
