package power

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"varve/test/daemon"
	nfs "varve/test/nfsclient"
	"varve/test/plant"
)

const (
	nbdNoSpace   = 28        // NBD_ENOSPC
	brimPiece    = 128 << 10 // bytes of one request
	brimPatience = 30 * time.Second
)

// brim is a small pool with a disk and a share, and a client of each, which
// remember what was answered.
type brim struct {
	t      *testing.T
	pool   daemon.Pool
	server *daemon.Server
	disk   *conn
	share  nfs.Client
	root   nfs.FH
	pieces map[uint64]uint64 // of the disk: seed by number
	files  map[string][]uint64
	handle map[string]nfs.FH
	seed   uint64
	cookie uint64
}

func newBrim(t *testing.T, dir string, init ...string) *brim {
	t.Helper()
	bin, err := daemon.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &brim{t: t, pool: daemon.Pool{Bin: bin, Dir: filepath.Join(dir, "p")},
		pieces: map[uint64]uint64{}, files: map[string][]uint64{}, handle: map[string]nfs.FH{}}
	b.run(append([]string{"init", b.pool.Dir, "--segment-size", "1M"}, init...)...)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	if b.server, err = b.pool.Serve("--nfs", addr, "--checkpoint-interval", "1s"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.server.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", b.server.Log())
		}
	})
	if err := b.server.WaitReady(b.pool.Socket(), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	b.run("volume", "create", "disk", "--size", "1G")
	b.run("share", "create", "home")
	if b.disk, err = dial(b.pool.Socket(), "disk"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.disk.close)
	c, err := nfs.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b.share = nfs.Client{Conn: c}.As(0, 0)
	m := b.share.Mnt("/home")
	b.want("MNT", m)
	b.root = m.FH
	return b
}

