package engine_test

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

// timings counts what an engine says took time.
type timings struct {
	mu    sync.Mutex
	count map[engine.Timing]int
}

func (c *timings) observe(what engine.Timing, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[engine.Timing]int{}
	}
	if took >= 0 {
		c.count[what]++
	}
}

func (c *timings) take() map[engine.Timing]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count
	c.count = nil
	return n
}

func open(t *testing.T, o engine.Options) *engine.Engine {
	t.Helper()
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// write logs one write of a block of ones.
func write(t *testing.T, e *engine.Engine, volume string, block uint64) {
	t.Helper()
	v, err := vol.Open(e, volume, nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.WriteAt(slices.Repeat([]byte{1}, engine.BlockSize), block*engine.BlockSize); err != nil {
		t.Fatal(err)
	}
}

func TestMetrics(t *testing.T) {
	var took timings
	store := mem.New(1<<20, 1<<30)
	if err := engine.Format(store, time.Unix(1000, 0), zeros{}); err != nil {
		t.Fatal(err)
	}
	var told []string
	options := engine.Options{
		Store: store, CheckpointEvery: -1, Observe: took.observe, Progress: func(s string) { told = append(told, s) },
	}
	e := open(t, options)
	for _, name := range []string{"b", "a"} {
		if _, err := e.CreateVolume(tester, name, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Snapshot(tester, "a", "s"); err != nil {
		t.Fatal(err)
	}
	took.take()
	was := e.Metrics()
	write(t, e, "a", 3)
	write(t, e, "a", 4)
	if n := took.take(); len(n) != 0 {
		t.Errorf("writes in memory took %v", n)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := took.take(); n[engine.CommitTime] != 1 || n[engine.SyncTime] != 1 || len(n) != 2 {
		t.Errorf("a flush took %v", n)
	}
	is := e.Metrics()
	if is.LastLSN-was.LastLSN != 2 || is.DurableLSN != is.LastLSN || is.DataBytes-was.DataBytes != 2*engine.BlockSize ||
		is.RecordBytes <= was.RecordBytes || is.Frames <= was.Frames || is.DirtyBytes == 0 || is.UnsyncedBytes != 0 {
		t.Errorf("before %+v, after %+v", was, is)
	}
	if v := is.Volumes; len(v) != 2 || v[0].Name != "a" || v[0].Mapped != 2*engine.BlockSize || v[0].Snapshots != 1 || v[1].Name != "b" || v[1].Size != 1<<20 || v[1].Mapped != 0 {
		t.Errorf("volumes: %+v", v)
	}
	if err := e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if n := took.take(); n[engine.CheckpointTime] != 1 || n[engine.PauseTime] != 1 {
		t.Errorf("a checkpoint took %v", n)
	}
	if err := e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if n := took.take(); len(n) != 0 {
		t.Errorf("a checkpoint of nothing took %v", n)
	}
	if m := e.Metrics(); m.NodeBytes <= is.NodeBytes || m.SuperBytes <= is.SuperBytes || m.Checkpoint != is.Checkpoint+1 || m.Checkpoints == 0 || m.CheckpointLSN != m.LastLSN {
		t.Errorf("after a checkpoint: %+v", m)
	}

	viewsCounted(t, e)
	write(t, e, "a", 5)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	e.Abort()
	told = nil
	e = open(t, options)
	defer e.Abort()
	if !slices.ContainsFunc(told, func(s string) bool { return s == "replayed 1 operations" }) || !strings.HasPrefix(told[0], "looking for") {
		t.Errorf("while opening: %q", told)
	}
}

// zeros is no good as a source of random numbers.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func viewsCounted(t *testing.T, e *engine.Engine) {
	t.Helper()
	m, err := e.Resolve("a", when.Spec{Kind: when.Snapshot, Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.OpenView(m)
	if err != nil {
		t.Fatal(err)
	}
	if n := e.Metrics(); n.ViewsInUse != 1 || n.ViewsIdle != 0 {
		t.Errorf("%d views in use, %d idle", n.ViewsInUse, n.ViewsIdle)
	}
	v.Close()
	if n := e.Metrics(); n.ViewsInUse != 0 || n.ViewsIdle != 1 {
		t.Errorf("closed: %d views in use, %d idle", n.ViewsInUse, n.ViewsIdle)
	}
}

// TestLateCheckpoint: a pool that writes no checkpoints says so, and why; one
// that has nothing to write is not late.
func TestLateCheckpoint(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem(1))
	store := makeDir(t, faulty, 1<<20)
	defer store.Close()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	if err := engine.Format(store, now(), zeros{}); err != nil {
		t.Fatal(err)
	}
	e := open(t, engine.Options{Store: store, Now: now, CheckpointEvery: time.Hour})
	defer e.Abort()
	late := func() string { return e.Status().CheckpointLate }
	pass := func(d time.Duration) { ahead.Add(int64(d)) }

	if s := late(); s != "" {
		t.Errorf("just opened: %q", s)
	}
	pass(25 * time.Hour)
	if s := late(); s != "no checkpoint for 25h0m0s" {
		t.Errorf("a day later: %q", s)
	}
	if err := e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if s := late(); s != "" {
		t.Errorf("nothing was to be written, but: %q", s)
	}
	faulty.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.seg", Err: syscall.EIO})
	if _, err := e.CreateVolume(tester, "a", 1<<20); err == nil {
		t.Fatal("the disk did not fail")
	}
	for range 2 {
		pass(13 * time.Hour)
		if err := e.Checkpoint(); err == nil {
			t.Error("a checkpoint on a disk that fails")
		}
	}
	if s := late(); !strings.HasPrefix(s, "no checkpoint for 26h0m0s: ") || !strings.Contains(s, "input/output error") {
		t.Errorf("on a disk that fails: %q", s)
	}
}
