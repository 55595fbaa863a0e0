package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"varve/test/daemon"
)

const (
	nameTgt    = "tgt"
	iscsiSize  = 1 << 30 // bytes of the disk
	iscsiVarve = "iqn.2026-11.varve:disk0/0"
	iscsiTgt   = "iqn.2026-11.test:raw/1"
)

var iscsiServers = []string{nameVarve, nameTgt}

// iscsiWorkload is one way to use a disk, and how many times tgt varve is to be
// at it.
type iscsiWorkload struct {
	workload
	times float64
	run   func(ctx context.Context, uri string, second time.Duration) (result, error)
}

// The last writes, so that the reads find what one order of writing left.
var iscsiWorkloads = []iscsiWorkload{
	{workload{name: rndRead}, 1.5, perf("-m", "32", "-b", "8", "-r")},
	{workload{name: seqRead, bytes: true}, 1.2, perf("-m", "8", "-b", "2048")},
	{workload{name: "write-4k"}, 2.5, qemuBench(4096, 32)},
	{workload{name: seqWrite, bytes: true}, 1.5, qemuBench(1<<20, 8)},
}

// perf runs iscsi-perf for a time and takes the mean that it prints last.
func perf(args ...string) func(context.Context, string, time.Duration) (result, error) {
	return func(ctx context.Context, uri string, second time.Duration) (result, error) {
		cmd := exec.CommandContext(ctx, "iscsi-perf", append(slices.Clone(args), "-t", strconv.Itoa(int(second/time.Second)), uri)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return result{}, fmt.Errorf("iscsi-perf: %w: %s", err, out)
		}
		return parsePerf(string(out))
	}
}

var perfLine = regexp.MustCompile(`iops average (\d+) \((\d+) MB/s\)`)

func parsePerf(out string) (result, error) {
	m := perfLine.FindAllStringSubmatch(out, -1)
	if m == nil {
		return result{}, fmt.Errorf("iscsi-perf said %q", out)
	}
	last := m[len(m)-1]
	ops, _ := strconv.ParseFloat(last[1], 64)
	mb, _ := strconv.ParseFloat(last[2], 64)
	return result{perSecond: ops, bytes: mb * 1e6}, nil
}

var benchLine = regexp.MustCompile(`Run completed in ([0-9.]+) seconds`)

// qemuBench writes the disk from its beginning, again and again, for about the
// time: how many requests that takes, a first short run tells.
func qemuBench(size, depth int) func(context.Context, string, time.Duration) (result, error) {
	return func(ctx context.Context, uri string, second time.Duration) (result, error) {
		run := func(count int) (float64, error) {
			cmd := exec.CommandContext(ctx, "qemu-img", "bench", "-w", "-f", "raw", "-t", "none", "-s", strconv.Itoa(size),
				"-d", strconv.Itoa(depth), "-c", strconv.Itoa(count), uri)
			out, err := cmd.CombinedOutput()
			m := benchLine.FindSubmatch(out)
			if err != nil || m == nil {
				return 0, fmt.Errorf("qemu-img bench: %w: %s", err, out)
			}
			return strconv.ParseFloat(string(m[1]), 64)
		}
		probe := max(iscsiSize/16/size, 64)
		took, err := run(probe)
		if err != nil {
			return result{}, err
		}
		count := max(int(float64(probe)*second.Seconds()/max(took, 0.01)), 64)
		if took, err = run(count); err != nil {
			return result{}, err
		}
		rate := float64(count) / max(took, 0.001)
		return result{perSecond: rate, bytes: rate * float64(size)}, nil
	}
}

func iscsiCommand(ctx context.Context, args []string) error {
	c := newCommand("iscsi", ", with 20 GiB free").withRounds(3, eachServer).withSeconds(3).withOnly("run the workloads whose name matches").withServers()
	if err := c.Parse(args); err != nil {
		return err
	}
	if err := provide(need{"tgtd", "tgt"}, need{"iscsi-perf", "libiscsi-bin"}, need{"qemu-img", "qemu-utils"},
		need{"/usr/share/doc/qemu-block-extra", "qemu-block-extra"}); err != nil {
		return err
	}
	leave, err := c.home(20 << 30)
	if err != nil {
		return err
	}
	defer leave()
	all, err := compareISCSI(ctx, c.options)
	if err == nil {
		printClaims(os.Stdout, iscsiReport(os.Stdout, all), nil)
	}
	return err
}

