// Package daemon runs the real varve program for the tests: it builds it,
// starts it on a pool, asks it things through its command line, stops it and
// kills it.
package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build compiles cmd/varve into dir and returns the program's path. With
// VARVE_BIN set, that program is used as it is.
func Build(dir string) (string, error) {
	if bin := os.Getenv("VARVE_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "varve")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/varve")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building varve: %w\n%s", err, out)
	}
	return bin, nil
}

// Root returns the directory of the module, found upwards from the working
// directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
}

// Pool is a pool directory and the program that works on it.
type Pool struct {
	Bin string // path of varve
	Dir string // the pool's directory; keep it short, sockets live in it
}

// Run executes one varve command on the pool and returns its standard output.
// The error holds the exit status and what the command said.
func (p Pool) Run(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(p.Bin, args...)
	cmd.Env = append(os.Environ(), "VARVE_POOL="+p.Dir)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("varve %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Socket is where the pool's server listens for NBD.
func (p Pool) Socket() string { return p.Dir + ".nbd" }

// URI names an export of the pool's server for NBD programs.
func (p Pool) URI(export string) string {
	return "nbd+unix:///" + export + "?socket=" + p.Socket()
}

// Server is a running `varve serve`.
type Server struct {
	cmd     *exec.Cmd
	log     *logBuffer
	done    chan struct{} // closed when the process is gone
	Started time.Time
}

// Serve starts the server on the pool's socket. It returns at once: see
// WaitReady.
func (p Pool) Serve(args ...string) (*Server, error) {
	args = append([]string{"serve", p.Dir, "--nbd", "unix:" + p.Socket()}, args...)
	s := &Server{cmd: exec.Command(p.Bin, args...), log: new(logBuffer), done: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "VARVE_HTTP=none", "VARVE_NFS=none", "VARVE_ISCSI=none") // unless args say otherwise: servers run beside each other
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// Nothing of ours survives a test that is itself killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.Started = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // the exit status stays in ProcessState
		close(s.done)
	}()
	return s, nil
}

// WaitReady returns when the server greets NBD clients at socket, or an error
// with the server's log when it is gone or the time is over.
func (s *Server) WaitReady(socket string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		if err := greeted(socket); err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the server ended: %v\n%s", s.cmd.ProcessState, s.log)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no greeting at %s within %v\n%s", socket, timeout, s.log)
		}
	}
}

func greeted(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	var magic [8]byte
	if _, err := io.ReadFull(c, magic[:]); err != nil {
		return err
	}
	if string(magic[:]) != "NBDMAGIC" {
		return fmt.Errorf("greeting %q", magic)
	}
	return nil
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.done
}

// Stop asks the server to end (SIGTERM) and returns an error unless it exits
// with status 0 within the time.
func (s *Server) Stop(timeout time.Duration) error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-time.After(timeout):
		s.Kill()
		return fmt.Errorf("still running %v after SIGTERM\n%s", timeout, s.log)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("exit status %d after SIGTERM\n%s", code, s.log)
	}
	return nil
}

// Alive reports whether the process still runs.
func (s *Server) Alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// PID is the server's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log returns the end of what the server printed.
func (s *Server) Log() string { return s.log.String() }

// logBuffer keeps the last part of a log.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte
}

const keptLog = 64 << 10

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if over := len(b.buf) - keptLog; over > 0 {
		b.buf = append(b.buf[:0], b.buf[over:]...)
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}
