package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNbdinfo(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "48M")
	l.volume("other", "1G")
	l.varve("snapshot", "disk0@dawn")

	if size := strings.TrimSpace(do(t, "nbdinfo", "--size", uri)); size != fmt.Sprint(48<<20) {
		t.Errorf("nbdinfo --size: %s", size)
	}
	e := info(t, uri)[0]
	for _, can := range []string{"can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_cache", "can_df", "can_multi_conn"} {
		if e[can] != true {
			t.Errorf("nbdinfo: %s is %v", can, e[can])
		}
	}
	if e["is_read_only"] != false || e["block_size_minimum"] != 1.0 || e["block_size_preferred"] != 4096.0 || e["block_size_maximum"] != float64(32<<20) {
		t.Errorf("nbdinfo: %v", e)
	}
	if e := info(t, l.URI("disk0@dawn"))[0]; e["is_read_only"] != true {
		t.Errorf("nbdinfo of a snapshot: %v", e)
	}
	var names []string
	for _, e := range info(t, "--list", uri) {
		names = append(names, fmt.Sprint(e["export-name"]))
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "disk0") || !strings.Contains(got, "other") {
		t.Errorf("nbdinfo --list: %s", got)
	}
	for _, unknown := range []string{"nothing", "disk0@nothing", "disk0@lsn:99999999", "disk0@2001-01-01", strings.Repeat("x", 4000)} {
		fails(t, "nbdinfo", l.URI(unknown))
	}
}

func info(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	var v struct {
		Exports []map[string]any `json:"exports"`
	}
	out := do(t, "nbdinfo", append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.Exports) == 0 {
		t.Fatalf("nbdinfo %v: %v\n%s", args, err, out)
	}
	return v.Exports
}

// TestTCP: the server on a TCP port, beside its unix socket.
func TestTCP(t *testing.T) {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLake(t, "--nbd", addr)
	l.volume("disk0", "16M")
	in := pattern(t, 16<<20, t.Name())
	do(t, "nbdcopy", "--flush", in, "nbd://"+addr+"/disk0")
	sameFile(t, in, copyOut(t, l.URI("disk0")))
}

func TestNbdcopy(t *testing.T) {
	l := newLake(t)
	in := pattern(t, 96<<20, t.Name())
	for i, how := range [][]string{
		{"--flush"},
		{"--flush", "--connections=4", "--requests=64"},
		{"--flush", "--synchronous", "--request-size=262144"},
		{"--flush", "--request-size=33554432", "--requests=2"}, // the longest allowed
		{"--flush", "--allocated"},
		{"--flush", "--destination-is-zero"},
	} {
		t.Run(strings.Join(how, " "), func(t *testing.T) {
			uri := l.volume(fmt.Sprintf("disk%d", i), "96M")
			do(t, "nbdcopy", append(how, in, uri)...)
			sameFile(t, in, copyOut(t, uri))
		})
	}
	// From one volume straight into another.
	uri := l.volume("copy", "96M")
	do(t, "nbdcopy", "--flush", l.URI("disk0"), uri)
	l.crash()
	sameFile(t, in, copyOut(t, uri))
}

func TestQemuImg(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "64M")
	in := pattern(t, 64<<20, t.Name())
	do(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", in, uri)
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)
	out := filepath.Join(t.TempDir(), "out.qcow2")
	do(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, out)
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", in, out)
	l.crash()
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)
	qemuIO(t, uri, "write -P 0xee 12345 777")
	fails(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)
}

