package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/internal/httpapi"
	"varve/internal/when"
)

// How many snapshots and clones a crowded pool has, and the disk that they are
// of.
const (
	manySnapshots = 10_000
	manyClones    = 1_000
	crowdDisk     = 2 << 30
	batches       = 40 // in which the snapshots are taken
)

// crowd compares a pool with many snapshots and clones to one that took the
// same writes without them.
func crowd(ctx context.Context, st *stage) error {
	plain, err := st.serve("plain", crowdDisk)
	if err != nil {
		return err
	}
	crowded, err := st.serve("crowded", crowdDisk)
	if err != nil {
		return err
	}
	both := []*server{plain, crowded}
	for _, s := range both {
		if _, err := fio(ctx, s.uri, crowdDisk, 10*time.Minute, "--rw=write", "--bs=1m", "--iodepth=8", "--end_fsync=1"); err != nil {
			return err
		}
	}
	if err := age(ctx, st, plain, crowded); err != nil {
		return err
	}
	if err := breed(ctx, st, crowded); err != nil {
		return err
	}
	for _, s := range both {
		if err := st.reopen(s); err != nil {
			return err
		}
	}
	return rivalry(ctx, st, both)
}

// age lets both pools take the same random writes, and one of them snapshots
// meanwhile.
func age(ctx context.Context, st *stage, plain, crowded *server) error {
	each := int(st.of(manySnapshots)) / batches
	for b := range batches {
		write := []string{"--rw=randwrite", "--bs=4k", "--iodepth=32", "--number_ios=5000", "--rate_iops=10000", "--randrepeat=0", fmt.Sprintf("--randseed=%d", b+1)}
		g, both := errgroup.WithContext(ctx)
		g.Go(func() error { return second(fio(both, crowded.uri, crowdDisk, 10*time.Minute, write...)) })
		g.Go(func() error { return snapshots(both, crowded, b*each, each) })
		if err := g.Wait(); err != nil {
			return err
		}
		if _, err := fio(ctx, plain.uri, crowdDisk, 10*time.Minute, write...); err != nil {
			return err
		}
	}
	return nil
}

func second[T any](_ T, err error) error { return err }

// snapshots takes n snapshots, several at a time, called s0, s1 and so on from
// a number.
func snapshots(ctx context.Context, s *server, from, n int) error {
	client := s.client()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := from; i < from+n; i++ {
		g.Go(func() error {
			return second(client.Snapshot(ctx, "disk0", fmt.Sprintf("s%d", i), httpapi.SnapshotOptions{}))
		})
	}
	return g.Wait()
}

// breed makes clones of snapshots all over the past, each with a block of its
// own.
func breed(ctx context.Context, st *stage, s *server) error {
	client := s.client()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	taken := int(st.of(manySnapshots)) / batches * batches
	for i := range int(st.of(manyClones)) {
		g.Go(func() error {
			name := fmt.Sprintf("c%d", i)
			from := when.Spec{Kind: when.Snapshot, Name: fmt.Sprintf("s%d", i*(manySnapshots/manyClones)%taken)}
			if _, err := client.Clone(ctx, "disk0", from, name, nil); err != nil {
				return err
			}
			write := fmt.Sprintf("write -q -P 1 %d 4k", int64(i)*7919%(crowdDisk>>12)<<12)
			out, err := exec.CommandContext(ctx, "qemu-io", "-f", "raw", "-c", write, s.pool.URI(name)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("qemu-io on %s: %w: %s", name, err, out)
			}
			return nil
		})
	}
	return g.Wait()
}

// reopen starts a server anew, so that what it takes to hold the pool can be
// told from what it took to fill it.
func (st *stage) reopen(s *server) error {
	top, _, err := s.memory()
	if err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	s.stop = func() error { return nil }
	d, err := s.pool.Serve()
	if err != nil {
		return err
	}
	s.pid, s.stop = d.PID(), func() error { return d.Stop(time.Minute) }
	if err := d.WaitReady(s.pool.Socket(), time.Minute); err != nil {
		return err
	}
	st.note("crowd: %s was filled with at most %.0f MiB resident, and opens within %.2f s", s.name, top, time.Since(d.Started).Seconds())
	return nil
}

// rivalry measures both pools in turns. The first turn warms up and is not
// counted.
func rivalry(ctx context.Context, st *stage, both []*server) error {
	all, w := results{}, workload{name: rndWrite}
	for round := range st.rounds + 1 {
		for s := range inTurn(both, round) {
			if err := settle(); err != nil {
				return err
			}
			one, err := fio(ctx, s.uri, crowdDisk, st.second+10*time.Minute, "--rw=randwrite", "--bs=4k", "--iodepth=32",
				"--time_based", fmt.Sprintf("--runtime=%d", st.second/time.Second), "--randrepeat=0", fmt.Sprintf("--randseed=%d", 100+round))
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "round %d  %-10s %9.0f IOPS  p99 %.0f us\n", round, s.name, one.perSecond, one.p99)
			if round > 0 {
				all.add(w.name, s.name, one)
			}
		}
	}
	plain, _ := all.median(w, both[0].name)
	crowded, _ := all.median(w, both[1].name)
	var top, now [2]float64
	for i, s := range both {
		var err error
		if top[i], now[i], err = s.memory(); err != nil {
			return err
		}
	}
	snaps, clones := st.of(manySnapshots)/batches*batches, st.of(manyClones)
	st.note("crowd: %.0f IOPS with %d snapshots and %d clones, %.0f without; resident at most %.0f MiB (%.0f now) with, %.0f (%.0f) without",
		crowded.perSecond, snaps, clones, plain.perSecond, top[1], now[1], top[0], now[0])
	st.claim(true, 95, 100*crowded.perSecond/plain.perSecond, " %", "randwrite-4k with %d snapshots and %d clones / without", snaps, clones)
	st.claim(false, 32, top[1]-top[0], " MiB", "memory that %d snapshots and %d clones cost", snaps, clones)
	return nil
}

// listing measures how long it takes to list many snapshots.
func listing(ctx context.Context, st *stage) error {
	s, err := st.serve("list", crowdDisk)
	if err != nil {
		return err
	}
	n := int(st.of(manySnapshots))
	if err := snapshots(ctx, s, 0, n); err != nil {
		return err
	}
	var took []time.Duration
	for range 20 {
		began := time.Now()
		out, err := s.pool.Run("list", "-t", "snapshot", "-H")
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if lines := strings.Count(out, "\n"); lines != n {
			return fmt.Errorf("%d snapshots listed of %d", lines, n)
		}
	}
	st.claim(false, 100, float64(middle(took))/1e6, " ms", "varve list -t snapshot, of %d", n)
	return nil
}
