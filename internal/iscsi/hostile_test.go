package iscsi

import (
	"bytes"
	"errors"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	client "varve/test/iscsiclient"
)

// refused logs in step by step and returns the status of the refusal.
func status(t *testing.T, err error) string {
	t.Helper()
	var s *client.StatusError
	if !errors.As(err, &s) {
		return "no refusal: " + errString(err)
	}
	return err.Error()[len("login refused: status "):]
}

func errString(err error) string {
	if err == nil {
		return "admitted"
	}
	return err.Error()
}

const (
	secretIn  = "initiator-secret"
	secretOut = "target-secret-1"
)

func (h *house) protect() {
	h.set("iscsi-user", "alice", "iscsi-secret", secretIn, "iscsi-mutual-user", "varve", "iscsi-mutual-secret", secretOut)
}

// Who does not know the secret gets nothing, and we prove that we know ours.
func TestCHAP(t *testing.T) {
	h := open(t, Options{}, 1)
	h.protect()
	right := client.Options{Target: diskName, User: "alice", Secret: secretIn, OurUser: "varve", OurSecret: secretOut}
	c := h.login(right)
	good(t, c, client.TestUnitReady())
	oneWay := right
	oneWay.OurUser = ""
	h.login(oneWay)
	for name, change := range map[string]func(o *client.Options){
		"wrong secret":     func(o *client.Options) { o.Secret = "initiator-secreT" },
		"no secret":        func(o *client.Options) { o.Secret = "" },
		"the other secret": func(o *client.Options) { o.Secret = secretOut },
		"wrong user":       func(o *client.Options) { o.User = "bob" },
		"no CHAP":          func(o *client.Options) { o.User = "" },
	} {
		o := right
		change(&o)
		if _, err := client.Login(h.addrs[0], o); status(t, err) != "0201" {
			t.Errorf("%s: %v", name, errString(err))
		}
	}
	// The same secret both ways would let anybody have us answer for him.
	h.set("iscsi-mutual-secret", secretIn)
	if _, err := client.Login(h.addrs[0], right); status(t, err) != "0201" {
		t.Errorf("the same secret both ways: %v", errString(err))
	}
	for _, d := range h.e.Datasets(false) {
		for k, v := range d.Properties {
			if strings.Contains(v, "secret") {
				t.Errorf("%s is shown: %s", k, v)
			}
		}
	}
}

