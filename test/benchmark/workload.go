package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// workload is one way to use a disk, for fio's nbd engine.
type workload struct {
	name  string
	fio   []string
	bytes bool // judged by bytes per second, not by requests
	alone bool // of varve only: the peers have nothing like it
	beat  time.Duration
}

// phase is a state of the disk and the workloads that start from it. Each
// begins with fresh servers whose disk was filled in order, unless bare.
type phase struct {
	name      string
	bare      bool
	scattered bool // after the fill, every block is overwritten in random order
	workloads []workload
}

const (
	seqWrite = "seqwrite-1m"
	seqRead  = "seqread-1m"
	scatRead = "seqread-1m-scattered"
	rndRead  = "randread-4k"
	rndWrite = "randwrite-4k"
	flush1   = "randwrite-4k-flush1"
	flush32  = "randwrite-4k-flush32"
	fourConn = "randwrite-4k-4conn"
	snapshot = "randwrite-4k-snapshots"
)

var phases = []phase{
	{name: "empty disk", bare: true, workloads: []workload{
		{name: seqWrite, fio: []string{"--rw=write", "--bs=1m", "--iodepth=8"}, bytes: true},
	}},
	{name: "freshly filled", workloads: []workload{
		{name: seqRead, fio: []string{"--rw=read", "--bs=1m", "--iodepth=8"}, bytes: true},
		{name: rndRead, fio: []string{"--rw=randread", "--bs=4k", "--iodepth=32"}},
	}},
	{name: "random writes", workloads: []workload{
		{name: rndWrite, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}},
		{name: flush1, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"}},
		{name: flush32, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=32"}},
		{name: fourConn, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=32", "--numjobs=4"}},
		{name: snapshot, fio: []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}, alone: true, beat: time.Second},
	}},
	{name: "overwritten at random", scattered: true, workloads: []workload{
		{name: scatRead, fio: []string{"--rw=read", "--bs=1m", "--iodepth=8"}, bytes: true},
	}},
}

// result is one measurement.
type result struct {
	perSecond float64 // requests
	bytes     float64 // per second
	p50, p99  float64 // of the latency, in microseconds
}

func (r result) value(w workload) float64 {
	if w.bytes {
		return r.bytes
	}
	return r.perSecond
}

var errFio = errors.New("fio failed")

// fio runs one job on a disk and returns what it measured.
func fio(ctx context.Context, uri string, size int64, limit time.Duration, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args = append([]string{"--name=w", "--ioengine=nbd", "--uri=" + uri, "--size=" + strconv.FormatInt(size, 10),
		"--thread", "--group_reporting", "--output-format=json"}, args...)
	cmd := exec.CommandContext(ctx, "fio", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return result{}, fmt.Errorf("%w: %w: %s%s", errFio, err, errs.Bytes(), out.Bytes())
	}
	return parse(out.Bytes())
}

func parse(out []byte) (result, error) {
	type direction struct {
		Total int64   `json:"io_bytes"`
		Bytes float64 `json:"bw_bytes"`
		IOPS  float64 `json:"iops"`
		Clat  struct {
			Percentile map[string]float64 `json:"percentile"`
		} `json:"clat_ns"`
	}
	var report struct {
		Jobs []struct {
			Read  direction `json:"read"`
			Write direction `json:"write"`
			Error int       `json:"error"`
		} `json:"jobs"`
	}
	start := bytes.IndexByte(out, '{') // fio says other things first
	if start < 0 {
		return result{}, fmt.Errorf("%w: no report", errFio)
	}
	if err := json.Unmarshal(out[start:], &report); err != nil {
		return result{}, fmt.Errorf("%w: %w", errFio, err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 {
		return result{}, fmt.Errorf("%w: %s", errFio, out)
	}
	d := report.Jobs[0].Read
	if d.Total == 0 {
		d = report.Jobs[0].Write
	}
	if d.Total == 0 {
		return result{}, fmt.Errorf("%w: nothing was read or written", errFio)
	}
	return result{d.IOPS, d.Bytes, d.Clat.Percentile["50.000000"] / 1e3, d.Clat.Percentile["99.000000"] / 1e3}, nil
}

// heartbeat takes a snapshot at every beat until ctx ends.
func heartbeat(ctx context.Context, s *server, beat time.Duration) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if _, err := s.pool.Run("snapshot", fmt.Sprintf("disk0@beat%d", now.UnixNano())); err != nil {
				return err
			}
		}
	}
}
