package interop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"varve/test/daemon"
)

// TestFlippedBits turns one bit of the log at a time, wherever something is
// written: data, tree nodes, headers, summaries, at the start and at the end.
// The check must find it. The server may refuse the pool or a read, but what
// it serves must be right.
func TestFlippedBits(t *testing.T) {
	l := newLake(t, "--checkpoint-interval", "200ms")
	uri := l.volume("disk0", "8M")
	then := map[string]string{} // export -> what it must hold
	for i := range 3 {
		do(t, "nbdcopy", "--flush", pattern(t, 1<<20, fmt.Sprint(i)), uri)
		qemuIO(t, uri, fmt.Sprintf("write -P 7 %d 3000", 2000000+i*5000), "flush")
		snap := fmt.Sprintf("s%d", i)
		l.varve("snapshot", "disk0@"+snap)
		then["disk0@"+snap] = copyOut(t, uri)
		time.Sleep(300 * time.Millisecond) // a checkpoint comes between
	}
	then["disk0"] = then["disk0@s2"]
	l.varve("clean") // what nobody needs any more goes, for nobody would look at it
	if err := l.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.varve("check", l.Dir, "--data")
	log := written(t, l.Dir)
	r := rand.New(rand.NewPCG(1, 2))
	served := 0
	for i := range 24 {
		at := log[r.IntN(len(log))]
		if i < 2 {
			at = log[i*(len(log)-1)] // the first and the last of all
		}
		// A proper stop ends the log with a marker that attests what lies
		// before it. Nothing attests the marker itself, and nothing needs it.
		marker := at == log[len(log)-1]
		if spoiled(t, l, at, r, then, marker) {
			served++
		}
	}
	if served == 0 {
		t.Error("no pool with a flipped bit was served at all")
	}
	t.Logf("%d blocks of log; %d of 24 spoiled pools were served", len(log), served)
	l.start()
}

// spot is a 4 KiB block of a file below a pool in which something is written.
type spot struct {
	file string
	off  int64
}

// written lists the blocks of a pool's segments that are not zeros.
func written(t *testing.T, dir string) []spot {
	t.Helper()
	var list []spot
	files, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", dir, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(text); off += 4096 {
			if nonzero(text[off:min(off+4096, len(text))]) >= 0 {
				list = append(list, spot{name, int64(off)})
			}
		}
	}
	return list
}

func nonzero(p []byte) int {
	for i, b := range p {
		if b != 0 {
			return i
		}
	}
	return -1
}

// spoiled turns one bit in a copy of the pool and says whether it was served.
func spoiled(t *testing.T, l *lake, at spot, r *rand.Rand, then map[string]string, harmless bool) (served bool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "varve-bit-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p := daemon.Pool{Bin: l.Bin, Dir: filepath.Join(dir, "p")}
	do(t, "cp", "-r", "--sparse=always", l.Dir, p.Dir)
	where := fmt.Sprintf("%s, byte %d", at.file, flip(t, filepath.Join(p.Dir, at.file), at.off, r))

	_, err = p.Run("check", p.Dir, "--data")
	var exit *exec.ExitError
	if (err != nil || !harmless) && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
		t.Errorf("%s: check says %v, want exit status 2", where, err)
	}
	s, err := p.Serve()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	if s.WaitReady(p.Socket(), 10*time.Second) != nil {
		return false
	}
	for export, want := range then {
		// qemu-img compare: 0 equal, 1 different, more: could not read
		if _, err := attempt("qemu-img", "compare", "-f", "raw", "-F", "raw", want, p.URI(export)); errors.As(err, &exit) && exit.ExitCode() == 1 {
			t.Errorf("%s: %s is served wrong: %v", where, export, err)
		}
	}
	return true
}

// flip turns one bit of a byte in the block that is not zero, and returns where
// in the file.
func flip(t *testing.T, file string, off int64, r *rand.Rand) int64 {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	if _, err := f.ReadAt(block, off); err != nil {
		t.Fatal(err)
	}
	at := r.IntN(len(block))
	for block[at] == 0 {
		at = (at + 1) % len(block)
	}
	if _, err := f.WriteAt([]byte{block[at] ^ 1<<r.IntN(8)}, off+int64(at)); err != nil {
		t.Fatal(err)
	}
	return off + int64(at)
}
