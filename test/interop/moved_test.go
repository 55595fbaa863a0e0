package interop

import (
	"path/filepath"
	"testing"
	"time"

	"varve/test/daemon"
)

// TestCopyBesideOriginal: a pool that was copied and got an identity of its own
// is served beside its original; NBD clients can tell them apart, and find the
// same data and the same past in both.
func TestCopyBesideOriginal(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "16M")
	qemuIO(t, uri, "write -P 1 0 4M", "flush")
	l.varve("snapshot", "disk0@one")
	qemuIO(t, uri, "write -P 2 1M 4M", "flush")
	was := info(t, uri)[0]["description"]
	if err := l.server.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}

	beside := filepath.Join(filepath.Dir(l.Dir), "copy")
	do(t, "cp", "-a", l.Dir, beside)
	l.varve("reid", beside, "--yes")
	l.start()
	other := &lake{Pool: daemon.Pool{Bin: program, Dir: beside}, t: t}
	other.start()
	t.Cleanup(func() { other.server.Kill() })

	if now := info(t, l.URI("disk0"))[0]["description"]; was == nil || now != was {
		t.Errorf("the original was %v and is %v", was, now)
	}
	if now := info(t, other.URI("disk0"))[0]["description"]; now == nil || now == was {
		t.Errorf("the copy is %v, like its original", now)
	}
	for _, export := range []string{"disk0", "disk0@one"} {
		sameFile(t, copyOut(t, l.URI(export)), copyOut(t, other.URI(export)))
	}
	qemuIO(t, other.URI("disk0"), "write -P 3 0 1M", "flush")
	qemuIO(t, l.URI("disk0"), "read -P 1 0 1M", "read -P 2 1M 4M")
	qemuIO(t, other.URI("disk0"), "read -P 3 0 1M", "read -P 2 1M 4M")
	l.varve("check", "--data")
	other.varve("check", "--data")
}