// The steps of CHAP, by hand and wrong.
func TestCHAPSteps(t *testing.T) {
	h := open(t, Options{}, 1)
	h.protect()
	hello := map[string]string{"InitiatorName": "iqn.2026-11.test:i", "TargetName": diskName, "AuthMethod": "CHAP,None"}
	dial := func() *client.Client {
		c, err := client.Dial(h.addrs[0], client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	challenge := func(c *client.Client, algorithms string) (map[string]string, error) {
		if a, err := c.LoginStep(0, 1, false, hello); err != nil || a["AuthMethod"] != "CHAP" {
			t.Fatalf("%v, %v", a, err)
		}
		return c.LoginStep(0, 1, false, map[string]string{"CHAP_A": algorithms})
	}
	for list, want := range map[string]string{"5": "5", "99,7,5": "7", "6": "6", "8,5": "8"} {
		if a, err := challenge(dial(), list); err != nil || a["CHAP_A"] != want || len(a["CHAP_C"]) < 2+2*16 {
			t.Errorf("CHAP_A=%s: %v, %v", list, a, err)
		}
	}
	if _, err := challenge(dial(), "1,2,99"); status(t, err) != "0201" {
		t.Errorf("unknown algorithms: %v", err)
	}

	// An answer is good for its own challenge, and once.
	c := dial()
	a, err := challenge(c, "5")
	if err != nil {
		t.Fatal(err)
	}
	answer := map[string]string{"CHAP_N": "alice", "CHAP_R": client.Response(a["CHAP_I"], secretIn, a["CHAP_C"])}
	other := dial()
	b, err := challenge(other, "5")
	if err != nil {
		t.Fatal(err)
	}
	if a["CHAP_C"] == b["CHAP_C"] {
		t.Error("the same challenge twice")
	}
	if _, err := other.LoginStep(0, 1, true, answer); status(t, err) != "0201" {
		t.Errorf("a replayed answer: %v", err)
	}

	// Our own challenge does not come back to us.
	reflected := maps.Clone(answer)
	reflected["CHAP_I"], reflected["CHAP_C"] = a["CHAP_I"], a["CHAP_C"]
	if _, err := c.LoginStep(0, 1, true, reflected); status(t, err) != "0201" {
		t.Errorf("a reflected challenge: %v", err)
	}

	for name, keys := range map[string]map[string]string{
		"no challenge before":   {"CHAP_N": "alice", "CHAP_R": "0x00"},
		"an absurd response":    {"CHAP_N": "alice", "CHAP_R": strings.Repeat("0x11", 1000)},
		"an empty response":     {"CHAP_N": "alice", "CHAP_R": "0x"},
		"a response of no form": {"CHAP_N": "alice", "CHAP_R": "hello"},
	} {
		c := dial()
		if name != "no challenge before" {
			if _, err := challenge(c, "5"); err != nil {
				t.Fatal(err)
			}
		} else if _, err := c.LoginStep(0, 1, false, hello); err != nil {
			t.Fatal(err)
		}
		if _, err := c.LoginStep(0, 1, true, keys); status(t, err) != "0201" {
			t.Errorf("%s: %v", name, errString(err))
		}
	}
	// Straight to the operational stage, and past both.
	if _, err := dial().LoginStep(1, 3, true, hello); status(t, err) != "0201" {
		t.Errorf("without the security stage: %v", errString(err))
	}
	c = dial()
	if _, err := c.LoginStep(0, 3, true, map[string]string{"InitiatorName": "iqn.2026-11.test:i", "TargetName": diskName}); err != nil {
		if status(t, err)[:2] != "02" {
			t.Errorf("past both stages: %v", err)
		}
	} else if a, err := c.LoginStep(0, 3, true, nil); err == nil {
		t.Errorf("past both stages: %v", a)
	}
	if n := len(h.srv.sessions.byKey); n != 0 {
		t.Errorf("%d sessions of nobody", n)
	}
}

// No LUN but for those who may use it.
func TestAccess(t *testing.T) {
	h := open(t, Options{}, 1)
	name := "iqn.2026-11.test:host-1"
	for _, tt := range []struct {
		clients, initiators string
		ok                  bool
	}{
		{"", "", true},
		{"10.0.0.0/8", "", false},
		{"10.0.0.0/8,127.0.0.0/8", "", true},
		{"", name, true},
		{"", "iqn.2026-11.test:host-*", true},
		{"", "iqn.2026-11.test:other", false},
		{"", "iqn.2026-11.test:host", false},
		{"10.1.2.3", name, false},
	} {
		h.set("iscsi-clients", tt.clients, "iscsi-initiators", tt.initiators)
		c, err := client.Login(h.addrs[0], client.Options{Target: diskName, Initiator: name})
		if tt.ok != (err == nil) {
			t.Errorf("clients %q, initiators %q: %v", tt.clients, tt.initiators, errString(err))
		}
		if err == nil {
			c.Close()
		} else if status(t, err) != "0202" {
			t.Errorf("refused with %v", err)
		}
	}
	// Half of a pair of credentials lets nobody in.
	h.set("iscsi-clients", "", "iscsi-initiators", "", "iscsi-user", "alice")
	if _, err := client.Login(h.addrs[0], client.Options{Target: diskName}); status(t, err) != "0202" {
		t.Errorf("a user without a secret: %v", errString(err))
	}
}

// What an initiator must not send ends its connection, or its command, and
// nothing else.
func TestHostile(t *testing.T) {
	h := open(t, Options{}, 1)
	bystander := h.login(client.Options{ISID: 99})
	pdu := func(c *client.Client, change func(p *client.PDU)) []byte {
		p := c.PDU(client.Write16(0, filled(4096, 1)), c.Tag())
		change(p)
		n := len(p.Data)
		p.Header[5], p.Header[6], p.Header[7] = byte(n>>16), byte(n>>8), byte(n)
		return append(p.Header[:], p.Data...)
	}
	for name, send := range map[string]func(c *client.Client) []byte{
		"data longer than declared": func(c *client.Client) []byte {
			p := pdu(c, func(*client.PDU) {})
			p[5], p[6], p[7] = 0xff, 0xff, 0xff
			return p
		},
		"more immediate data than expected": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Put(20, 100); p.Data = make([]byte, 4096) })
		},
		"more immediate data than the first burst": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Put(20, 1<<20); p.Data = make([]byte, 70<<10) })
		},
		"immediate data of a read": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Header[1] = 0xc1; p.Data = make([]byte, 512) })
		},
		"unsolicited data that was not agreed upon": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Header[1] &^= 0x80 })
		},
		"no tag": func(c *client.Client) []byte { return pdu(c, func(p *client.PDU) { p.Put(16, client.NoTag) }) },
		"tag in use": func(c *client.Client) []byte {
			a, b := pdu(c, func(p *client.PDU) { p.Put(16, 5) }), pdu(c, func(p *client.PDU) { p.Put(16, 5) })
			return append(a, b...)
		},
		"a login": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Header[0] = client.OpLogin | 0x40 })
		},
		"text that is none": func(c *client.Client) []byte {
			return pdu(c, func(p *client.PDU) { p.Header[0] = client.OpText; p.Put(20, client.NoTag); p.Data = []byte("no key..") })
		},
	} {
		c := h.login(client.Options{})
		if err := c.SendRaw(send(c)); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := c.Recv(); err != nil {
				if errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "timeout") {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
		}
		good(t, bystander, client.TestUnitReady())
	}

	// These are answered, and the session goes on.
	c := h.login(client.Options{})
	for name, p := range map[string][]byte{
		"unknown opcode": pdu(c, func(p *client.PDU) { p.Header[0] = 0x1c }),
		"a SNACK":        pdu(c, func(p *client.PDU) { p.Header[0] = 0x10 | 0x40; c.CmdSN-- }),
	} {
		if err := c.SendRaw(p); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Recv(); err != nil || r.Opcode() != client.OpReject {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	huge := client.Write16(0, filled(512, 1)) // expects to send 4 GiB for one block
	huge.EDTL = 0xffffffff
	if r := good(t, c, huge); r.Flags&2 == 0 {
		t.Errorf("4 GiB expected for one block: %+v", r)
	}
	ahs := pdu(c, func(p *client.PDU) { p.Header[4] = 255; p.Header[1] = 0x81; p.Put(20, 0); clear(p.Header[32:]) })
	if err := c.SendRaw(append(ahs, make([]byte, 1020)...)); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Recv(); err != nil || r.Header[3] != client.Good {
		t.Errorf("1020 bytes of additional headers: %v, %v", r, err)
	}
	good(t, c, client.TestUnitReady())
}

// Unsolicited data of no bytes is against the rules, and harms nobody else.
func TestNothingUnsolicited(t *testing.T) {
	h := open(t, Options{}, 1)
	bystander := h.login(client.Options{ISID: 99})
	c := h.login(client.Options{Keys: map[string]string{"InitialR2T": "No"}})
	p := c.PDU(client.Write16(0, filled(4096, 1)), c.Tag())
	p.Header[1] = 0x21 // W, and not F
	p.Put(20, 0)
	p.Data = nil
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Recv(); err == nil {
		t.Errorf("answered with opcode %#x", r.Opcode())
	}
	good(t, bystander, client.TestUnitReady())
}

// A connection that is cut in the middle of immediate data gives back the memory
// that the data had.
func TestCutInImmediateData(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"FirstBurstLength": "262144"}})
	own := client.Write16(0, filled(MaxTransfer, 1)) // takes what the connection has to itself
	if _, err := c.Start(own); err != nil {
		t.Fatal(err)
	}
	p := c.PDU(client.Write16(0, filled(128<<10, 1)), c.Tag())
	raw := append(p.Header[:], make([]byte, 100<<10)...)
	raw[5], raw[6], raw[7] = 2, 0, 0 // 128 KiB
	if err := c.SendRaw(raw); err != nil {
		t.Fatal(err)
	}
	whole := Options{}.withDefaults().Memory
	time.Sleep(50 * time.Millisecond)
	if h.srv.memory.TryAcquire(whole) {
		t.Fatal("no shared memory is in use")
	}
	c.Close()
	for deadline := time.Now().Add(5 * time.Second); !h.srv.memory.TryAcquire(whole); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("shared memory does not come back")
		}
	}
	h.srv.memory.Release(whole)
}