func (b *brim) run(args ...string) string {
	b.t.Helper()
	out, err := b.attempt(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// attempt runs a command, which has to end within a time.
func (b *brim) attempt(args ...string) (out string, err error) {
	b.t.Helper()
	began := time.Now()
	out, err = b.pool.Run(args...)
	if took := time.Since(began); took > brimPatience {
		b.t.Errorf("varve %s took %v", strings.Join(args, " "), took)
	}
	return out, err
}

func (b *brim) want(what string, r interface{ Want(...nfs.Status) error }, statuses ...nfs.Status) {
	b.t.Helper()
	if len(statuses) == 0 {
		statuses = []nfs.Status{nfs.OK}
	}
	if err := r.Want(statuses...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// content is what a seed stands for.
func content(seed uint64) []byte {
	p := make([]byte, brimPiece)
	r := rand.NewPCG(seed, 77)
	for i := 0; i < len(p); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			p[i+j] = byte(v >> (8 * j))
		}
	}
	return p
}

// ask makes a request of the disk, and returns NBD's error.
func (b *brim) ask(cmd, flags uint16, off uint64, n uint32, payload []byte) reply {
	b.t.Helper()
	b.cookie++
	if err := b.disk.c.SetDeadline(time.Now().Add(brimPatience)); err != nil {
		b.t.Fatal(err)
	}
	err := b.disk.send(cmd, flags, b.cookie, off, n, payload)
	var r reply
	if err == nil {
		r, err = b.disk.receive(nil)
	}
	if err != nil {
		b.t.Fatalf("NBD request %d at %d: %v", cmd, off, err)
	}
	return r
}

// writeDisk writes one piece; full tells that there was no space.
func (b *brim) writeDisk(at uint64) (full bool) {
	b.t.Helper()
	b.seed++
	switch r := b.ask(cmdWrite, 0, at*brimPiece, brimPiece, content(b.seed)); r.errno {
	case 0:
		b.pieces[at] = b.seed
	case nbdNoSpace:
		return true
	default:
		b.t.Fatalf("WRITE to a full pool: NBD error %d, want %d", r.errno, nbdNoSpace)
	}
	return false
}

// writeFile appends a piece to a file, made if need be; full tells that there was
// no space.
func (b *brim) writeFile(name string) (full bool) {
	b.t.Helper()
	if b.handle[name] == "" {
		m := b.share.Create(b.root, name, nfs.Mode(0o644))
		if b.want("CREATE", m, nfs.OK, nfs.ErrNospc); m.Status == nfs.ErrNospc {
			return true
		}
		b.handle[name], b.files[name] = m.FH, nil
	}
	b.seed++
	p, off := content(b.seed), uint64(len(b.files[name]))*brimPiece
	for len(p) > 0 {
		w := b.share.Write(b.handle[name], off, p, 0)
		if b.want("WRITE", w, nfs.OK, nfs.ErrNospc); w.Status == nfs.ErrNospc {
			return true
		}
		p, off = p[w.Count:], off+uint64(w.Count)
	}
	b.files[name] = append(b.files[name], b.seed)
	return false
}

// fill writes by both ways until neither has space.
func (b *brim) fill(cycle int) (accepted int) {
	b.t.Helper()
	diskFull, shareFull := false, false
	for at := 0; !diskFull || !shareFull; at++ {
		if at > 4096 {
			b.t.Fatalf("%d pieces fit into the pool", at)
		}
		if diskFull = b.writeDisk(uint64(at) % 2048); !diskFull {
			accepted++
		}
		if shareFull = b.writeFile(fmt.Sprintf("f%d-%d", cycle, at/16)); !shareFull {
			accepted++
		}
	}
	if r := b.ask(cmdFlush, 0, 0, 0, nil); r.errno != 0 {
		b.t.Errorf("FLUSH on a full pool: NBD error %d", r.errno)
	}
	return accepted
}

// look reads everything that was answered.
func (b *brim) look() {
	b.t.Helper()
	for at, seed := range b.pieces {
		r := b.ask(cmdRead, 0, at*brimPiece, brimPiece, nil)
		if r.errno != 0 || !bytes.Equal(r.data, content(seed)) {
			b.t.Fatalf("piece %d of the disk: NBD error %d, or not what was written", at, r.errno)
		}
	}
	for name, seeds := range b.files {
		for i, seed := range seeds {
			r := b.share.Read(b.handle[name], uint64(i)*brimPiece, brimPiece)
			b.want("READ", r)
			if !bytes.Equal(r.Data, content(seed)[:len(r.Data)]) {
				b.t.Fatalf("piece %d of %s is not what was written", i, name)
			}
		}
	}
}

// reports does what goes on even where not a byte is left.
func (b *brim) reports() {
	b.t.Helper()
	if out := b.run("list"); !strings.Contains(out, "disk") || !strings.Contains(out, "home") {
		b.t.Errorf("list says %q", out)
	}
	b.run("list", "-t", "snapshot")
	if out := b.run("status", "--json"); !strings.Contains(out, `"online"`) {
		b.t.Errorf("a full pool is not online: %s", out)
	}
	b.run("prune", "--dry-run")
}

// manages does what must go on while the pool is full: it has a reserve.
func (b *brim) manages(cycle int) {
	b.t.Helper()
	b.reports()
	b.run("set", "disk", fmt.Sprintf("history=%dm", 10+cycle))
	b.run("set", "home", "squash=none")
	b.run("prune", "--yes")
	if cycle > 0 {
		b.run("destroy", fmt.Sprintf("disk@s%d", cycle-1), "--yes")
	}
}

// free gives up what this cycle wrote, but for a few pieces.
func (b *brim) free(cycle int) {
	b.t.Helper()
	for name := range b.handle {
		b.want("REMOVE "+name, b.share.Remove(b.root, name))
		delete(b.handle, name)
		delete(b.files, name)
	}
	for at := range b.pieces {
		if at%16 != 0 {
			if r := b.ask(cmdTrim, 0, at*brimPiece, brimPiece, nil); r.errno != 0 {
				b.t.Fatalf("TRIM on a full pool: NBD error %d", r.errno)
			}
			delete(b.pieces, at)
		}
	}
	b.run("destroy", fmt.Sprintf("home@s%d", cycle), "--yes")
	b.run("prune", "--before", "@now", "--yes")
	b.run("clean")
}

// goesOn waits until both ways have space again.
func (b *brim) goesOn(what string) {
	b.t.Helper()
	for deadline := time.Now().Add(brimPatience); ; time.Sleep(50 * time.Millisecond) {
		if !b.writeDisk(0) && !b.writeFile("again") {
			return
		}
		if time.Now().After(deadline) {
			out, err := b.attempt("status")
			b.t.Fatalf("%s: still no space\n%s (%v)", what, out, err)
		}
	}
}

// finish checks the pool while it is served and when it is not.
func (b *brim) finish() {
	b.t.Helper()
	b.look()
	b.run("check", "--data")
	b.disk.close()
	b.share.Conn.Close()
	if err := b.server.Stop(drainWithin); err != nil {
		b.t.Fatal(err)
	}
	b.run("check", b.pool.Dir, "--data")
}

// TestFillToFull fills a small pool ten times, over NBD and NFS at once. When it
// is full, errors say so, everything can be read and managed, and it takes writes
// again when something was given up.
func TestFillToFull(t *testing.T) {
	b := newBrim(t, t.TempDir(), "--capacity", "64M")
	b.run("set", "disk", "keep=none")
	b.run("set", "home", "keep=none")
	total := 0
	for cycle := range 10 {
		b.writeFile("again")
		for _, name := range []string{"disk", "home"} {
			b.run("snapshot", fmt.Sprintf("%s@s%d", name, cycle))
		}
		n := b.fill(cycle)
		if least := 64; n < least {
			t.Errorf("cycle %d: %d pieces were taken, want at least %d", cycle, n, least)
		}
		total += n
		b.look()
		b.manages(cycle)
		b.look()
		b.free(cycle)
		b.goesOn(fmt.Sprintf("cycle %d", cycle))
		b.look()
	}
	b.finish()
	t.Logf("filled ten times: %d MiB were taken", total*brimPiece>>20)
}

// TestDiskFilledByOthers: somebody else fills the file system below the pool.
// That is no failure: writes find no space, and go on when it is there again. And
// what frees space still works with not a byte left. On ext4 holes and files that
// go take metadata themselves.
func TestDiskFilledByOthers(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) { diskFilledByOthers(t, smallDisk(t, kind)) })
	}
}

