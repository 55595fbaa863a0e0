package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"varve/test/daemon"
)

// server is varve or a peer, serving an empty disk.
type server struct {
	name string
	uri  string
	pid  int
	pool *daemon.Pool // of varve
	stop func() error
}

// inTurn goes through the servers; who goes first changes from round to round.
func inTurn(servers []*server, round int) iter.Seq[*server] {
	return func(yield func(*server) bool) {
		for i := range servers {
			if !yield(servers[(i+round)%len(servers)]) {
				return
			}
		}
	}
}

func stopAll(servers []*server) (err error) {
	for _, s := range servers {
		err = errors.Join(err, s.stop())
	}
	return err
}

// kind is a way to start a server in a directory of its own.
type kind struct {
	name  string
	flush string // what a FLUSH does, so that equals are compared
	start func(ctx context.Context, bin, dir string, size int64) (*server, error)
}

const (
	nameVarve  = "varve"
	nameRaw    = "qemu-nbd raw"
	nameQcow2  = "qemu-nbd qcow2"
	nameNbdkit = "nbdkit file"
)

var kinds = []kind{
	{nameVarve, "group commit, one synced write to the log", startVarve},
	{nameRaw, "fdatasync of the file", startRaw},
	{nameQcow2, "fdatasync of the overlay, metadata first", startQcow2},
	{nameNbdkit, "fdatasync of the file", startNbdkit},
}

func startVarve(_ context.Context, bin, dir string, size int64) (*server, error) {
	return servePool(bin, filepath.Join(dir, "pool"), size, "--checkpoint-interval", "1s")
}

// servePool makes a pool with a thin volume disk0 and serves it.
func servePool(bin, dir string, size int64, args ...string) (*server, error) {
	return servePoolOf(bin, dir, nil, size, args...)
}

// servePoolOf is servePool with more to say of how the pool is made.
func servePoolOf(bin, dir string, init []string, size int64, args ...string) (*server, error) {
	pool := daemon.Pool{Bin: bin, Dir: dir}
	if _, err := pool.Run(append([]string{"init", pool.Dir}, init...)...); err != nil {
		return nil, err
	}
	d, err := pool.Serve(args...)
	if err != nil {
		return nil, err
	}
	err = d.WaitReady(pool.Socket(), 10*time.Second)
	if err == nil {
		_, err = pool.Run("volume", "create", "disk0", "--size", strconv.FormatInt(size, 10))
	}
	if err != nil {
		d.Kill()
		return nil, err
	}
	return &server{name: nameVarve, uri: pool.URI("disk0"), pid: d.PID(), pool: &pool,
		stop: func() error { return d.Stop(60 * time.Second) }}, nil
}

func startRaw(ctx context.Context, _, dir string, size int64) (*server, error) {
	file := filepath.Join(dir, "raw")
	if err := sparse(file, size); err != nil {
		return nil, err
	}
	return startPeer(nameRaw, dir, "qemu-nbd", "-f", "raw", "-t", "-e", "8", "-k", filepath.Join(dir, "s"), "--cache=writeback", file)
}

// startQcow2 serves what qemu offers for disks with a past: an overlay on a
// backing file.
func startQcow2(ctx context.Context, _, dir string, size int64) (*server, error) {
	base, file := filepath.Join(dir, "base"), filepath.Join(dir, "qcow2")
	if err := sparse(base, size); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu-img create: %w: %s", err, out)
	}
	return startPeer(nameQcow2, dir, "qemu-nbd", "-f", "qcow2", "-t", "-e", "8", "-k", filepath.Join(dir, "s"), "--cache=writeback", file)
}

func startNbdkit(ctx context.Context, _, dir string, size int64) (*server, error) {
	file := filepath.Join(dir, "raw")
	if err := sparse(file, size); err != nil {
		return nil, err
	}
	return startPeer(nameNbdkit, dir, "nbdkit", "-f", "-U", filepath.Join(dir, "s"), "file", file)
}

func sparse(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// startPeer runs a server that listens at dir/s.
func startPeer(name, dir, program string, args ...string) (*server, error) {
	cmd := child(program, args...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	s := &server{name: name, uri: "nbd+unix:///?socket=" + socket, pid: cmd.Process.Pid, stop: func() error { return end(cmd) }}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// A polite probe: one that only connects makes the peers complain.
		out, err := exec.Command("nbdinfo", "--size", s.uri).CombinedOutput()
		if err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s does not answer: %w: %s", program, err, out), s.stop())
		}
	}
}

func (s *server) memory() (top, now float64, err error) { return memory(s.pid) }

// memory returns the most memory that a process has had resident, and what it
// has now, in MiB; page cache not counted.
func memory(pid int) (top, now float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "VmHWM:" && f[0] != "VmRSS:" {
			continue
		}
		kib, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return 0, 0, err
		}
		if f[0] == "VmHWM:" {
			top = kib / 1024
		} else {
			now = kib / 1024
		}
	}
	if top == 0 || now == 0 {
		return 0, 0, fmt.Errorf("no memory of process %d", pid)
	}
	return top, now, nil
}

// amplification says what varve has written for what it was given.
func (s *server) amplification() (string, error) {
	out, err := s.pool.Run("status", "--json")
	if err != nil {
		return "", err
	}
	var st struct {
		Pool struct {
			Log     int64 `json:"log_bytes"`
			Payload int64 `json:"payload_bytes"`
			Node    int64 `json:"node_bytes"`
		} `json:"pool"`
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return "", fmt.Errorf("varve status: %w", err)
	}
	if st.Pool.Payload == 0 {
		return "", errors.New("varve status names no payload")
	}
	return fmt.Sprintf("log bytes per byte of payload %.2f, of them nodes %.2f",
		float64(st.Pool.Log)/float64(st.Pool.Payload), float64(st.Pool.Node)/float64(st.Pool.Payload)), nil
}