// Data-Out that does not fit what was asked for fails its command only, and
// writes nothing.
func TestWrongDataOut(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"ImmediateData": "No", "MaxBurstLength": "4096"}})
	before, p := filled(8192, 1), filled(8192, 2)
	good(t, c, client.Write16(0, before))
	for name, change := range map[string]func(d *client.PDU){
		"number":     func(d *client.PDU) { d.Put(36, 3) },
		"offset":     func(d *client.PDU) { d.Put(40, 512) },
		"target tag": func(d *client.PDU) { d.Put(20, 77) },
		"unasked":    func(d *client.PDU) { d.Put(20, client.NoTag) },
		"too short":  func(d *client.PDU) { d.Data = d.Data[:512] },
		"too long":   func(d *client.PDU) { d.Data = p },
		"no end":     func(d *client.PDU) { d.Header[1] = 0 },
	} {
		cmd := client.Write16(0, p)
		tag, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		r2t, err := c.Recv()
		if err != nil || r2t.Opcode() != client.OpR2T {
			t.Fatalf("no R2T: %v, %v", r2t, err)
		}
		d := c.DataOut(tag, r2t.Word(20), 0, 0, p[:4096], true)
		change(d)
		if err := c.Send(d); err != nil {
			t.Fatal(err)
		}
		r, err := c.Finish(cmd, tag)
		if err != nil || r.Status != client.Check || r.Key() != "b/4b/00" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		expect(t, c, 0, before)
	}
	if err := c.Send(c.DataOut(0x5555, 0, 0, 0, p, true)); err != nil { // of nothing
		t.Fatal(err)
	}
	expect(t, c, 0, before)
}