func TestQemuIO(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "64M")
	for _, c := range []struct {
		name     string
		commands []string
	}{
		{"write", []string{"write -P 0x11 0 4M", "read -P 0x11 0 4M", "read -P 0 4M 4M"}},
		{"overwrite", []string{"write -P 0x22 1M 64k", "read -P 0x11 0 1M", "read -P 0x22 1M 64k", "read -P 0x11 1114112 64k"}},
		{"unaligned", []string{"write -P 0x33 8000001 4097", "read -P 0x33 8000001 4097", "read -P 0 7999999 2", "read -P 0 8004098 2"}},
		{"one byte", []string{"write -P 0x44 9000000 1", "read -P 0x44 9000000 1", "read -P 0 9000001 511", "read -P 0 8999999 1"}},
		{"FUA", []string{"write -f -P 0x55 10M 1M", "read -P 0x55 10M 1M"}},
		{"discard", []string{"write -P 0x66 12M 2M", "discard 12M 1M", "read -P 0 12M 1M", "read -P 0x66 13M 1M"}},
		{"unaligned discard", []string{"write -P 0x77 14M 64k", "discard 14684161 8193", "read -P 0x77 14M 4096", "read -P 0x77 14692355 1000"}},
		{"write zeroes", []string{"write -P 0x88 16M 2M", "write -z 16M 1M", "read -P 0 16M 1M", "read -P 0x88 17M 1M"}},
		{"write zeroes, may unmap", []string{"write -P 0x99 20M 2M", "write -z -u 20M 1M", "read -P 0 20M 1M", "read -P 0x99 21M 1M"}},
		{"unaligned zeroes", []string{"write -P 0xaa 24M 64k", "write -z 25165825 10000", "read -P 0xaa 24M 1", "read -P 0 25165825 10000", "read -P 0xaa 25175825 100"}},
		{"last byte", []string{"write -P 0xbb 67108863 1", "read -P 0xbb 67108863 1"}},
		{"32 MiB at once", []string{"write -P 0xcc 30M 32M", "read -P 0xcc 30M 32M"}},
		{"flush", []string{"flush"}},
	} {
		t.Run(c.name, func(t *testing.T) { qemuIO(t, uri, c.commands...) })
	}
	for name, bad := range map[string]string{"write beyond the end": "write 64M 4k", "read beyond the end": "read 67108000 4k"} {
		t.Run(name, func(t *testing.T) { fails(t, "qemu-io", qemuArgs(uri, bad)...) })
	}
	t.Run("other pattern", func(t *testing.T) { fails(t, "qemu-io", qemuArgs(uri, "read -P 0x12 0 1M")...) })
	before := copyOut(t, uri)
	l.crash()
	t.Run("after a kill", func(t *testing.T) { sameFile(t, before, copyOut(t, uri)) })
}

// TestExt4 carries a file system of real files in, and out again after a kill.
func TestExt4(t *testing.T) {
	l := newLake(t)
	dir := t.TempDir()
	root := strings.TrimSpace(do(t, "go", "env", "GOROOT"))
	tree, in := filepath.Join(root, "src", "net"), filepath.Join(dir, "in.img")
	do(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, in, "192M")

	uri := l.volume("disk0", "192M")
	do(t, "nbdcopy", "--flush", in, uri)
	l.crash()
	out := copyOut(t, uri)
	do(t, "fsck.ext4", "-fn", out)
	sameFile(t, in, out)
	back := filepath.Join(dir, "back")
	if err := os.Mkdir(back, 0o700); err != nil {
		t.Fatal(err)
	}
	do(t, "debugfs", "-R", "rdump / "+back, out)
	do(t, "diff", "-r", "--exclude=lost+found", tree, back)
}

// TestFio: fio writes blocks that carry their own checksums and verifies them,
// at once and after a kill.
func TestFio(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "128M")
	job := func(name string, more ...string) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("fio", append([]string{"--name=v", "--ioengine=nbd", "--uri=" + uri, "--size=128m", "--thread",
				"--verify=crc32c", "--verify_fatal=1", "--verify_backlog=0", "--randseed=7"}, more...)...)
			cmd.Dir = t.TempDir() // fio leaves a state file
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
	job("random 4k", "--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=64", "--do_verify=1")
	job("mixed sizes, unaligned", "--rw=randwrite", "--bsrange=512-128k", "--blockalign=512", "--iodepth=16", "--do_verify=1")
	job("write only", "--rw=randwrite", "--bs=8k", "--iodepth=32", "--do_verify=0", "--end_fsync=1")
	l.crash()
	job("verify after a kill", "--rw=randwrite", "--bs=8k", "--iodepth=32", "--verify_only=1")
}

// TestStalledClient: clients that stop in the middle of the handshake hold up
// nobody.
func TestStalledClient(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "16M")
	for range 20 {
		c, err := net.Dial("unix", l.Socket())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0, 0}); err != nil {
			t.Fatal(err)
		}
	}
	qemuIO(t, uri, "write -P 0x11 0 16M", "flush", "read -P 0x11 0 16M")
}
