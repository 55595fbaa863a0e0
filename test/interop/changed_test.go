package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/test/daemon"
)

const block = 4096

// extent is a line of nbdinfo --map.
type extent struct {
	Offset, Length uint64
	Type           uint32
}

// mapOf returns what a context says of an export. The extents must cover it
// in order.
func mapOf(t *testing.T, context, uri string, size uint64) (list []extent) {
	t.Helper()
	out := do(t, "nbdinfo", "--json", "--map="+context, uri)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	at := uint64(0)
	for _, x := range list {
		if x.Offset != at || x.Length == 0 {
			t.Fatalf("%s: %+v, want one at %d", context, x, at)
		}
		at += x.Length
	}
	if at != size {
		t.Fatalf("%s covers %d of %d bytes", context, at, size)
	}
	return list
}

// blocksOf expands a map whose every extent is whole blocks.
func blocksOf(t *testing.T, list []extent) (marked []bool) {
	t.Helper()
	for _, x := range list {
		if x.Length%block != 0 || x.Type > 1 {
			t.Fatalf("extent %+v", x)
		}
		for range x.Length / block {
			marked = append(marked, x.Type == 1)
		}
	}
	return marked
}

// moment is what a test knows of a disk at a moment.
type moment struct {
	name  string
	data  []byte // a full copy
	wrote []int  // by block, the last change that touched it
}

// scribbler changes a disk at random.
type scribbler struct {
	rng   *rand.Rand
	size  uint64
	wrote []int
	n     int
}

// commands returns changes for qemu-io, and notes what they touch.
func (s *scribbler) commands(count int) (list []string) {
	for range count {
		s.n++
		off := s.rng.Uint64N(s.size)
		n := 1 + s.rng.Uint64N(min(s.size-off, 200_000))
		switch s.rng.IntN(5) {
		case 0:
			list = append(list, fmt.Sprintf("discard %d %d", off, n))
		case 1:
			list = append(list, fmt.Sprintf("write -z %d %d", off, n))
		case 2:
			list = append(list, fmt.Sprintf("write -z -u %d %d", off, n))
		default:
			// Few patterns, so that blocks get the bytes they had.
			list = append(list, fmt.Sprintf("write -P %d %d %d", 1+s.rng.IntN(3), off, n))
		}
		for b := off / block; b*block < off+n; b++ {
			s.wrote[b] = s.n
		}
	}
	return append(list, "flush")
}

// compareMap checks a map of what changed between two moments: every byte
// that differs is marked, and no block that nobody touched.
func compareMap(t *testing.T, what string, marked []bool, from, to moment) {
	t.Helper()
	differ := 0
	for b, m := range marked {
		same := bytes.Equal(from.data[b*block:(b+1)*block], to.data[b*block:(b+1)*block])
		if !same {
			differ++
		}
		if !same && !m {
			t.Fatalf("%s: block %d changed and is not marked", what, b)
		}
		if m && from.wrote[b] == to.wrote[b] {
			t.Fatalf("%s: block %d is marked, and nobody touched it", what, b)
		}
	}
	if from.name != to.name && differ == 0 {
		t.Fatalf("%s: nothing differs; this proves nothing", what)
	}
}

// TestChangedBlocks: the map between two moments, and from a moment to now,
// equals a comparison of full copies, byte by byte.
func TestChangedBlocks(t *testing.T) {
	const size = 48 << 20
	l := newLake(t)
	uri := l.volume("disk0", fmt.Sprint(size))
	s := &scribbler{rng: rand.New(rand.NewPCG(20, 26)), size: size, wrote: make([]int, size/block)}
	take := func(name string) moment {
		data, err := os.ReadFile(copyOut(t, l.URI(name)))
		if err != nil {
			t.Fatal(err)
		}
		return moment{name, data, append([]int(nil), s.wrote...)}
	}
	var past []moment
	for i := range 5 {
		qemuIO(t, uri, s.commands(40)...)
		name := fmt.Sprintf("disk0@s%d", i)
		if i%2 == 0 {
			l.varve("snapshot", name)
		} else {
			name = fmt.Sprintf("disk0@lsn:%d", l.lastLSN())
		}
		past = append(past, take(name))
		if i == 2 {
			l.crash()
		}
	}
	compare := func(to moment, with []moment) {
		for _, from := range with {
			context := "varve:changed" + strings.TrimPrefix(from.name, "disk0")
			marked := blocksOf(t, mapOf(t, context, l.URI(to.name), size))
			compareMap(t, context+" of "+to.name, marked, from, to)
		}
	}
	all := func() {
		for i, to := range past {
			compare(to, past[:i+1])
		}
		compare(take("disk0"), past)
	}
	qemuIO(t, uri, s.commands(40)...)
	all()
	l.crash()
	all()

	// Back to an earlier moment: the same as then, whatever was between.
	l.varve("rollback", past[2].name, "--yes")
	s.wrote = append([]int(nil), past[2].wrote...)
	qemuIO(t, uri, s.commands(10)...)
	compare(take("disk0"), past)
}

