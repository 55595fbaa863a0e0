package iscsi

import (
	"testing"
	"time"

	client "varve/test/iscsiclient"
)

// logoutPDU is a logout request.
func logoutPDU(c *client.Client, reason byte, cid uint32) *client.PDU {
	p := &client.PDU{}
	p.Header[0], p.Header[1] = client.OpLogout|client.Immediate, 0x80|reason
	p.Put(16, c.Tag())
	p.Put(20, cid<<16)
	p.Put(24, c.CmdSN)
	p.Put(28, c.ExpStatSN)
	return p
}

// logoutOf sends a logout request and returns what it is answered.
func logoutOf(t *testing.T, c *client.Client, reason byte, cid uint32) *client.PDU {
	t.Helper()
	return ask(t, c, logoutPDU(c, reason, cid))
}

var reserve = client.Command{CDB: []byte{0x16, 0, 0, 0, 0, 0}}

// reserved logs two initiators in, of which the first has reserved the unit.
func reserved(t *testing.T) (first, second *client.Client) {
	t.Helper()
	h := open(t, Options{}, 1)
	first = h.login(client.Options{})
	good(t, first, reserve)
	second = h.login(client.Options{Initiator: "iqn.2026-11.test:second"})
	if r, err := second.Do(reserve); err != nil || r.Status != 0x18 {
		t.Fatalf("a reservation of another is passed over: %+v, %v", r, err)
	}
	return first, second
}

// A logout that does not end this connection takes nothing from it, least of all
// the commands under way.
func TestLogoutOfOthers(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"ImmediateData": "No"}})
	for _, tt := range []struct {
		name             string
		reason           byte
		cid              uint32
		opcode, response byte
	}{
		{"recovery", 2, 0, client.OpLogoutR, 2},
		{"another connection", 1, 7, client.OpLogoutR, 1},
		{"no reason there is", 3, 0, client.OpReject, rejectInvalid},
	} {
		cmd := client.Write16(0, filled(4096, tt.reason))
		tag, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		r2t, err := c.Recv()
		if err != nil || r2t.Opcode() != client.OpR2T {
			t.Fatalf("no R2T: %v", err)
		}
		if r := logoutOf(t, c, tt.reason, tt.cid); r.Opcode() != tt.opcode || r.Header[2] != tt.response {
			t.Errorf("%s: opcode %#x, response %d", tt.name, r.Opcode(), r.Header[2])
		}
		if err := c.SendData(tag, r2t.Word(20), cmd.Out, 0); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Finish(cmd, tag); err != nil || r.Status != client.Good {
			t.Fatalf("%s: the write under way: %+v, %v", tt.name, r, err)
		}
		expect(t, c, 0, cmd.Out)
	}
	if r := logoutOf(t, c, 1, 0); r.Opcode() != client.OpLogoutR || r.Header[2] != 0 {
		t.Errorf("the connection itself: opcode %#x, response %d", r.Opcode(), r.Header[2])
	}
	if _, err := c.Recv(); err == nil {
		t.Error("the connection outlives its logout")
	}
}

// What a session held is free when its logout is answered, before its initiator
// closes the connection: the next in a cluster comes at once.
func TestLogoutReleases(t *testing.T) {
	first, second := reserved(t)
	if r := logoutOf(t, first, 0, 0); r.Opcode() != client.OpLogoutR || r.Header[2] != 0 {
		t.Fatalf("opcode %#x, response %d", r.Opcode(), r.Header[2])
	}
	good(t, second, reserve)
	if _, err := first.Recv(); err == nil {
		t.Error("the connection outlives its logout")
	}
}

// So it is when a session ends by an error, before its initiator has closed.
func TestErrorReleases(t *testing.T) {
	first, second := reserved(t)
	p := make([]byte, headerSize)
	p[0], p[1] = client.OpNopOut|client.Immediate, 0x80
	copy(p[5:], []byte{0xff, 0xff, 0xff}) // longer than any data may be
	if err := first.SendRaw(p); err != nil {
		t.Fatal(err)
	}
	if p, err := first.Recv(); err == nil {
		t.Fatalf("opcode %#x for a length beyond all bounds", p.Opcode())
	}
	good(t, second, reserve)
}

// However many replies are at hand, the answer to a logout does not go with them while
// a write is under way.
func TestLogoutBehindReplies(t *testing.T) {
	for _, blocks := range []int{9, 10, 13} { // of the last read: with 10 the answer makes 64 KiB full
		h := open(t, Options{}, 1)
		first := h.login(client.Options{Keys: map[string]string{"MaxRecvDataSegmentLength": "65536"}})
		entered, release := make(chan struct{}), make(chan struct{})
		h.hooked.set(func(uint64) {
			close(entered)
			<-release
		})
		if _, err := first.Start(client.Write16(1, filled(512, 1))); err != nil {
			t.Fatal(err)
		}
		<-entered
		var calls []byte
		for i := range 10 {
			n := 13
			if i == 9 {
				n = blocks
			}
			calls = append(calls, first.PDU(client.Read16(uint64(100+20*i), n), first.Tag()).Header[:]...)
		}
		if err := first.SendRaw(append(calls, logoutPDU(first, 0, 0).Header[:]...)); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			for {
				if p, err := first.Recv(); err != nil || p.Opcode() == client.OpLogoutR {
					answered <- err
					return
				}
			}
		}()
		select {
		case err := <-answered:
			t.Error("the logout is answered while a write of the session is under way")
			answered <- err
		case <-time.After(200 * time.Millisecond):
		}
		close(release)
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

// What is rejected, or has no answer, gives its place in the window back.
func TestPlaceInWindowComesBack(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	for name, header := range map[string]func(p *client.PDU){
		"an opcode that is none": func(p *client.PDU) { p.Header[0] = 0x1c },
		"a ping without a tag": func(p *client.PDU) {
			p.Header[0] = client.OpNopOut
			p.Put(16, client.NoTag)
			p.Put(20, client.NoTag)
		},
	} {
		p := &client.PDU{}
		p.Header[1] = 0x80
		p.Put(24, c.CmdSN)
		header(p)
		c.CmdSN++
		if err := c.Send(p); err != nil {
			t.Fatal(err)
		}
		if p.Opcode() != client.OpNopOut {
			if r, err := c.Recv(); err != nil || r.Opcode() != client.OpReject {
				t.Fatalf("%s: %v", name, err)
			}
		}
		good(t, c, client.TestUnitReady())
		if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
			t.Errorf("after %s: a window of %d", name, got)
		}
	}
}
