// Package interop lets programs that no one here wrote work on the real
// server: nbdinfo, nbdcopy, qemu-img, qemu-io, fio, mke2fs, fsck, and libnfs's
// nfs-cp, nfs-cat, nfs-ls. What those never ask of a share, the tests' own
// client of NFS asks.
package interop

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/test/daemon"
)

var program string // the varve under test

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "varve-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sweepMemory()
	// mke2fs and fsck live where a user's PATH may not look.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if program, err = daemon.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// lake is a pool with its server, for one test.
type lake struct {
	daemon.Pool
	t      *testing.T
	server *daemon.Server
	args   []string
}

// newLake makes a pool and serves it.
func newLake(t *testing.T, args ...string) *lake {
	t.Helper()
	dir, err := os.MkdirTemp("", "varve-lake-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{Pool: daemon.Pool{Bin: program, Dir: filepath.Join(dir, "p")}, t: t, args: args}
	l.varve("init", l.Dir)
	l.start()
	t.Cleanup(func() {
		l.server.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", l.server.Log())
		}
		os.RemoveAll(dir)
	})
	return l
}

func (l *lake) start() {
	l.t.Helper()
	var err error
	if l.server, err = l.Serve(l.args...); err != nil {
		l.t.Fatal(err)
	}
	if err := l.server.WaitReady(l.Socket(), 10*time.Second); err != nil {
		l.t.Fatal(err)
	}
}

// crash kills the server and starts it again.
func (l *lake) crash() {
	l.t.Helper()
	l.server.Kill()
	l.start()
}

// varve runs a command that must succeed.
func (l *lake) varve(args ...string) string {
	l.t.Helper()
	out, err := l.Run(args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// refuses runs a command that must end with that exit status, and whose
// message must hold the words.
func (l *lake) refuses(status int, words string, args ...string) {
	l.t.Helper()
	_, err := l.Run(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status || !strings.Contains(err.Error(), words) {
		l.t.Errorf("varve %s: %v; want exit status %d and %q", strings.Join(args, " "), err, status, words)
	}
}

// lastLSN returns the newest operation of the pool.
func (l *lake) lastLSN() uint64 {
	l.t.Helper()
	var status struct {
		Pool struct {
			LastLSN uint64 `json:"last_lsn"`
		} `json:"pool"`
	}
	if err := json.Unmarshal([]byte(l.varve("status", "--json")), &status); err != nil {
		l.t.Fatal(err)
	}
	if status.Pool.LastLSN == 0 {
		l.t.Fatal("varve status --json names no last_lsn")
	}
	return status.Pool.LastLSN
}

// volume makes a volume and returns the URI of its export.
func (l *lake) volume(name, size string) string {
	l.t.Helper()
	l.varve("volume", "create", name, "--size", size)
	return l.URI(name)
}

// do runs a program that must succeed and returns what it printed.
func do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := attempt(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func attempt(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// fails runs a program that must not succeed.
func fails(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := attempt(name, args...); err == nil {
		t.Errorf("%s %s succeeded:\n%s", name, strings.Join(args, " "), out)
	}
}

// qemuIO runs qemu-io commands, in order, on a raw disk.
func qemuIO(t *testing.T, uri string, commands ...string) {
	t.Helper()
	do(t, "qemu-io", qemuArgs(uri, commands...)...)
}

func qemuArgs(uri string, commands ...string) []string {
	args := []string{"-f", "raw"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return append(args, uri)
}

// pattern writes a file of size bytes that repeats nowhere, with a hole in the
// middle, and returns its name.
func pattern(t *testing.T, size int64, seed string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pattern")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8(sha256.Sum256([]byte(seed))), size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, size/4/4096*4096), size/2/4096*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// sameFile compares two files.
func sameFile(t *testing.T, a, b string) {
	t.Helper()
	do(t, "cmp", a, b)
}

// copyOut copies an export into a new file.
func copyOut(t *testing.T, uri string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "out")
	do(t, "nbdcopy", uri, name)
	return name
}
