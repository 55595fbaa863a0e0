package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/internal/engine"
	"varve/internal/when"
)

const gib = 1 << 30

// mapped writes single blocks all over a large thin volume until 20 GiB of it
// are mapped, and watches the memory of the server. Steps choose their blocks
// anew, so some are written twice.
func mapped(ctx context.Context, st *stage) error {
	const size, step = 128 * gib, 2 * gib
	s, err := st.serve("mapped", size)
	if err != nil {
		return err
	}
	goal := st.of(20 * gib)
	for seed := int64(1); seed <= 2*goal/step+2; seed++ {
		one, err := fio(ctx, s.uri, size, 10*time.Minute, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--norandommap=1",
			fmt.Sprintf("--io_size=%d", min(step, goal)), "--randrepeat=0", fmt.Sprintf("--randseed=%d", seed))
		if err != nil {
			return err
		}
		info, err := s.client().Dataset(ctx, "disk0")
		if err != nil {
			return err
		}
		top, now, err := s.memory()
		if err != nil {
			return err
		}
		st.note("mapped: %5.1f GiB in single blocks, %.0f IOPS, resident at most %.0f MiB, now %.0f", float64(info.Mapped)/gib, one.perSecond, top, now)
		if info.Mapped >= uint64(goal) {
			st.claim(false, 400, top, " MiB", "resident memory with %.1f GiB of single blocks mapped", float64(info.Mapped)/gib)
			return nil
		}
	}
	return errors.New("the volume does not fill")
}

// logged measures what is written for random blocks: in a first pass over an
// empty disk, which leaves every block an extent of its own, and in what
// follows on that.
func logged(ctx context.Context, st *stage, interval string, args ...string) error {
	size := st.of(16*gib) &^ 4095
	s, err := st.serve("log", size, args...)
	if err != nil {
		return err
	}
	client := s.client()
	if _, err := client.Set(ctx, "disk0", "history", "all"); err != nil { // on a small disk a fifth of the pool is less than what is written
		return err
	}
	random := []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}
	first, err := fio(ctx, s.uri, size, 30*time.Minute, append(random, "--end_fsync=1")...)
	if err != nil {
		return err
	}
	filled, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if err := settle(); err != nil {
		return err
	}
	length := st.of(60)
	then, err := fio(ctx, s.uri, size, 10*time.Minute, append(random, "--time_based", fmt.Sprintf("--runtime=%d", length), "--randrepeat=0", "--randseed=7")...)
	if err != nil {
		return err
	}
	end, err := client.Status(ctx)
	if err != nil {
		return err
	}
	a, b := filled.Pool, end.Pool
	per := func(log, payload int64) float64 { return float64(log) / float64(payload) }
	st.note("log, interval %s: first pass over %.1f GiB at %.0f IOPS: %.2f log bytes per byte of payload, nodes %.2f",
		interval, float64(size)/gib, first.perSecond, per(a.LogBytes, a.PayloadBytes), per(a.NodeBytes, a.PayloadBytes))
	payload := b.PayloadBytes - a.PayloadBytes
	st.note("log, interval %s: %.1f GiB more at %.0f IOPS: %.2f log bytes per byte of payload, nodes %.2f; a checkpoint each %.2f s",
		interval, float64(payload)/gib, then.perSecond, per(b.LogBytes-a.LogBytes, payload), per(b.NodeBytes-a.NodeBytes, payload),
		float64(length)/float64(b.Checkpoint-a.Checkpoint))
	st.claim(false, 1.5, per(a.LogBytes, a.PayloadBytes), "", "log bytes per byte of payload, first pass, interval %s", interval)
	st.claim(false, 1.5, per(b.LogBytes-a.LogBytes, payload), "", "log bytes per byte of payload, every block an extent, interval %s", interval)
	return retained(ctx, st, s, interval, b.PayloadBytes)
}

// retained counts the nodes that history needs: those that some base has and
// the last checkpoint does not.
func retained(ctx context.Context, st *stage, s *server, interval string, payload int64) error {
	client := s.client()
	disk, err := client.Dataset(ctx, "disk0")
	if err != nil {
		return err
	}
	checkpoints, err := client.Checkpoints(ctx)
	if err != nil {
		return err
	}
	nodes := map[string]bool{}
	collect := func(c engine.CheckpointInfo) error {
		return second(client.Tree(ctx, "disk0", when.Spec{Kind: when.Checkpoint, Checkpoint: c.Number}, func(n engine.NodeInfo) error {
			nodes[n.Addr] = true
			return nil
		}))
	}
	if err := collect(checkpoints[len(checkpoints)-1]); err != nil {
		return err
	}
	present, bases := len(nodes), 0
	for _, c := range checkpoints {
		if !c.Base || c.LSN < disk.CreatedLSN {
			continue
		}
		bases++
		if err := collect(c); err != nil {
			return err
		}
	}
	const node = 4096
	bytes := float64(len(nodes)-present) * node
	st.note("log, interval %s: the tree has %d nodes (%d MiB); %d bases among %d checkpoints need %.0f MiB more",
		interval, present, present*node>>20, bases, len(checkpoints), bytes/(1<<20))
	st.claim(false, 20, 100*bytes/float64(payload), " %", "node bytes that history retains / payload, interval %s", interval)
	return nil
}
