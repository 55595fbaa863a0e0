package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// The pools that space compares: the same disk in one that has to reclaim all the
// time and in one that never has to.
const (
	spaceDisk  = 1 * gib
	spaceTight = 6 * gib
	spaceAmple = 24 * gib
)

// space measures what reclaiming costs those who write: random blocks in a pool
// that is short of space all the time, and in one that is not.
func space(ctx context.Context, args []string) error {
	c := newCommand("space", ", with 33 GiB free").withRounds(3, "times that the pools take turns").withSeconds(10)
	if err := c.Parse(args); err != nil {
		return err
	}
	if err := provide(need{"fio", "fio"}); err != nil {
		return err
	}
	return c.check(ctx, spaceTight+spaceAmple+2*gib, 100, part{"space", reclaiming})
}

// reclaiming compares the two pools.
func reclaiming(ctx context.Context, st *stage) error {
	pools := []*server{}
	for _, p := range []struct {
		name     string
		capacity int64
	}{{"reclaiming", spaceTight}, {"ample", spaceAmple}} {
		s, err := st.spacePool(ctx, p.name, p.capacity)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		pools = append(pools, s)
	}
	all := results{}
	w := workload{name: rndWrite, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=32", "--randrepeat=0"}}
	o := options{second: st.second, size: spaceDisk}
	for round := range st.rounds {
		for s := range inTurn(pools, round) {
			before, err := s.client().Status(ctx)
			if err != nil {
				return err
			}
			one, err := w.run(ctx, s, o)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all.add(w.name, s.name, one)
			after, err := s.client().Status(ctx)
			if err != nil {
				return err
			}
			a, b := before.Pool, after.Pool
			st.note("round %d, %s: %.0f IOPS, p99 %.0f us; %d MiB written, %d %% of the pool free before, %d %% after, cleaner %s",
				round+1, s.name, one.perSecond, one.p99, (b.PayloadBytes-a.PayloadBytes)>>20,
				a.FreeBytes*100/a.CapacityBytes, b.FreeBytes*100/b.CapacityBytes, b.Cleaner)
		}
	}
	tight, _ := all.median(w, pools[0].name)
	ample, _ := all.median(w, pools[1].name)
	st.claim(true, 0.9, tight.perSecond/ample.perSecond, "", "%s while reclaiming (%.0f IOPS) / without (%.0f)", w.name, tight.perSecond, ample.perSecond)
	return nil
}

// spacePool serves a pool with a full disk whose history is a moment, and writes
// at random until one that is small is short of space.
func (st *stage) spacePool(ctx context.Context, name string, capacity int64) (*server, error) {
	s, err := servePoolOf(st.bin, filepath.Join(st.dir, name), []string{"--capacity", fmt.Sprint(capacity)}, spaceDisk, "--checkpoint-interval", "1s")
	if err != nil {
		return nil, err
	}
	s.name = name
	st.servers = append(st.servers, s)
	for _, p := range []string{"history=2s", "keep=none"} {
		if _, err := s.pool.Run("set", "disk0", p); err != nil {
			return nil, err
		}
	}
	if _, err := fio(ctx, s.uri, spaceDisk, 5*time.Minute, "--rw=write", "--bs=1m", "--iodepth=8", "--end_fsync=1"); err != nil {
		return nil, err
	}
	_, err = fio(ctx, s.uri, spaceDisk, 5*time.Minute, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--norandommap=1",
		fmt.Sprintf("--io_size=%d", spaceTight-spaceDisk), "--end_fsync=1")
	return s, err
}