// smallDisk mounts a small file system.
func smallDisk(t *testing.T, kind string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if kind == "tmpfs" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
			t.Fatalf("this test mounts a small file system, so it has to be run as root: %v", err)
		}
	} else {
		image := filepath.Join(t.TempDir(), "image")
		for _, args := range [][]string{
			{"truncate", "-s", "128M", image}, {"mke2fs", "-q", "-t", kind, image}, {"mount", "-o", "loop", image, dir},
		} {
			plant.Run(t, args[0], args[1:]...)
		}
	}
	t.Cleanup(func() { plant.Unmount(t, dir) })
	return dir
}

func diskFilledByOthers(t *testing.T, dir string) {
	b := newBrim(t, dir, "--capacity", "1G")
	for at := range uint64(64) {
		if b.writeDisk(at) {
			t.Fatalf("no space for piece %d", at)
		}
	}
	for round := range 3 {
		other := filepath.Join(dir, "other")
		occupy(t, other)
		n := b.fill(round)
		t.Logf("round %d: %d pieces were taken when the disk was full", round, n)
		b.look()
		b.reports()
		if _, err := b.attempt("snapshot", fmt.Sprintf("disk@full%d", round)); err == nil || !strings.Contains(err.Error(), "exit status 15: ") {
			t.Errorf("a snapshot where not a byte is left: %v", err)
		}
		b.manages(round) // out of segments that were kept ready
		b.run("clean")
		b.look()
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		b.goesOn(fmt.Sprintf("round %d", round))
		b.run("snapshot", fmt.Sprintf("disk@s%d", round))
		b.look()
	}
	b.finish()
}

// occupy fills a file system.
func occupy(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(p)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
