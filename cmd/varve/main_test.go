package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi"
	"varve/internal/httpapi/httpapitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"varve": main})
}

// TestScripts runs the command line as it is pinned under testdata/script.
//
//	exits CODE CMD...         runs a command that must end with that exit code
//	fake DIR [WHAT...]        serves a pool of plain maps, in a state that a real one reaches only by accident
//	serving DIR               waits until the pool in DIR is served
//	sigterm                   sends SIGTERM to what runs in the background
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "fake": fake, "serving": serving, "sigterm": sigterm,
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err = ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		code = e.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// fake takes WHAT of refuse=KIND, state=STATE, free=PERCENT, writer=DATASET,
// damage.
func fake(ts *testscript.TestScript, _ bool, args []string) {
	p := &httpapitest.Pool{Report: engine.CheckReport{Datasets: 2, Snapshots: 1, Nodes: 7, Extents: 5, Frames: 3, Ops: 9, Bytes: 8192}}
	p.State = engine.Status{FreeBytes: 50 << 30, UsedBytes: 50 << 30, CapacityBytes: 100 << 30}
	for _, what := range args[1:] {
		key, value, _ := strings.Cut(what, "=")
		switch key {
		case "refuse":
			p.Refuse = fail.New(fail.KindNamed(value), "it went wrong").WithHint("do this")
		case "state":
			p.State.State, p.State.Reason = value, "fdatasync: I/O error on segment 77"
		case "free":
			n, err := strconv.ParseInt(value, 10, 64)
			ts.Check(err)
			p.State.FreeBytes = n << 30
		case "writer":
			p.Writers = map[string][]string{value: {"127.0.0.1 (NBD, 40 min)"}}
		case "damage":
			p.Report.Damage = []engine.Damage{{Where: "segment 12 block 331", What: "checksum of a tree node"}}
		default:
			ts.Fatalf("unknown %q", what)
		}
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	l, err := httpapi.ListenUnix(httpapi.SocketPath(dir), "")
	ts.Check(err)
	info := func() httpapi.ServerInfo {
		return httpapi.ServerInfo{PID: 4711, Version: "v1", Dir: dir, Addresses: []httpapi.Address{{Proto: "nbd", Addr: "127.0.0.1:10809"}}}
	}
	s := httpapi.New(httpapi.Options{Pool: p, Info: info})
	go s.Serve(l)
	ts.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
}

func serving(ts *testscript.TestScript, _ bool, args []string) {
	c := httpapi.NewClient(ts.MkAbs(args[0]))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		_, err := c.Status(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !fail.Is(err, fail.NoServer) {
			ts.Fatalf("%s is not served: %v", args[0], err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func sigterm(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}
