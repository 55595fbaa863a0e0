package vm

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"varve/test/daemon"
)

// server is a pool and the varve that serves it to the guest.
type server struct {
	daemon.Pool
	t       *testing.T
	port    string // of NBD, on the loopback
	args    []string
	running *daemon.Server
}

// serve makes a pool and serves it until the end of the test.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	bin, err := daemon.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A socket's name is short, the test's own directory may not be.
	pools, err := os.MkdirTemp("", "varve-vm-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Pool: daemon.Pool{Bin: bin, Dir: filepath.Join(pools, "p")}, t: t, port: freePort(t), args: args}
	s.varve("init", s.Dir)
	s.start()
	t.Cleanup(func() {
		s.running.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", s.running.Log())
		}
		os.RemoveAll(pools)
	})
	return s
}

// freePort finds a port that nobody listens on. The server takes the same one
// again after each restart.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *server) start() {
	s.t.Helper()
	var err error
	if s.running, err = s.Serve(append([]string{"--http", "none", "--nbd", "127.0.0.1:" + s.port}, s.args...)...); err != nil {
		s.t.Fatal(err)
	}
	if err := s.running.WaitReady(s.Socket(), 30*time.Second); err != nil {
		s.t.Fatal(err)
	}
}

// varve runs a command that must succeed.
func (s *server) varve(args ...string) string {
	s.t.Helper()
	out, err := s.Run(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// mapped returns the bytes that a volume holds.
func (s *server) mapped(volume string) int64 {
	s.t.Helper()
	var shown struct {
		Mapped *int64 `json:"mapped"`
	}
	if err := json.Unmarshal([]byte(s.varve("show", volume, "--json")), &shown); err != nil || shown.Mapped == nil {
		s.t.Fatalf("varve show %s --json names nothing mapped: %v", volume, err)
	}
	return *shown.Mapped
}

// status returns the newest operation of the pool and the number of clients.
func (s *server) status() (lastLSN uint64, clients int) {
	s.t.Helper()
	var shown struct {
		Pool struct {
			LastLSN uint64 `json:"last_lsn"`
		} `json:"pool"`
		Server struct {
			Clients []json.RawMessage `json:"clients"`
		} `json:"server"`
	}
	if err := json.Unmarshal([]byte(s.varve("status", "--json")), &shown); err != nil {
		s.t.Fatal(err)
	}
	if shown.Pool.LastLSN == 0 {
		s.t.Fatal("varve status --json names no last_lsn")
	}
	return shown.Pool.LastLSN, len(shown.Server.Clients)
}

// waitOps returns when the pool has logged so many operations more than from.
func (s *server) waitOps(from, more uint64, limit time.Duration) uint64 {
	s.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		lsn, _ := s.status()
		if lsn >= from+more {
			return lsn
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d operations in %v, want %d", lsn-from, limit, more)
		}
	}
}
