package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/vfs"
)

// restarts is a share on a disk that can lose power, and a clock that only the
// test turns.
type restarts struct {
	t     *testing.T
	disk  *vfs.Mem
	e     *engine.Engine
	clock wrist
	id    uint64
	xid   uint32
}

func newRestarts(t *testing.T) *restarts {
	r := &restarts{t: t, disk: vfs.NewMem(1), clock: wrist{time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}}
	if err := engine.Format(makeDir(t, r.disk, 1<<20), r.clock.t, seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		t.Fatal(err)
	}
	r.open()
	if _, err := r.e.CreateShare(tester, "home", 0o755, 0, 0); err != nil {
		t.Fatal(err)
	}
	i, err := r.e.Dataset("home")
	if err != nil {
		t.Fatal(err)
	}
	r.id = i.ID
	t.Cleanup(func() { r.e.Abort() })
	return r
}

func (r *restarts) open() {
	r.t.Helper()
	r.disk = r.disk.Kill()
	var err error
	if r.e, err = engine.Open(engine.Options{
		Store: openDir(r.t, r.disk), Now: r.clock.now, CheckpointEvery: -1,
		Segment: func(o *segment.Options) { o.MarkerDelay = -1 },
	}); err != nil {
		r.t.Fatal(err)
	}
}

// close ends the engine cleanly, and opens it after a while.
func (r *restarts) close(pause time.Duration) {
	r.t.Helper()
	if err := r.e.Close(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.clock.t = r.clock.t.Add(pause)
	r.open()
}

// crash cuts the power, and opens what is left after a while.
func (r *restarts) crash(pause time.Duration) {
	r.t.Helper()
	r.disk = r.disk.Crash(rand.New(rand.NewPCG(uint64(r.xid), 7)))
	r.e.Abort()
	r.clock.t = r.clock.t.Add(pause)
	r.open()
}

// request makes a file by a request that the client may send again, and returns
// its XID.
func (r *restarts) request(after time.Duration) uint32 {
	r.t.Helper()
	r.clock.t = r.clock.t.Add(after)
	r.xid++
	r.change(&oplog.Request{XID: r.xid, Sum: uint64(r.xid) << 40})
	return r.xid
}

func (r *restarts) change(req *oplog.Request) {
	r.t.Helper()
	h := newHand(r.t, r.e, r.id)
	defer h.Detach()
	op := &oplog.Op{
		Kind: oplog.Create, Dir: inode.Root, Name: fmt.Sprint(r.xid, req == nil), UID: 7, Client: &oplog.Client{Name: "nfs here"},
		Request: req, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: inode.ModeFile},
	}
	err := h.Change(op, func(inode.Reader) error {
		op.Ino = h.NextIno()
		return nil
	}, nil)
	if err == nil {
		err = h.Commit(op.LSN)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// wants compares the requests of the last two minutes.
func (r *restarts) wants(what string, xids ...uint32) {
	r.t.Helper()
	var got []uint32
	err := r.e.Recent(2*time.Minute, func(op *oplog.Op) {
		got = append(got, op.Request.XID)
		if op.Kind != oplog.Create || op.Request.Sum != uint64(op.Request.XID)<<40 || op.UID != 7 || op.Client.Name != "nfs here" || op.Ino == 0 {
			r.t.Errorf("%s: a request comes back as %+v", what, op)
		}
	})
	if err != nil || !slices.Equal(got, xids) {
		r.t.Errorf("%s: the requests are %v, want %v (%v)", what, got, xids, err)
	}
}

// What clients may send again is remembered over restarts and crashes, as of
// the last two minutes before the log ended, however long the server was away.
func TestRecent(t *testing.T) {
	r := newRestarts(t)
	r.wants("nothing yet")
	a := r.request(0)
	b := r.request(time.Minute)
	r.change(nil)
	r.wants("now", a, b)
	if err := r.e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	r.wants("after a checkpoint", a, b)
	c := r.request(59 * time.Second)
	r.wants("later", a, b, c)
	r.crash(0)
	r.wants("after a crash", a, b, c)
	r.close(time.Second)
	r.wants("after a restart", a, b, c)
	d := r.request(10 * time.Second)
	r.wants("the first has passed", b, c, d)
	r.close(time.Hour)
	r.wants("after an hour away", b, c, d)
	r.crash(time.Hour)
	r.wants("after a crash and an hour", b, c, d)
	f := r.request(0)
	r.wants("in another hour", f)
	r.crash(0)
	r.wants("and after a crash", f)
}

// The write verifier says whether writes that were not committed may be lost.
func TestVerifier(t *testing.T) {
	r := newRestarts(t)
	seen := map[uint64]bool{r.e.Verifier(): true}
	same := func(what string, v uint64) {
		t.Helper()
		if r.e.Verifier() != v {
			t.Errorf("%s: the verifier has changed", what)
		}
	}
	changed := func(what string) {
		t.Helper()
		if seen[r.e.Verifier()] {
			t.Errorf("%s: the verifier is one there was before", what)
		}
		seen[r.e.Verifier()] = true
	}
	v := r.e.Verifier()
	r.request(0)
	r.close(0)
	same("closed cleanly", v)
	r.close(time.Hour)
	same("and again", v)
	r.crash(0)
	changed("a crash of a pool that nothing was written to")
	r.request(0)
	r.crash(0)
	changed("a crash after an operation")
	v = r.e.Verifier()
	if err := r.e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	same("a checkpoint", v)
	r.crash(0)
	changed("a crash after a checkpoint")
	v = r.e.Verifier()
	r.close(0)
	same("closed cleanly after crashes", v)
}
