package nbd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The clients that people use, against a disk in memory. These tests need
// nbdinfo and nbdcopy (libnbd-bin), nbdsh's module (python3-libnbd), qemu-img
// and qemu-io (qemu-utils), and fio.

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// sparseFile makes a file of 32 MiB with data here and there.
func sparseFile(t *testing.T) (path string, content []byte) {
	content = make([]byte, 32<<20)
	for i, off := range []int{0, 100_000, 4 << 20, 4<<20 + 70_000, 20 << 20, 32<<20 - 5000} {
		copy(content[off:], pattern(5000+i*40_000, uint64(i)))
	}
	path = filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func TestNbdinfo(t *testing.T) {
	_, addr := startServer(t, twoDisks(), Options{})
	var got struct {
		Protocol   string
		Structured bool
		Exports    []struct {
			Name        string `json:"export-name"`
			Description string
			Size        uint64 `json:"export-size"`
			ReadOnly    bool   `json:"is_read_only"`
			Multi       bool   `json:"can_multi_conn"`
			FUA         bool   `json:"can_fua"`
			FastZero    bool   `json:"can_fast_zero"`
			DF          bool   `json:"can_df"`
			Cache       bool   `json:"can_cache"`
			Min         int    `json:"block_size_minimum"`
			Preferred   int    `json:"block_size_preferred"`
			Max         int    `json:"block_size_maximum"`
		}
	}
	out := run(t, "nbdinfo", "--list", "--json", "nbd://"+addr)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.Protocol != "newstyle-fixed" || !got.Structured || len(got.Exports) != 2 {
		t.Fatalf("%s", out)
	}
	e := got.Exports[0]
	if e.Name != "disk0" || e.Size != 1<<20 || e.ReadOnly || e.Description != "a disk — for tests" ||
		!e.Multi || !e.FUA || !e.FastZero || !e.DF || !e.Cache ||
		e.Min != minBlock || e.Preferred != idealBlock || e.Max != maxPayload {
		t.Errorf("disk0: %+v", e)
	}
	if e := got.Exports[1]; e.Name != "disk1@noon" || e.Size != 3<<20 || !e.ReadOnly || e.FastZero {
		t.Errorf("disk1@noon: %+v", e)
	}
}

func TestNbdcopy(t *testing.T) {
	path, content := sparseFile(t)
	d := newMemDisk("d", 32<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	url := "nbd://" + addr + "/d"
	run(t, "nbdcopy", "--flush", path, url)
	if !d.holds(content) {
		t.Error("what nbdcopy wrote is not what it read")
	}
	if d.flushes.Load() == 0 {
		t.Error("no flush")
	}
	for _, cold := range []bool{false, true} {
		d.cold.Store(cold)
		back := filepath.Join(t.TempDir(), "back")
		run(t, "nbdcopy", url, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
			t.Errorf("what nbdcopy read is not what it wrote (cold %v): %v", cold, err)
		}
	}
}

func TestQemuImg(t *testing.T) {
	path, content := sparseFile(t)
	d := newMemDisk("d", 32<<20)
	s := New(&memBackend{disks: []*memDisk{d}}, Options{})
	url := "nbd+unix:///d?socket=" + serveUnix(t, s)
	out := run(t, "qemu-img", "info", "--output=json", url)
	if !strings.Contains(out, fmt.Sprintf(`"virtual-size": %d`, 32<<20)) {
		t.Errorf("qemu-img info: %s", out)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", path, url)
	if !d.holds(content) {
		t.Error("what qemu-img wrote is not what it read")
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", path, url)
	back := filepath.Join(t.TempDir(), "back.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", url, back)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", path, back)
}

func TestQemuIO(t *testing.T) {
	d := newMemDisk("d", 8<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	out := run(t, "qemu-io", "-f", "raw", "-t", "none",
		"-c", "write -P 0x11 0 1M", "-c", "write -f -P 0x22 1000 3000", "-c", "aio_write -P 0x33 2M 4M",
		"-c", "aio_flush", "-c", "write -z 64k 64k", "-c", "write -z -u 128k 64k", "-c", "discard 256k 64k", "-c", "flush",
		"-c", "read -P 0x11 0 1000", "-c", "read -P 0x22 1000 3000", "-c", "read -P 0x33 2M 4M",
		"-c", "read -P 0 64k 128k", "-c", "read -P 0 256k 64k", "-c", "read -P 0x11 320k 64k",
		"nbd://"+addr+"/d")
	if strings.Contains(out, "failed") || strings.Contains(out, "rror") {
		t.Errorf("qemu-io: %s", out)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.stored[64<<10/blockSize] || d.stored[128<<10/blockSize] || d.stored[256<<10/blockSize] {
		t.Error("NO_HOLE, holes and trim are mixed up")
	}
	if d.volatile.Load() != 0 {
		t.Errorf("%d changes were never flushed", d.volatile.Load())
	}
}

// libnbd shows each chunk of a structured read, and what no other program
// sends.
func TestLibnbd(t *testing.T) {
	d := newMemDisk("d", 8<<20)
	ro := newMemDisk("ro", 1<<20)
	ro.info.ReadOnly = true
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d, ro}}, Options{})
	out := run(t, "/usr/bin/python3", "-c", `
import nbd, sys, errno
h = nbd.NBD(); h.set_export_name("d"); h.connect_uri("nbd://`+addr+`/d")
assert h.get_structured_replies_negotiated()
h.pwrite(b"x" * 4096, 8192, nbd.CMD_FLAG_FUA)
h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
h.cache(65536, 0)
seen = []
def chunk(buf, off, kind, err):
    seen.append((kind == nbd.READ_HOLE, off, len(buf)))
h.pread_structured(20480, 0, chunk)
print(seen)
seen = []
h.pread_structured(20480, 0, chunk, nbd.CMD_FLAG_DF)
print(seen)
h.set_strict_mode(0)
def fails(f, *a):
    try:
        f(*a)
    except nbd.Error as e:
        return errno.errorcode[e.errnum]
print(fails(h.pread, 4096, 8 << 20), fails(h.pwrite, b"x" * 4096, 8 << 20), fails(h.trim, 0, 0))
print(fails(h.pread, 33 << 20, 0), fails(h.pwrite, bytes(33 << 20), 0), h.pread(2, 8192))
r = nbd.NBD(); r.set_strict_mode(0); r.connect_uri("nbd://`+addr+`/ro")
r.set_strict_mode(0)
print(fails(r.pwrite, b"x", 0), r.is_read_only())
h.shutdown(); r.shutdown()
`)
	want := `[(False, 0, 4096), (True, 4096, 4096), (False, 8192, 4096), (True, 12288, 8192)]
[(False, 0, 20480)]
EINVAL ENOSPC EINVAL
EINVAL EINVAL bytearray(b'xx')
EPERM True
`
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestFioVerify(t *testing.T) {
	d := newMemDisk("d", 16<<20)
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	run(t, "fio", "--name=verify", "--ioengine=nbd", "--uri=nbd://"+addr+"/d", "--rw=randrw",
		"--bssplit=4k/60:512/20:128k/20", "--iodepth=32", "--size=16m", "--fsync=16", "--verify=crc32c", "--randseed=7")
	if d.flushes.Load() == 0 {
		t.Error("no flush")
	}
}
