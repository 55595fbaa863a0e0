package engine_test

import (
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// oneVolume opens a pool with a volume "d" that has a snapshot "s".
func oneVolume(t *testing.T) *engine.Engine {
	t.Helper()
	c := newCrowd(t, engine.Options{Store: mem.New(4<<20, 1<<30), CheckpointEvery: -1, KickTimeout: 50 * time.Millisecond})
	t.Cleanup(c.e.Abort)
	for _, err := range []error{
		second(c.e.CreateVolume(tester, "d", 64*block)),
		second(c.e.Snapshot(tester, "d", "s")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c.e
}

var (
	atSnap   = when.Spec{Kind: when.Snapshot, Name: "s"}
	somebody = engine.Caller{Proto: "NBD", Addr: "127.0.0.1:40112"}
)

func wantBusy(t *testing.T, what string, err error, names string) {
	t.Helper()
	if !fail.Is(err, fail.Busy) || !strings.Contains(err.Error(), names) {
		t.Errorf("%s: %v, want busy, naming %q", what, err, names)
	}
}

// A writer keeps rollback and destroy away; a reader does not.
func TestBusy(t *testing.T) {
	e := oneVolume(t)
	h, err := e.Attach("d", somebody, true, func() { t.Error("kicked without force") })
	if err != nil {
		t.Fatal(err)
	}
	last := e.Status().LastLSN
	_, err = e.Rollback(tester, "d", atSnap, false)
	wantBusy(t, "rollback", err, "127.0.0.1:40112 (NBD")
	if !strings.Contains(err.Error(), "--force") {
		t.Errorf("the error does not say how to go on: %v", err)
	}
	wantBusy(t, "destroy", second(e.Destroy(tester, "d", false)), "127.0.0.1:40112 (NBD")
	if now := e.Status().LastLSN; now != last {
		t.Errorf("refused operations took lsns %d to %d", last+1, now)
	}
	if info, _ := e.Dataset("d"); len(info.Writers) != 1 || !strings.Contains(info.Writers[0], "40112") {
		t.Errorf("writers: %v", info.Writers)
	}
	h.Detach()
	h.Detach() // twice does no harm
	r, err := e.Attach("d", somebody, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Detach()
	if _, err := e.Rollback(tester, "d", atSnap, true); err != nil {
		t.Error(err)
	}
}

// Force asks the writers to go and waits for them; meanwhile nobody comes.
func TestForce(t *testing.T) {
	e := oneVolume(t)
	var writers []*vol.Volume
	var late error
	for range 3 {
		var v *vol.Volume
		gone := make(chan struct{})
		kick := func() {
			_, late = e.Attach("d", somebody, true, nil)
			go func() {
				defer close(gone)
				if err := v.WriteAt(make([]byte, block), 0); err != nil { // under way when the kick came
					t.Error(err)
				}
				v.Close()
			}()
		}
		v, err := vol.Open(e, "d", nil, somebody, kick)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { <-gone })
		writers = append(writers, v)
	}
	if err := writers[0].WriteAt(make([]byte, block), 5*block); err != nil {
		t.Fatal(err)
	}
	done, err := e.Rollback(tester, "d", atSnap, true)
	if err != nil {
		t.Fatal(err)
	}
	wantBusy(t, "attaching during a forced rollback", late, "rolled back")
	if done.Guard == "" || done.LSN != e.Status().LastLSN || done.Moment == nil || done.Moment.LSN != 2 {
		t.Errorf("%+v", done)
	}
	v, err := vol.Open(e, "d", nil, tester, func() {})
	if err != nil {
		t.Fatalf("attaching after the rollback: %v", err)
	}
	defer v.Close()
	var spans []vol.Span
	if err := v.ReadAt(make([]byte, 64*block), 0, &spans); err != nil || len(spans) != 1 || !spans[0].Hole {
		t.Errorf("after the rollback: %v %v", spans, err)
	}
	guard := when.Spec{Kind: when.Snapshot, Name: done.Guard}
	g, err := vol.Open(e, "d", &guard, tester, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	spans = nil
	if err := g.ReadAt(make([]byte, block), 5*block, &spans); err != nil || spans[0].Hole {
		t.Errorf("the guard snapshot: %v %v", spans, err)
	}
}

// A client that does not go keeps the rollback away, and is named; the volume
// is as it was.
func TestForceInVain(t *testing.T) {
	e := oneVolume(t)
	kicks := make(chan struct{}, 2)
	h, err := e.Attach("d", somebody, true, func() { kicks <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	last := e.Status().LastLSN
	_, err = e.Rollback(tester, "d", atSnap, true)
	wantBusy(t, "forced rollback", err, "127.0.0.1:40112 (NBD")
	if len(kicks) != 1 || e.Status().LastLSN != last {
		t.Errorf("%d kicks, lsn %d, was %d", len(kicks), e.Status().LastLSN, last)
	}
	if err := h.Write(0, block, [][]byte{make([]byte, block)}, nil); err != nil {
		t.Errorf("the client that stayed: %v", err)
	}
	o, err := e.Attach("d", tester, true, func() {})
	if err != nil {
		t.Errorf("attaching after a rollback in vain: %v", err)
	} else {
		o.Detach()
	}
	h.Detach()
	if _, err := e.Rollback(tester, "d", atSnap, true); err != nil {
		t.Error(err)
	}
	_, err = e.Attach("nothing", tester, true, nil)
	if !fail.Is(err, fail.NotFound) {
		t.Error(err)
	}
}
