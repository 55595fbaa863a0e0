package iscsi

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/when"
	client "varve/test/iscsiclient"
)

// A new session of an initiator begins when no write of the old one can land any
// more: neither the one that is being executed, nor those that have been
// received behind it.
func TestReinstatementDrains(t *testing.T) {
	for _, cold := range []bool{false, true} { // the reader writes itself, or a worker does
		h := open(t, Options{}, 1)
		old := h.login(client.Options{ISID: 7})
		ghost, fresh := filled(4096, 1), filled(4096, 2)

		entered, release := make(chan struct{}), make(chan struct{})
		var first atomic.Bool
		h.hooked.set(func(uint64) {
			if first.CompareAndSwap(false, true) {
				close(entered)
				<-release
			}
		})
		lba := uint64(0)
		if cold {
			h.hooked.mu.Lock()
			h.hooked.cold = true
			h.hooked.mu.Unlock()
			lba = 1 // the edges have to be read first
		}
		if _, err := old.Start(client.Write16(lba, ghost)); err != nil {
			t.Fatal(err)
		}
		<-entered
		for range 20 {
			if _, err := old.Start(client.Write16(lba, ghost)); err != nil {
				t.Fatal(err)
			}
		}

		admitted := make(chan *client.Client)
		go func() { admitted <- h.login(client.Options{ISID: 7}) }()
		select {
		case <-admitted:
			t.Fatal("a new session was admitted while a write of the old one was under way")
		case <-time.After(200 * time.Millisecond):
		}
		close(release)
		c := <-admitted
		good(t, c, client.Write16(lba, fresh))
		time.Sleep(50 * time.Millisecond)
		expect(t, c, lba, fresh)
	}
}

// A login does not wait for ever for the session before.
func TestReinstatementGivesUp(t *testing.T) {
	h := open(t, Options{LoginTimeout: 300 * time.Millisecond}, 1)
	old := h.login(client.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	h.hooked.set(func(uint64) { close(entered); <-release })
	if _, err := old.Start(client.Write16(0, filled(512, 1))); err != nil {
		t.Fatal(err)
	}
	<-entered
	_, err := client.Login(h.addrs[0], client.Options{Target: diskName})
	var refused *client.StatusError
	if !errors.As(err, &refused) || refused.Class != 3 {
		t.Errorf("a login beside a session that does not end: %v", err)
	}
	close(release)
}

// Reinstatement takes nothing from other sessions, and tells no power-on.
func TestReinstatementIsQuiet(t *testing.T) {
	h := open(t, Options{}, 2)
	other, err := client.Login(h.addrs[1], client.Options{Target: diskName})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Do(client.TestUnitReady())
	h.login(client.Options{})
	c, err := client.Login(h.addrs[0], client.Options{Target: diskName})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good(t, c, client.TestUnitReady()) // not a unit attention
	good(t, other, client.TestUnitReady())
	for deadline := time.Now().Add(5 * time.Second); len(h.srv.Clients()) != 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // the old one is about to be forgotten
	}
	if n := len(h.srv.Clients()); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Commands are executed in the order of their numbers, each once, and what is
// outside the window is ignored.
func TestCommandOrder(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	base := c.CmdSN
	write := func(sn uint32, seed byte) uint32 {
		tag := c.Tag()
		p := c.PDU(client.Write16(0, filled(4096, seed)), tag) // whole blocks: the reader writes them
		p.Data = filled(4096, seed)
		p.Put(24, sn)
		if err := c.Send(p); err != nil {
			t.Fatal(err)
		}
		return tag
	}
	// 3, 2, again 2, far out, in the past, 1: executed 1 2 3.
	third, second := write(base+2, 3), write(base+1, 2)
	write(base+1, 9)
	write(base+window+5000, 9)
	write(base-1, 9)
	if got := h.srv.conns.All()[0].commands.Load(); got > 1 {
		t.Fatalf("%d commands were executed before their turn", got)
	}
	first := write(base, 1)
	for i, want := range []uint32{first, second, third} {
		p, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if p.Word(16) != want || p.Header[3] != client.Good {
			t.Fatalf("answer %d is for tag %d with status %d, not for %d", i, p.Word(16), p.Header[3], want)
		}
	}
	c.CmdSN = base + 3
	expect(t, c, 0, filled(4096, 3))
}

// Task management: what has an effect, on what, and what it answers.
func TestTaskManagement(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"ImmediateData": "No"}})
	want := func(what string, function byte, lun int, ref uint32, response byte) {
		t.Helper()
		got, err := c.Manage(function, lun, ref)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got != response {
			t.Errorf("%s: response %d, not %d", what, got, response)
		}
	}
	p := filled(4096, 1)
	good(t, c, client.Write16(0, p))
	for _, function := range []byte{tmfAbortTask, tmfAbortTaskSet, tmfClearTaskSet, tmfUnitReset, tmfWarmReset} {
		// A write that waits for its data is dropped, with its data.
		cmd := client.Write16(0, filled(4096, 2))
		tag, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		r2t, err := c.Recv()
		if err != nil || r2t.Opcode() != client.OpR2T {
			t.Fatalf("no R2T: %v", err)
		}
		want("abort", function, 0, tag, tmfComplete)
		if err := c.SendData(tag, r2t.Word(20), cmd.Out, 0); err != nil {
			t.Fatal(err)
		}
		for range 2 { // perhaps a unit attention
			c.Do(client.TestUnitReady())
		}
		expect(t, c, 0, p)
	}
	if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
		t.Errorf("aborted commands keep their place: a window of %d", got)
	}
	want("abort of nothing", tmfAbortTask, 0, 0x7777, tmfNoTask)
	want("abort in a LUN that is not there", tmfAbortTaskSet, 9, 0, tmfNoLUN)
	want("clear ACA", tmfClearACA, 0, 0, tmfNotSupported)
	want("reassign", tmfReassign, 0, 0, tmfNoReassign)
	want("nonsense", 99, 0, 0, tmfNotSupported)
}

