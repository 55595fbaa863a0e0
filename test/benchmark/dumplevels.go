package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"varve/test/daemon"
)

// levelSizes are how many files shares have whose level 1 is compared: what it takes
// is to depend on what changed alone.
var levelSizes = []int{10_000, 100_000, 300_000}

// levels measures level 1 after ten changed files, in shares of several sizes, by turns.
func (d *dumping) levels(ctx context.Context) (claims []claim, notes []string, err error) {
	took, first := make([][]float64, len(levelSizes)), make([][]float64, len(levelSizes))
	for round := range d.rounds + 1 { // the first is not counted: it fills caches
		for n, files := range levelSizes {
			pool := daemon.Pool{Bin: d.bin, Dir: filepath.Join(d.dir, fmt.Sprintf("levels-%d", files))}
			if round == 0 {
				if err := d.prepareLevels(pool, files); err != nil {
					return nil, nil, err
				}
			}
			t, f, err := d.level1(ctx, pool, round)
			if err != nil {
				return nil, nil, err
			}
			if round > 0 {
				took[n], first[n] = append(took[n], t...), append(first[n], f)
				fmt.Fprintf(os.Stderr, "round %d  level 1 of %6d files  %.4f s\n", round, files, middle(t))
			}
		}
	}
	for n, files := range levelSizes {
		claims = append(claims, claim{fmt.Sprintf("level 1 of %d files after 10 changed", files), false, 100, 1000 * middle(took[n]), " ms"})
		notes = append(notes, fmt.Sprintf("The first level 1 of %d files after a restart, which scans the inodes of its level 0: %.0f ms", files, 1000*middle(first[n])))
	}
	last := len(levelSizes) - 1
	ratio := middle(took[last]) / middle(took[0])
	return append(claims, claim{fmt.Sprintf("level 1 of %d files / of %d", levelSizes[last], levelSizes[0]), false, 1.5, ratio, ""}), notes, nil
}

// prepareLevels makes a pool with a share of so many small files.
func (d *dumping) prepareLevels(pool daemon.Pool, files int) error {
	if _, err := os.Stat(pool.Dir); err == nil {
		return nil // kept
	}
	fmt.Fprintf(os.Stderr, "making a share of %d files\n", files)
	if _, err := pool.Run("init", pool.Dir); err != nil {
		return err
	}
	t := newDumpTree(files)
	t.most = 512
	return loadShare(pool.Dir, "home", t)
}

// level1 makes a base, and a few times changes ten files and dumps level 1; at last as
// the first thing that a server does.
func (d *dumping) level1(ctx context.Context, pool daemon.Pool, round int) (took []float64, first float64, err error) {
	s, err := d.serve(pool)
	if err != nil {
		return nil, 0, err
	}
	defer func() { s.Kill() }()
	if _, err := d.run(ctx, pool, d.bin, "dump", "-0u", "-f", "/dev/null", "home"); err != nil {
		return nil, 0, err
	}
	for turn := range 3 {
		for n := range 10 {
			from := fmt.Sprintf("home:/directory-%05d/some-file-%06d.ext", 0, n+(round+turn)%2)
			to := fmt.Sprintf("home:/changed-%d", n)
			if _, err := d.run(ctx, pool, d.bin, "cp", "--force", from, to); err != nil {
				return nil, 0, err
			}
		}
		t, err := d.run(ctx, pool, d.bin, "dump", "-1", "-f", "/dev/null", "home")
		if err != nil {
			return nil, 0, err
		}
		took = append(took, t)
	}
	s.Kill()
	again, err := d.serve(pool)
	if err != nil {
		return nil, 0, err
	}
	s = again
	first, err = d.run(ctx, pool, d.bin, "dump", "-1", "-f", "/dev/null", "home")
	return took, first, err
}
