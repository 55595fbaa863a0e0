// Package vm lets the clients inside the real Linux kernel work on the real
// server. Each test boots a Debian guest, has it run scripts, and serves it
// from this machine: what the guest knows as 10.0.2.2 is the loopback here.
package vm

import (
	"archive/tar"
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	bootLimit   = 4 * time.Minute
	replyMargin = 60 * time.Second // beyond a script's own limit
	consoleTail = 8 << 10          // bytes shown of the guest's console
)

// guest is a running virtual machine. Its methods are for one goroutine.
type guest struct {
	t       *testing.T
	qemu    *exec.Cmd
	in      io.WriteCloser
	replies chan string // closed when the machine is gone
	console string      // file with what the guest's kernel said
}

// boot starts a guest that finds the given programs in its path, and ends it
// with the test.
func boot(t *testing.T, programs ...string) *guest {
	t.Helper()
	began := time.Now()
	image := buildImage(t)
	dir := t.TempDir()
	files := filepath.Join(dir, "files.tar")
	pack(t, files, programs)
	g := &guest{t: t, replies: make(chan string), console: filepath.Join(dir, "console")}
	g.qemu = exec.Command("qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1200",
		"-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot",
		"-kernel", filepath.Join(image, "vmlinuz"), "-initrd", filepath.Join(image, "initrd.img"),
		"-append", "console=ttyS0 quiet root=/dev/vda rw init=/vm-init panic=-1 mitigations=off",
		"-drive", "file="+filepath.Join(image, "root.img")+",format=raw,if=virtio,snapshot=on",
		"-drive", "file="+files+",format=raw,if=virtio,readonly=on",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net",
		"-serial", "file:"+g.console,
		"-chardev", "stdio,id=host,signal=off", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=host,name=host")
	// Nothing of ours survives a test that is itself killed.
	g.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs strings.Builder
	g.qemu.Stderr = &errs
	in, err := g.qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.in = in
	g.start()
	t.Cleanup(func() {
		_ = g.qemu.Process.Kill() // it may be gone already
		for range g.replies {
		}
		_ = g.qemu.Wait() // killed
		if errs.Len() > 0 {
			t.Logf("qemu: %s", errs.String())
		}
	})
	go g.read(out)

	ready := g.reply(bootLimit)
	if !strings.HasPrefix(ready, "ready ") {
		t.Fatalf("the guest's first words: %q", ready)
	}
	t.Logf("guest up after %.0f s", time.Since(began).Seconds())
	return g
}

// start keeps the thread that started the machine alive: its death would be
// the machine's.
func (g *guest) start() {
	g.t.Helper()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- g.qemu.Start()
		<-g.t.Context().Done()
	}()
	if err := <-started; err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) read(out io.Reader) {
	defer close(g.replies)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		g.replies <- lines.Text()
	}
}

func (g *guest) reply(limit time.Duration) string {
	g.t.Helper()
	select {
	case line, alive := <-g.replies:
		if !alive {
			g.t.Fatalf("the guest is gone; its console said\n%s", g.tail())
		}
		return line
	case <-time.After(limit):
		g.t.Fatalf("no word from the guest for %v; its console said\n%s", limit, g.tail())
	}
	return ""
}

func (g *guest) tail() string {
	said, err := os.ReadFile(g.console)
	if err != nil {
		return err.Error()
	}
	return string(said[max(0, len(said)-consoleTail):])
}

// begin hands the guest a bash script that runs at most so long; end waits for
// it. Between the two the test may do something to the server.
func (g *guest) begin(limit time.Duration, script string) {
	g.t.Helper()
	line := fmt.Sprintf("%d %s\n", int(limit.Seconds()), base64.StdEncoding.EncodeToString([]byte(script)))
	if _, err := io.WriteString(g.in, line); err != nil {
		g.t.Fatalf("%v; the guest's console said\n%s", err, g.tail())
	}
}

// end returns the script's output, and an error unless its status is 0.
func (g *guest) end(limit time.Duration) (string, error) {
	g.t.Helper()
	code, encoded, _ := strings.Cut(g.reply(limit+replyMargin), " ")
	output, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		g.t.Fatalf("the guest's reply: %v", err)
	}
	if code != "0" {
		return string(output), errors.New("status " + code)
	}
	return string(output), nil
}

// stillBusy fails the test if the script that was begun has ended.
func (g *guest) stillBusy() {
	g.t.Helper()
	select {
	case line := <-g.replies:
		g.t.Fatalf("the guest was done too early: %.200s", line)
	default:
	}
}

// do runs a script that must succeed and returns its output.
func (g *guest) do(limit time.Duration, script string) string {
	g.t.Helper()
	g.begin(limit, script)
	return g.finish(limit)
}

// finish is end for a script that must succeed.
func (g *guest) finish(limit time.Duration) string {
	g.t.Helper()
	out, err := g.end(limit)
	if err != nil {
		g.t.Fatalf("in the guest: %v\n%s\nits console said\n%s", err, out, g.tail())
	}
	return out
}

// number runs a script that prints a number.
func (g *guest) number(limit time.Duration, script string) int64 {
	g.t.Helper()
	out := strings.TrimSpace(g.do(limit, script))
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		g.t.Fatalf("%s: %v", script, err)
	}
	return n
}

// buildImage returns the directory of the guest's kernel and disk.
func buildImage(t *testing.T) string {
	t.Helper()
	var errs strings.Builder
	build := exec.Command("./build.sh")
	build.Stderr = &errs
	out, err := build.Output()
	if err != nil {
		t.Fatalf("building the guest: %v\n%s", err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// buildProgram compiles a program of ours that runs in the guest.
func buildProgram(t *testing.T, name string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", bin, "./"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return bin
}

// pack writes the programs into an archive.
func pack(t *testing.T, name string, programs []string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, p := range programs {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.Base(p), Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
