package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
//	checking                  waits until the slow work of a fake began
//	sigterm                   sends SIGTERM to what runs in the background
//	findseg DIR TEXT          sets $SEGMENT to the file of a pool that holds TEXT
//	corrupt FILE TEXT         flips a bit where the file holds TEXT
//	address DIR PROTO         sets $ADDRESS to where the pool in DIR serves a protocol
//	disk ...                  is an NBD client; see there
//	nfs ...                   is an NFS client; see there
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("VARVE_HTTP", "none") // scripts run beside each other
			e.Setenv("VARVE_NFS", "none")
			e.Setenv("VARVE_ISCSI", "none")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // each command is a process
			e.Values[held{}] = &holder{}
			e.Values[checking{}] = make(chan struct{})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "fake": fake, "serving": serving, "checking": waitForCheck, "sigterm": sigterm, "disk": disk, "corrupt": corrupt, "findseg": findSegment, "address": address, "nfs": onShare,
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
// damage, history, space; jump=DURATION of the clock; warn=WARNING; unset=PROPERTY
// that cannot be set; and slow, with which what takes long goes on until its caller
// goes away.
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
		case "jump":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			p.State.Clock = engine.ClockInfo{Suspect: true, Jump: d}
		case "warn":
			p.State.Warnings = append(p.State.Warnings, value)
		case "unset":
			p.Unset = value
		case "space":
			p.Retention, p.State.Space, p.State.Cleaner = retention, space, "compacting"
		case "damage":
			p.Report.Damage = []engine.Damage{{Where: "segment 12 block 331", What: "checksum of a tree node"}}
		case "history":
			p.History = history
		case "slow":
			began := ts.Value(checking{}).(chan struct{})
			p.Block = func(ctx context.Context) { close(began); <-ctx.Done() }
		default:
			ts.Fatalf("unknown %q", what)
		}
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	l, err := httpapi.ListenUnix(httpapi.SocketPath(dir), "")
	ts.Check(err)
	info := func() httpapi.ServerInfo {
		return httpapi.ServerInfo{PID: 4711, Version: "v1", Dir: dir, Clients: []httpapi.Session{},
			Addresses: []httpapi.Address{{Proto: "nbd", Addr: "127.0.0.1:10809"}}}
	}
	s := httpapi.New(httpapi.Options{Pool: p, Files: p, Dumps: httpapitest.Dumps{}, Info: info})
	go s.Serve(l)
	ts.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
}

// space and retention have something of everything.
var (
	space = engine.PoolSpace{
		Live: 20 << 30, History: 10 << 30, Snapshots: 4 << 30, Held: 1 << 30, Destroyed: 2 << 30,
		Nodes: 512 << 20, Dead: 3 << 30, Reserve: 5 << 30,
	}
	retention = httpapitest.Retention{
		Space: map[string]engine.SpaceInfo{
			"disk0": {Live: 4 << 20, History: 2 << 20, Snapshots: 1 << 20, Held: 4096, Reclaimable: 7 << 20},
			"trial": {Live: 5 << 20, Shared: 4 << 20},
		},
		Limits:  map[string][]engine.LimitInfo{"trial": {{Name: "budget", Limit: 20 << 20, Used: 1 << 20, Percent: 5}}},
		Points:  []string{"keep-20261122t080000z", "keep-20261122t090000z"},
		Bytes:   1 << 20,
		Cleaned: engine.CleanReport{FreedBytes: 65 << 20, Retired: 1, PunchedBytes: 64 << 10, Compacted: 2, CopiedBytes: 1 << 20, RemainingBytes: 8 << 20},
	}
)

// history is a past that has one of everything.
var history = httpapitest.History{
	Changes: []engine.Change{{Off: 8192, Len: 4096}, {Off: 1 << 30, Len: 1 << 20, Hole: true}},
	Operations: []engine.OpInfo{
		{LSN: 2, Time: httpapitest.Start, Client: "nbd 127.0.0.1:40112", Kind: "write", Dataset: 1, Len: 5000},
		{LSN: 3, Time: httpapitest.Start, Client: "nbd 127.0.0.1:40112", Kind: "trim", Dataset: 1, Off: 4096, Len: 8192},
		{LSN: 4, Time: httpapitest.Start, Client: "api pid=7,uid=0", Kind: "rollback", Dataset: 1, At: 2, Name: "before-rollback-4"},
		{LSN: 5, Time: httpapitest.Start, Kind: "drain", Dataset: 2},
	},
	Checkpoints: []engine.CheckpointInfo{
		{Number: 1, Time: httpapitest.Start, Base: true}, {Number: 2, LSN: 3, Time: httpapitest.Start.Add(time.Second)},
	},
	Segments: []engine.SegmentInfo{{Number: 1, Allocated: 1 << 20}, {
		Number: 2, Allocated: 64 << 20, Data: 8192, Nodes: 4096, Records: 5000,
		FirstLSN: 1, LastLSN: 5, FirstTime: httpapitest.Start, LastTime: httpapitest.Start.Add(time.Second)}},
	Frames: []engine.FrameInfo{
		{Segment: 2, Seq: 9, Kind: "data", Time: httpapitest.Start, FirstLSN: 1, Ops: 2, Blocks: 3, Through: 8},
		{Segment: 2, Block: 4, Damage: "the summary fails its checksum"},
	},
	Details: []engine.OpDetail{{
		OpInfo:  engine.OpInfo{LSN: 2, Time: httpapitest.Start, Kind: "write", Dataset: 1, Off: 4096, Len: 4096},
		Segment: 2, Extents: []string{"2/1+1", "2/3+1"}}},
	Nodes: []engine.NodeInfo{{Addr: "2/17", Birth: 3, Level: 1, Count: 2, First: "0"}, {Addr: "-", Birth: 4, Count: 7, First: "0"}},
	Dump:  "00000000  76 61 72 76 65\n",
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

// checking is the key of the channel that a script's slow check closes.
type checking struct{}

func waitForCheck(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-ts.Value(checking{}).(chan struct{}):
	case <-time.After(30 * time.Second):
		ts.Fatalf("no check began")
	}
}

func sigterm(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

func corrupt(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	at := bytes.Index(b, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(name, b, 0o600))
}

func findSegment(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]) + "/log/*.seg")
	ts.Check(err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(args[1])) {
			ts.Setenv("SEGMENT", f)
			return
		}
	}
	ts.Fatalf("none of %d segments holds %q", len(files), args[1])
}

func address(ts *testscript.TestScript, _ bool, args []string) {
	s, err := httpapi.NewClient(ts.MkAbs(args[0])).Status(context.Background())
	ts.Check(err)
	ts.Setenv("ADDRESS", firstAddress(s.Server, args[1]))
}
