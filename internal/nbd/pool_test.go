package nbd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// startPool serves a pool in memory with a volume "d" of 1 MiB.
func startPool(t *testing.T) (*engine.Engine, string) {
	t.Helper()
	store := mem.New(4<<20, 256<<20)
	if err := engine.Format(store, time.Now(), rand.NewChaCha8([32]byte{})); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1, BaseOps: 64})
	if err != nil {
		t.Fatal(err)
	}
	// Runs after the server's own cleanup.
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.CreateVolume(engine.Caller{}, "d", 1<<20); err != nil {
		t.Fatal(err)
	}
	_, addr := startServer(t, Volumes(e, time.UTC), Options{})
	return e, addr
}

func snapshot(t *testing.T, e *engine.Engine, name string) {
	t.Helper()
	if _, err := e.Snapshot(engine.Caller{}, "d", name); err != nil {
		t.Fatal(err)
	}
}

// The contexts of a pool's volumes, over the wire.
func TestPoolContexts(t *testing.T) {
	e, addr := startPool(t)
	w := connect(t, addr, "d", true)
	w.do(request{cmd: cmdWrite, n: 8192}, pattern(8192, 1))
	snapshot(t, e, "one")
	w.do(request{cmd: cmdWrite, off: 4096, n: 8192}, pattern(8192, 2))
	w.do(request{cmd: cmdTrim, n: 4096}, nil)
	snapshot(t, e, "two")
	w.do(request{cmd: cmdWrite, off: 1<<20 - 1, n: 1}, []byte{9})

	c := negotiate(t, addr)
	for _, tt := range []struct{ export, query, want string }{
		{"d", "varve:", "[0 varve:changed@two 0 varve:changed@one]"},
		{"d", "varve:changed@", "[0 varve:changed@two 0 varve:changed@one]"},
		{"d@one", "varve:", "[0 varve:changed@one]"},
		{"d", "varve:changed@one", "[0 varve:changed@one]"},
		{"d", "varve:changed@0s-ago", "[0 varve:changed@0s-ago]"},
		{"d", "varve:changed@2001-01-01", "[]"},
		{"d", "varve:changed@three", "[]"},
		{"d", "varve:other", "[]"},
	} {
		if got := fmt.Sprint(c.meta(optListMetaContext, tt.export, tt.query)); got != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.query, tt.export, got, tt.want)
		}
	}
	const changed, hole = stateChanged, stateHole | stateZero
	for _, tt := range []struct {
		export, since string
		want          string
	}{
		{"d@one", "one", fmt.Sprint([]piece{{1 << 20, 0}})},
		{"d@two", "one", fmt.Sprint([]piece{{12288, changed}, {1<<20 - 12288, 0}})},
		{"d", "one", fmt.Sprint([]piece{{12288, changed}, {1<<20 - 16384, 0}, {4096, changed}})},
		{"d", "two", fmt.Sprint([]piece{{1<<20 - 4096, 0}, {4096, changed}})},
	} {
		c := open(t, addr, tt.export, "varve:changed@"+tt.since, "base:allocation")
		a := c.do(request{cmd: cmdBlockStatus, n: 1 << 20}, nil)
		if got := fmt.Sprint(a.status[0].pieces); got != tt.want {
			t.Errorf("%s since %s: %s, want %s", tt.export, tt.since, got, tt.want)
		}
		if tt.export == "d@two" {
			want := []piece{{4096, hole}, {8192, 0}, {1<<20 - 12288, hole}}
			if got := a.status[1].pieces; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("allocation: %v, want %v", got, want)
			}
		}
	}
}

// A writer that goes on while the live map is read sees its change marked.
func TestPoolContextIsLive(t *testing.T) {
	e, addr := startPool(t)
	snapshot(t, e, "one")
	c := open(t, addr, "d", "varve:changed@one")
	for i := range uint64(8) {
		c.do(request{cmd: cmdWrite, off: i * 8192, n: 4096}, pattern(4096, i))
		a := c.do(request{cmd: cmdBlockStatus, n: 1 << 20}, nil)
		if n := len(a.status[0].pieces); n != int(2*i+2) {
			t.Fatalf("after %d writes: %v", i+1, a.status[0].pieces)
		}
	}
}

// The engine's limit on open moments reaches the client in words.
func TestPoolTooManyViews(t *testing.T) {
	e, addr := startPool(t)
	w := connect(t, addr, "d", true)
	limit := 0
	for ; limit < 10_000; limit++ {
		if limit%64 == 0 { // a base, so that a view has little to replay
			if err := e.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.do(request{cmd: cmdWrite, n: 1}, []byte("x")); a.code != 0 {
			t.Fatalf("%+v", a)
		}
		v, err := vol.Open(e, "d", &when.Spec{Kind: when.LSN, LSN: uint64(limit) + 2}, engine.Caller{}, nil)
		if err != nil {
			break
		}
		defer v.Close()
	}
	w.do(request{cmd: cmdWrite, n: 1}, []byte("x"))
	c := negotiate(t, addr)
	export := fmt.Sprint("d@lsn:", limit+2)
	got := c.option(optGo, infoRequest(export))
	if got[0].kind != repErrTooBig || !strings.Contains(string(got[0].data), "past moments are open already; close some") {
		t.Errorf("after %d views: %#x %q", limit, got[0].kind, got[0].data)
	}
	if got := c.meta(optSetMetaContext, "d", "varve:changed@lsn:"+fmt.Sprint(limit+2), "base:allocation"); fmt.Sprint(got) != "[1 base:allocation]" {
		t.Errorf("contexts %q", got)
	}
	if got := c.option(optGo, infoRequest("d@2001-01-01")); got[0].kind != repErrUnknown || !strings.Contains(string(got[0].data), "oldest moment") {
		t.Errorf("outside history: %#x %q", got[0].kind, got[0].data)
	}
}