// A wrong digest ends the connection before anything is written.
func TestWrongDigest(t *testing.T) {
	h := open(t, Options{}, 1)
	for _, at := range []int{20, 50, 60, 48 + 4 + 512 + 1} { // header, its digest, data, its digest
		c := h.login(client.Options{Keys: map[string]string{"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}})
		near, far := net.Pipe()
		raw := make([]byte, 48+4+512+4)
		real := c.Conn
		c.Conn = near
		go c.Start(client.Write16(0, filled(512, 7)))
		if _, err := readFull(far, raw); err != nil {
			t.Fatal(err)
		}
		raw[at] ^= 1
		c.Conn = real
		if err := c.SendRaw(raw); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Recv(); err == nil {
			t.Errorf("byte %d: answered with opcode %#x", at, r.Opcode())
		}
	}
	c := h.login(client.Options{})
	expect(t, c, 0, make([]byte, 512))
}

func readFull(c net.Conn, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k, err := c.Read(p[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// An initiator that stops in the middle of a PDU, or takes no replies, is waited
// for alone, and not for ever.
func TestStalls(t *testing.T) {
	h := open(t, Options{StallTimeout: 300 * time.Millisecond}, 1)
	bystander := h.login(client.Options{ISID: 99})
	good(t, bystander, client.Write16(0, filled(1<<20, 1)))

	stalled := h.login(client.Options{ISID: 1})
	cmd := client.Write16(0, filled(1<<20, 2))
	if _, err := stalled.Start(cmd); err != nil {
		t.Fatal(err)
	}
	r2t, err := stalled.Recv()
	if err != nil {
		t.Fatal(err)
	}
	d := stalled.DataOut(r2t.Word(16), r2t.Word(20), 0, 65536, cmd.Out[65536:65536+200<<10], false)
	d.Header[5], d.Header[6], d.Header[7] = 3, 0x20, 0
	if err := stalled.SendRaw(append(d.Header[:], d.Data[:1000]...)); err != nil {
		t.Fatal(err)
	}

	deaf := h.login(client.Options{ISID: 2})
	for range 100 { // 200 MiB of replies that nobody takes
		if _, err := deaf.Start(client.Read16(0, 4096)); err != nil {
			break
		}
	}
	begun := time.Now()
	for range 50 {
		good(t, bystander, client.TestUnitReady())
		expect(t, bystander, 8, filled(1<<20, 1)[4096:8192])
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("others waited for %v", took)
	}
	for range 100 {
		if len(h.srv.Clients()) == 1 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := h.srv.Connections(); n != 1 {
		t.Errorf("%d connections are left", n)
	}
	expect(t, bystander, 0, filled(1<<20, 1)[:4096])
	if !h.srv.memory.TryAcquire(h.srv.opt.Memory) {
		t.Error("memory is lost")
	}
}

// An initiator that is there, and does not send the data of a write, does not keep
// the memory for it for ever.
func TestDataOverdue(t *testing.T) {
	h := open(t, Options{StallTimeout: 400 * time.Millisecond}, 1)
	c := h.login(client.Options{})
	all := h.srv.opt.Memory
	h.srv.memory.TryAcquire(all) // what the write takes is the connection's share
	if err := c.Send(c.PDU(client.Write16(0, filled(16<<10, 1)), c.Tag())); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Recv(); err != nil || r.Opcode() != client.OpR2T {
		t.Fatal(r, err)
	}
	look := func() {
		for _, c := range h.srv.conns.All() {
			c.look()
		}
	}
	look()
	time.Sleep(500 * time.Millisecond) // 16 KiB may take a quarter of a second more
	look()
	good(t, c, client.TestUnitReady())
	conn := h.srv.conns.All()[0]
	if conn.inBytes.TryAcquire(inShare) {
		t.Error("it has no memory for the data")
	}
	time.Sleep(250 * time.Millisecond)
	look()
	select {
	case <-conn.ended:
	case <-time.After(5 * time.Second):
		t.Fatal("it still waits")
	}
	if !conn.inBytes.TryAcquire(inShare) {
		t.Error("the memory is lost")
	}
}

// A write that must wait holds up no other command of its connection.
func TestReaderDoesNotWait(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Timeout: 3 * time.Second})
	goOn := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(goOn) }) }
	defer release()
	h.hooked.set(func(uint64) { <-goOn })
	h.hooked.mu.Lock()
	h.hooked.cold = true
	h.hooked.mu.Unlock()
	write := client.Write16(0, filled(4096, 1))
	tag, err := c.Start(write)
	if err != nil {
		t.Fatal(err)
	}
	good(t, c, client.Read16(64, 8))
	good(t, c, client.TestUnitReady())
	release()
	if r, err := c.Finish(write, tag); err != nil || r.Status != client.Good {
		t.Fatal(r, err)
	}
	expect(t, c, 0, filled(4096, 1))
}

// Logins that are none.
func TestHostileLogins(t *testing.T) {
	h := open(t, Options{LoginTimeout: 500 * time.Millisecond}, 1)
	hello := map[string]string{"InitiatorName": "iqn.2026-11.test:i", "TargetName": diskName, "AuthMethod": "None"}
	dial := func() *client.Client {
		c, err := client.Dial(h.addrs[0], client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	long := maps.Clone(hello)
	long["X-key"] = strings.Repeat("x", 9<<10)
	many := maps.Clone(hello)
	for i := range 100 {
		many["X-"+strings.Repeat("k", i%50)+itoa(i)] = "v"
	}
	named := maps.Clone(hello)
	named["InitiatorName"] = "a name\nwith lines"
	for name, keys := range map[string]map[string]string{
		"a long value": long, "many keys": many, "a bad name": named,
		"no initiator": {"TargetName": diskName}, "no target": {"InitiatorName": "iqn.a:b"},
		"a strange session": {"InitiatorName": "iqn.a:b", "SessionType": "Odd"},
	} {
		if _, err := dial().LoginStep(0, 1, true, keys); err == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	c := dial()
	c.TSIH = 4711
	if _, err := c.LoginStep(1, 3, true, hello); status(t, err) != "020a" {
		t.Errorf("a session that is not there: %v", errString(err))
	}
	for name, raw := range map[string][]byte{
		"nonsense": bytes.Repeat([]byte{0xff}, 4096), "HTTP": []byte("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n"), "half a header": {0x43, 0x87, 0, 0},
	} {
		c := dial()
		if err := c.SendRaw(raw); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for {
			if _, err := c.Recv(); err != nil {
				break
			}
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: the end came after %v", name, took)
		}
	}
}