// TestAllocation: holes are known as holes, to nbdinfo and to nbdcopy.
func TestAllocation(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "64M")
	qemuIO(t, uri, "write -P 1 1M 1M", "write -P 2 10M 4M", "discard 11M 1M", "write -z 40M 1M", "flush")
	want := fmt.Sprint([]extent{
		{0, 1 << 20, 3}, {1 << 20, 1 << 20, 0}, {2 << 20, 8 << 20, 3}, {10 << 20, 1 << 20, 0}, {11 << 20, 1 << 20, 3},
		{12 << 20, 2 << 20, 0}, {14 << 20, 26 << 20, 3}, {40 << 20, 1 << 20, 0}, {41 << 20, 23 << 20, 3},
	})
	l.varve("snapshot", "disk0@then")
	for _, u := range []string{uri, l.URI("disk0@then")} {
		if got := fmt.Sprint(mapOf(t, "base:allocation", u, 64<<20)); got != want {
			t.Errorf("nbdinfo --map: %s, want %s", got, want)
		}
	}
	second := l.volume("disk1", "64M")
	do(t, "nbdcopy", "--flush", "--destination-is-zero", uri, second)
	if got := mapOf(t, "base:allocation", second, 64<<20); len(got) < 7 {
		t.Errorf("holes were copied as data: %v", got)
	}
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, second)

	// What cannot be had is refused in words, which nbdinfo keeps to itself,
	// or not offered; the log has the reason either way.
	if out, err := attempt("qemu-img", "info", l.URI("disk0@2001-01-01")); err == nil || !strings.Contains(out, "oldest moment") {
		t.Errorf("outside history: %v", out)
	}
	fails(t, "nbdinfo", "--map=varve:changed@2001-01-02", uri)
	if err := l.server.Stop(10 * time.Second); err != nil { // its log is whole then
		t.Fatal(err)
	}
	log := l.server.Log()
	for _, words := range []string{"export not opened", "@2001-01-01T", "context not offered", "@2001-01-02T"} {
		if !strings.Contains(log, words) {
			t.Errorf("%q is not in the log:\n%s", words, log)
		}
	}
}

// TestStopWithViews: clients of past moments, busy with maps, do not keep the
// server from a proper end.
func TestStopWithViews(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "16M")
	qemuIO(t, uri, "write -P 1 0 1M", "flush")
	l.varve("snapshot", "disk0@one")
	qemuIO(t, uri, "write -P 2 1M 1M", "flush")
	client := exec.Command("/usr/bin/python3", "-u", "-c", `
import nbd, sys
h = nbd.NBD()
h.add_meta_context("varve:changed@one")
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
print("open")
try:
    while True:
        h.block_status(h.get_size(), 0, lambda *a: 0)
except nbd.Error:
    print("ended")
`, l.URI("disk0@now"))
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "open\n" {
		t.Fatalf("the client said %q, %v", said, err)
	}
	begun := time.Now()
	if err := l.server.Stop(15 * time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the server took %v to stop", took)
	}
	if strings.Contains(l.server.Log(), "were cut off") {
		t.Error("requests were cut off")
	}
	if err := client.Wait(); err != nil {
		t.Errorf("the client: %v", err)
	}
	l.start()
	l.varve("check", "--data")
}

// TestIncrementalTour runs what docs/operations.md tells to do for incremental
// backups, twice, as one does it day by day.
func TestIncrementalTour(t *testing.T) {
	root, err := daemon.Root()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tour, ok := strings.Cut(string(doc), "\n## Incremental backups\n")
	if ok {
		_, tour, ok = strings.Cut(tour, "```sh\n")
	}
	if ok {
		tour, _, ok = strings.Cut(tour, "```")
	}
	if !ok {
		t.Fatal("docs/operations.md has no tour of incremental backups")
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLake(t, "--nbd", addr)
	l.volume("disk0", "64M")
	do(t, "nbdcopy", "--flush", pattern(t, 64<<20, t.Name()), l.URI("disk0"))
	dir := t.TempDir()
	shell := func(script string) string {
		t.Helper()
		cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"),
			"VARVE_POOL="+l.Dir, "NBD=nbd://"+addr)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	t.Log(shell(tour))
	sameFile(t, copyOut(t, l.URI("disk0@tuesday")), filepath.Join(dir, "disk0.img"))

	// Another day, through a kill and a rollback, on a disk that has grown.
	s := &scribbler{rng: rand.New(rand.NewPCG(1, 2)), size: 64 << 20, wrote: make([]int, 64<<20/block)}
	qemuIO(t, l.URI("disk0"), s.commands(60)...)
	l.crash()
	l.varve("snapshot", "disk0@noon")
	qemuIO(t, l.URI("disk0"), s.commands(60)...)
	l.varve("rollback", "disk0@noon", "--yes")
	qemuIO(t, l.URI("disk0"), s.commands(5)...)
	l.varve("snapshot", "disk0@wednesday")
	shell("/usr/bin/python3 update.py $NBD/disk0@wednesday varve:changed@tuesday disk0.img")
	sameFile(t, copyOut(t, l.URI("disk0@wednesday")), filepath.Join(dir, "disk0.img"))
}
