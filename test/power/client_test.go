package power

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestAgainstNbdkit runs the load against a server that no one here wrote: the
// client speaks NBD, and what it reports about varve is varve's doing. A
// server of memory that is killed and restarted empty is found out.
func TestAgainstNbdkit(t *testing.T) {
	const size = 8 << 20
	socket := filepath.Join(t.TempDir(), "s")
	kill := startNbdkit(t, socket, size)
	h := newHistory(size / unitSize)
	r := rand.New(rand.NewPCG(1, 2))

	stop := make(chan struct{})
	var loads []*load
	for range 3 {
		loads = append(loads, &load{h: h, c: connect(t, socket), rand: rand.New(rand.NewPCG(r.Uint64(), 0)), pick: anything, stop: stop})
	}
	time.AfterFunc(500*time.Millisecond, func() { close(stop) })
	n, err := drive(loads)
	if err != nil {
		t.Fatal(err)
	}
	if min(n.write, n.trim, n.zeroes, n.fua, n.flush, n.read) == 0 {
		t.Fatalf("some kind of request was never answered: %+v", n)
	}
	m := image{look(t, socket)}
	if err := h.moment(m, h.tick(), never); err != nil {
		t.Fatal(err)
	}
	kill()
	startNbdkit(t, socket, size)
	if err := h.recovered(image{look(t, socket)}); err == nil {
		t.Fatal("a server that forgot everything passes")
	}
}

func startNbdkit(t *testing.T, socket string, size int) (kill func()) {
	t.Helper()
	_ = os.Remove(socket) // of the one before
	cmd := exec.Command("nbdkit", "-f", "-U", socket, "memory", "size=8M")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // again at cleanup
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := dial(socket, ""); err == nil {
			if c.size != uint64(size) {
				t.Fatalf("export of %d bytes, want %d", c.size, size)
			}
			c.close()
			return kill
		}
		if time.Now().After(deadline) {
			t.Fatal("nbdkit does not answer")
		}
	}
}

func connect(t *testing.T, socket string) *conn {
	t.Helper()
	c, err := dial(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func look(t *testing.T, socket string) []opID {
	t.Helper()
	c := connect(t, socket)
	defer c.close()
	ids, err := owners(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