// compareISCSI lets the servers take turns at each workload, on a disk that was
// filled in order and read once.
func compareISCSI(ctx context.Context, o options) (all results, err error) {
	var list []*server
	defer func() {
		err = errors.Join(err, stopAll(list))
	}()
	for _, name := range iscsiServers {
		if !o.who.MatchString(name) {
			continue
		}
		start := startTgt
		if name == nameVarve {
			start = startVarveISCSI
		}
		s, err := start(ctx, o.dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, s)
		for _, how := range []string{"-w", "-q"} { // written, and read once, so that both have it in memory
			out, err := exec.CommandContext(ctx, "qemu-img", "bench", how, "-f", "raw", "-t", "none", "-s", "1048576", "-d", "8", "-c", strconv.Itoa(iscsiSize>>20), s.uri).CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", name, err, out)
			}
		}
	}
	all = results{}
	for _, w := range iscsiWorkloads {
		if !o.only.MatchString(w.name) {
			continue
		}
		for round := range o.rounds {
			for s := range inTurn(list, round) {
				if err := settle(); err != nil {
					return nil, err
				}
				one, err := w.run(ctx, s.uri, o.second)
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", w.name, s.name, err)
				}
				all.add(w.name, s.name, one)
				fmt.Fprintf(os.Stderr, "round %d  %-16s %-8s %9.0f IOPS %7.0f MB/s\n", round+1, w.name, s.name, one.perSecond, one.bytes/1e6)
			}
		}
	}
	return all, nil
}

func startVarveISCSI(_ context.Context, home string) (*server, error) {
	bin, err := daemon.Build(home)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s, err := servePool(bin, filepath.Join(home, "pool"), iscsiSize, "--iscsi", addr)
	if err == nil {
		s.uri = "iscsi://" + addr + "/" + iscsiVarve
	}
	return s, err
}

// startTgt serves a raw file with tgtd, with its own defaults.
func startTgt(ctx context.Context, home string) (*server, error) {
	file := filepath.Join(home, "raw")
	if err := sparse(file, iscsiSize); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	control := strconv.Itoa(os.Getpid()%30000 + 1000)
	cmd := child("tgtd", "-f", "-C", control, "--iscsi", fmt.Sprintf("portal=127.0.0.1:%d", port))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: nameTgt, pid: cmd.Process.Pid, uri: fmt.Sprintf("iscsi://127.0.0.1:%d/%s", port, iscsiTgt),
		stop: func() error { // tgtd takes no signal to end while it has targets
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return nil
		}}
	target, _, _ := strings.Cut(iscsiTgt, "/")
	for _, args := range []string{
		"--lld iscsi --op new --mode target --tid 1 -T " + target,
		"--lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b " + file,
		"--lld iscsi --op bind --mode target --tid 1 -I ALL",
	} {
		if err := tgtadm(ctx, control, args); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

// tgtadm tells a tgtd something, which may still have to begin to listen.
func tgtadm(ctx context.Context, control, args string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.CommandContext(ctx, "tgtadm", append([]string{"-C", control}, strings.Fields(args)...)...).CombinedOutput()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("tgtadm %s: %w: %s", args, err, out)
		}
	}
}

// iscsiReport prints the medians and returns what was claimed.
func iscsiReport(out io.Writer, all results) (claims []claim) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WORKLOAD\tSERVER\tIOPS\tMB/s")
	for _, load := range iscsiWorkloads {
		for _, name := range iscsiServers {
			if r, ok := all.median(load.workload, name); ok {
				fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\n", load.name, name, r.perSecond, r.bytes/1e6)
			}
		}
		ours, ok1 := all.median(load.workload, nameVarve)
		theirs, ok2 := all.median(load.workload, nameTgt)
		if ok1 && ok2 {
			claims = append(claims, claim{load.name + " / " + nameTgt, true, load.times, ours.value(load.workload) / theirs.value(load.workload), ""})
		}
	}
	w.Flush()
	return claims
}