// ABORT TASK of a command that is being executed is answered when it has ended,
// and the command is not.
func TestAbortWaits(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	h.hooked.mu.Lock()
	h.hooked.cold = true
	h.hooked.mu.Unlock()
	entered, release := make(chan struct{}), make(chan struct{})
	h.hooked.set(func(uint64) { close(entered); <-release })
	tag, err := c.Start(client.Write16(1, filled(512, 1)))
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	h.hooked.set(nil)
	go func() {
		time.Sleep(100 * time.Millisecond)
		close(release)
	}()
	begun := time.Now()
	got, err := c.Manage(tmfAbortTask, 0, tag) // the test's initiator refuses other answers
	if err != nil || got != tmfComplete {
		t.Fatalf("response %d, %v", got, err)
	}
	if time.Since(begun) < 100*time.Millisecond {
		t.Error("it was answered while the command was under way")
	}
	good(t, c, client.TestUnitReady())
}

// What comes after ABORT TASK SET is not aborted by it, however late the function
// is executed.
func TestAbortTakesNothingLater(t *testing.T) {
	h := open(t, Options{Workers: 1}, 1)
	c := h.login(client.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	h.hooked.set(func(uint64) { close(entered); <-release })
	if _, err := c.Start(client.Write16(1, filled(512, 1))); err != nil { // a part of a block: a worker's
		t.Fatal(err)
	}
	<-entered
	h.hooked.set(nil)
	manage(t, c, 0x999, tmfAbortTaskSet, client.NoTag)
	later, err := c.Start(client.Write16(9, filled(512, 2)))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // it has been received
	close(release)
	for _, tag := range []uint32{0x999, later} {
		p, err := c.Recv()
		if err != nil || p.Word(16) != tag || p.Header[2] != 0 || p.Header[3] != client.Good {
			t.Fatalf("tag %d: %+v, %v", tag, p, err)
		}
	}
	expect(t, c, 9, filled(512, 2))
}

// What waits for an ORDERED command, or as one, goes on when that is aborted.
func TestAbortWakes(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"ImmediateData": "No"}})
	tag, err := c.Start(client.Write16(0, filled(4096, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Recv(); err != nil || p.Opcode() != client.OpR2T {
		t.Fatalf("no R2T: %+v, %v", p, err)
	}
	ordered := client.TestUnitReady()
	ordered.Attr = attrOrdered
	waits, err := c.Start(ordered)
	if err != nil {
		t.Fatal(err)
	}
	manage(t, c, 0x999, tmfAbortTask, tag)
	left := map[uint32]bool{0x999: true, waits: true}
	for len(left) > 0 {
		p, err := c.Recv()
		if err != nil || !left[p.Word(16)] || p.Header[2] != 0 || p.Header[3] != client.Good {
			t.Fatalf("%+v, %v; still to come: %v", p, err, left)
		}
		delete(left, p.Word(16))
	}
}

// manage sends a task management function for LUN 0, and does not wait.
func manage(t *testing.T, c *client.Client, tag uint32, function byte, reference uint32) {
	t.Helper()
	p := &client.PDU{}
	p.Header[0], p.Header[1] = client.OpTask|client.Immediate, 0x80|function
	p.Put(16, tag)
	p.Put(20, reference)
	p.Put(24, c.CmdSN)
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
}

// A graceful stop lets commands end, and says that the connection does.
func TestShutdown(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	h.hooked.set(func(uint64) { close(entered); <-release })
	tag, err := c.Start(client.Write16(0, filled(512, 1)))
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	down := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		down <- h.srv.Shutdown(ctx)
	}()
	time.Sleep(50 * time.Millisecond)
	close(release)
	r, err := c.Finish(client.Write16(0, nil), tag)
	if err != nil || r.Status != client.Good {
		t.Errorf("the write under way: %+v, %v", r, err)
	}
	p, err := c.Recv()
	if err != nil || p.Opcode() != client.OpAsync || p.Header[36] != asyncDropConnection {
		t.Errorf("no word of the end: %v, %v", p, err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", h.addrs[0]); err == nil {
		t.Error("it still listens")
	}
}

// A connection that comes while the server stops does not begin a login.
func TestShutdownBeforeLogin(t *testing.T) {
	h := open(t, Options{}, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(h.srv, nc, h.srv.portals[0])
	c.nc.Drain()
	begun := time.Now()
	c.serve()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it was waited for for %v", took)
	}
}

// Who is silent is asked, and cut off if no answer comes.
func TestPing(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	look := func() {
		for _, c := range h.srv.conns.All() {
			c.look()
		}
	}
	for range 5 { // Recv answers pings, and finds the answer to our command behind them
		look()
		look()
		good(t, c, client.TestUnitReady())
	}
	for range 5 {
		look()
	}
	for {
		if _, err := c.Recv(); err != nil {
			break
		}
	}
	if n := len(h.srv.Clients()); n > 1 {
		t.Errorf("%d connections", n)
	}

	// And the other way round.
	c = h.login(client.Options{})
	p := &client.PDU{Data: []byte("are you there?")}
	p.Header[0], p.Header[1] = client.OpNopOut|client.Immediate, 0x80
	p.Put(16, 5)
	p.Put(20, client.NoTag)
	p.Put(24, c.CmdSN)
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
	r, err := c.Recv()
	if err != nil || r.Opcode() != client.OpNopIn || r.Word(16) != 5 || string(r.Data) != string(p.Data) {
		t.Errorf("ping: %v, %v", r, err)
	}
}

// Several volumes in one target, moments, and a volume that is taken away.
func TestTargets(t *testing.T) {
	h := open(t, Options{}, 2)
	for _, v := range []string{"e", "f"} {
		if _, err := h.e.CreateVolume(engine.Caller{}, v, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string, props ...string) {
		for i := 0; i < len(props); i += 2 {
			if _, err := h.e.Set(engine.Caller{}, name, props[i], props[i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("e", "iscsi-target", "iqn.2026-11.test:both", "iscsi-lun", "3")
	set("f", "iscsi-target", "iqn.2026-11.test:both", "iscsi-lun", "1")
	c := h.login(client.Options{Target: "iqn.2026-11.test:both"})
	for lun, v := range map[int]byte{1: 1, 3: 3} {
		w := client.Write16(0, filled(512, v))
		w.LUN = lun
		for range 2 { // perhaps a unit attention first
			c.Do(w)
		}
		r := client.Read16(0, 1)
		r.LUN = lun
		if got := good(t, c, r); string(got.Data) != string(filled(512, v)) {
			t.Errorf("LUN %d has other bytes", lun)
		}
	}
	w := client.Write16(0, filled(512, 9))
	if r, err := c.Do(w); err != nil || r.Key() != "5/25/00" {
		t.Errorf("LUN 0: %+v, %v", r, err)
	}

	d := h.login(client.Options{})
	good(t, d, client.Write16(0, filled(512, 4)))
	if _, err := h.e.Snapshot(engine.Caller{}, "d", "one"); err != nil {
		t.Fatal(err)
	}
	good(t, d, client.Write16(0, filled(512, 5)))
	for _, name := range []string{diskName + ":one", diskName + "@one"} {
		past := h.login(client.Options{Target: name})
		expect(t, past, 0, filled(512, 4))
		if r, err := past.Do(client.Write16(0, filled(512, 6))); err != nil || r.Key() != "7/27/00" {
			t.Errorf("a write to the past: %+v, %v", r, err)
		}
	}
	for _, name := range []string{diskName + ":never", Prefix + "nobody", "nonsense"} {
		if _, err := client.Login(h.addrs[0], client.Options{Target: name}); err == nil || err.Error() != "login refused: status 0203" {
			t.Errorf("%s: %v", name, err)
		}
	}

	h.hooked.mu.Lock()
	kicks := h.hooked.kicks
	h.hooked.mu.Unlock()
	for _, kick := range kicks {
		kick()
	}
	if _, err := d.Do(client.TestUnitReady()); err == nil {
		t.Error("a session goes on without its volume")
	}
}

// The rights of one volume do not open another that has its name when it comes to
// that.
func TestRenamedInLogin(t *testing.T) {
	h := open(t, Options{}, 1)
	h.hooked.mu.Lock()
	h.hooked.open = func() {
		if _, err := h.e.Rename(engine.Caller{}, "d", "old"); err != nil {
			t.Error(err)
		}
		if _, err := h.e.CreateVolume(engine.Caller{}, "d", 1<<20); err != nil {
			t.Error(err)
		}
	}
	h.hooked.mu.Unlock()
	if _, err := client.Login(h.addrs[0], client.Options{Target: diskName}); err == nil || err.Error() != "login refused: status 0203" {
		t.Errorf("a volume that was never judged: %v", err)
	}
}

// After a rollback that cut their sessions initiators are told of a power on, also
// those that were away.
func TestRollbackIsTold(t *testing.T) {
	h := open(t, Options{}, 1)
	h.login(client.Options{ISID: 2}).Close()
	c := h.login(client.Options{ISID: 1})
	good(t, c, client.Write16(0, filled(4096, 1)))
	i, err := h.e.Dataset("d")
	if err != nil {
		t.Fatal(err)
	}
	good(t, c, client.Write16(0, filled(4096, 2)))
	if _, err := h.e.Rollback(engine.Caller{}, "d", when.Spec{Kind: when.LSN, LSN: i.ChangedLSN}, true); err != nil {
		t.Fatal(err)
	}
	for _, isid := range []uint32{1, 2} {
		c, err := client.Login(h.addrs[0], client.Options{Target: diskName, ISID: isid})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if r, err := c.Do(client.Read16(0, 8)); err != nil || r.Key() != "6/29/00" {
			t.Errorf("%d: %+v, %v", isid, r, err)
		}
		expect(t, c, 0, filled(4096, 1))
	}
}

// Discovery lists what the initiator may use, with every portal.
func TestDiscovery(t *testing.T) {
	h := open(t, Options{}, 2)
	if _, err := h.e.CreateVolume(engine.Caller{}, "hidden", 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := h.e.Set(engine.Caller{}, "hidden", "iscsi-initiators", "iqn.2026-11.test:somebody"); err != nil {
		t.Fatal(err)
	}
	c, err := client.Login(h.addrs[1], client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := askText(t, c, client.NoTag, client.Text(map[string]string{"SendTargets": "All"}))
	want := "TargetName=" + diskName + "\x00TargetAddress=" + h.addrs[0] + ",1\x00TargetAddress=" + h.addrs[1] + ",2\x00"
	if string(r.Data) != want {
		t.Errorf("discovery says %q, not %q", r.Data, want)
	}
	for _, s := range h.srv.conns.All() {
		s.since = time.Now().Add(-2 * discoveryTime)
		s.look()
	}
	if _, err := c.Recv(); err == nil {
		t.Error("discovery lasts for ever")
	}
	if c, err = client.Login(h.addrs[1], client.Options{}); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Do(client.TestUnitReady()); err == nil {
		t.Errorf("a command in a discovery session: %+v", r)
	}
}
