package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPast: exports of moments equal copies that were taken at the time, live,
// after a kill, and after all that can happen to the disk they belong to.
func TestPast(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "32M")
	copies := map[string]string{} // moment -> a copy taken then
	for i := range 4 {
		qemuIO(t, uri,
			fmt.Sprintf("write -P %d %dM 6M", 0x10+i, i),
			fmt.Sprintf("write -P %d %d 5000", 0x20+i, 7777777+i*3333),
			fmt.Sprintf("discard %dM 1M", 2*i+1), "flush")
		then := copyOut(t, uri)
		copies[fmt.Sprintf("disk0@lsn:%d", l.lastLSN())] = then
		if i%2 == 0 {
			l.varve("snapshot", fmt.Sprintf("disk0@s%d", i))
			copies[fmt.Sprintf("disk0@s%d", i)] = then
		}
	}
	compare := func(when string) {
		t.Run(when, func(t *testing.T) {
			for moment, then := range copies {
				do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", then, l.URI(moment))
			}
		})
	}
	compare("live")
	l.crash()
	compare("after a kill")
	for moment := range copies {
		fails(t, "qemu-io", qemuArgs(l.URI(moment), "write 0 4k")...)
	}

	l.varve("clone", "disk0@s0", "fork")
	copies["fork"] = copies["disk0@s0"]
	compare("with a clone")
	qemuIO(t, l.URI("fork"), "write -P 0x77 0 32M", "flush")
	copies["fork"] = copyOut(t, l.URI("fork"))
	compare("with a changed clone")

	l.varve("rollback", "disk0@s2", "--yes")
	copies["disk0"] = copies["disk0@s2"]
	compare("after a rollback")
	l.varve("rename", "fork", "branch")
	copies["branch"] = copies["fork"]
	delete(copies, "fork")
	l.varve("destroy", "branch", "--yes")
	fails(t, "nbdinfo", l.URI("branch"))
	l.varve("undestroy", "branch")
	compare("after destroy and undestroy")
	l.crash()
	compare("after all of it and a kill")
	l.varve("check", "--data")
	if err := l.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.varve("check", l.Dir, "--data")
	l.start()
	compare("after a proper stop")
}

// TestRollbackUnderWriter: a disk in use is not pulled from under its user,
// unless told so.
func TestRollbackUnderWriter(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "16M")
	qemuIO(t, uri, "write -P 0x11 0 4M", "flush")
	l.varve("snapshot", "disk0@before")

	// qemu-io keeps its connection for as long as its input is open.
	writer := exec.Command("qemu-io", "-f", "raw", uri)
	in, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = writer.Wait() // it has lost its disk
	}()
	fmt.Fprintln(in, "write -P 0x22 0 4M")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := attempt("qemu-io", qemuArgs(uri, "read -P 0x22 0 4M")...); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the writer does not write")
		}
	}
	l.refuses(11, "--force", "rollback", "disk0@before", "--yes")
	qemuIO(t, uri, "read -P 0x22 0 4M")
	l.varve("rollback", "disk0@before", "--yes", "--force")
	qemuIO(t, uri, "read -P 0x11 0 4M")
}

// TestRefusals: what cannot be done says so, by exit status and in words.
func TestRefusals(t *testing.T) {
	l := newLake(t)
	l.volume("disk0", "16M")
	l.varve("snapshot", "disk0@a")
	l.refuses(14, "disk0", "volume", "create", "disk0", "--size", "1M")
	l.refuses(14, "a", "snapshot", "disk0@a")
	l.refuses(10, "nothing", "show", "nothing")
	l.refuses(10, "b", "clone", "disk0@b", "c")
	l.refuses(13, "", "clone", "disk0@2001-01-01", "c")
	l.refuses(64, "", "destroy", "disk0")
	l.refuses(11, "pid", "serve", l.Dir, "--nbd", "none")
	if err := l.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.refuses(18, "varve serve", "list")
	l.start()
}

// TestTour runs what README.md tells a newcomer to paste.
func TestTour(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tour, ok := strings.Cut(string(readme), "\n## A tour\n")
	if ok {
		_, tour, ok = strings.Cut(tour, "```sh\n")
	}
	if ok {
		tour, _, ok = strings.Cut(tour, "```")
	}
	if !ok {
		t.Fatal("README.md has no tour")
	}
	free, err := net.Listen("tcp", tourPort)
	if err != nil {
		t.Fatalf("the tour needs its port for itself: %v", err)
	}
	free.Close()
	out, err := runTour(t, root, tour)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// Where the server cannot start the tour ends, and does not wait for it.
	squatter, err := net.Listen("tcp", tourPort)
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	out, err = runTour(t, root, tour)
	if err == nil || !strings.Contains(out, "in use") || strings.Contains(out, "+ qemu-io") {
		t.Errorf("without its port the tour went on: %v\n%s", err, out)
	}
}

// tourPort is where the tour's programs look for the disks.
const tourPort = "127.0.0.1:10809"

// runTour pastes the tour at the top of the source tree. What it installs and
// writes goes elsewhere.
func runTour(t *testing.T, root, tour string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	modules, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, "bash", "-eux", "-o", "pipefail", "-c", tour)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN=", "GOPATH="+filepath.Join(dir, "go"),
		"GOMODCACHE="+strings.TrimSpace(string(modules)), "VARVE_POOL="+filepath.Join(dir, "pool"), "VARVE_HTTP=none", "VARVE_ISCSI=none")
	// A group of its own, so that a server left behind can be ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may be empty already
	}
	return string(out), err
}
