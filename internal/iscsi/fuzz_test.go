package iscsi

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	client "varve/test/iscsiclient"
)

// FuzzKeys: what parses says the same when it is written again.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.a:b\x00SessionType=Normal\x00\x00"))
	f.Add([]byte("A=\x00"))
	f.Add([]byte("=x\x00"))
	f.Add([]byte("A=1\x00A=2\x00"))
	f.Add([]byte("no end=1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		keys, err := parseKeys(p)
		if err != nil {
			return
		}
		var again []byte
		for _, k := range keys {
			again = appendKey(again, k.key, k.value)
		}
		second, err := parseKeys(again)
		if err != nil || len(second) != len(keys) {
			t.Fatalf("%q became %q: %v", p, again, err)
		}
		for i := range keys {
			if keys[i] != second[i] {
				t.Fatalf("%q became %q", keys[i], second[i])
			}
		}
		var v params = defaultParams()
		for _, k := range keys {
			v.negotiate(k.key, k.value, false)
		}
		v.settle()
		if v.sendSegment < leastSegment || v.maxBurst < 512 || v.firstBurst > v.maxBurst || v.maxOutstanding < 1 {
			t.Fatalf("%q made %+v", p, v)
		}
	})
}

// FuzzCHAP: no answer but the right one proves anything.
func FuzzCHAP(f *testing.F) {
	f.Add("alice", "0x00112233445566778899aabbccddeeff", "1", "0x00")
	f.Add("alice", "0bAAAA", "", "")
	f.Fuzz(func(t *testing.T, name, response, id, challenge string) {
		c := &chap{want: Credentials{"alice", secretIn}, ours: Credentials{"varve", secretOut}}
		if _, err := c.begin("5"); err != nil {
			t.Fatal(err)
		}
		keys := map[string]string{"CHAP_N": name, "CHAP_R": response}
		if id != "" {
			keys["CHAP_I"], keys["CHAP_C"] = id, challenge
		}
		if _, err := c.prove(keys); err == nil {
			t.Fatalf("%q %q proved something", name, response)
		}
	})
}

// FuzzSession sends bytes to a server: first those of a login or not, then any.
// It answers or hangs up, and the next initiator is served. The bits of how say
// what the login was like.
func FuzzSession(f *testing.F) {
	c := &client.Client{CmdSN: 1, Segment: 8192, Burst: 65536, Immediate: true}
	raw := func(p *client.PDU) []byte {
		n := len(p.Data)
		p.Header[5], p.Header[6], p.Header[7] = byte(n>>16), byte(n>>8), byte(n)
		return append(append([]byte(nil), p.Header[:]...), p.Data...)
	}
	write := client.Write16(0, make([]byte, 1024))
	w := c.PDU(write, 1)
	w.Data = write.Out
	f.Add(byte(fuzzLogin), append(raw(w), raw(c.PDU(client.Read16(0, 2), 2))...))
	solicited := c.PDU(write, 3)
	f.Add(byte(fuzzLogin), append(raw(solicited), raw(c.DataOut(3, 0, 0, 0, write.Out, true))...))
	nop := &client.PDU{}
	nop.Header[0] = client.OpNopOut | client.Immediate
	f.Add(byte(fuzzLogin), raw(nop))
	task := &client.PDU{}
	task.Header[0], task.Header[1] = client.OpTask|client.Immediate, 0x81
	f.Add(byte(fuzzLogin), append(raw(c.PDU(client.Read16(0, 2), 4)), raw(task)...))
	logout := &client.PDU{}
	logout.Header[0] = client.OpLogout | client.Immediate
	f.Add(byte(fuzzLogin), raw(logout))
	login := &client.PDU{Data: client.Text(map[string]string{"InitiatorName": "iqn.a:b", "TargetName": diskName})}
	login.Header[0], login.Header[1] = client.OpLogin|client.Immediate, 0x87
	f.Add(byte(0), raw(login))

	unsolicited := c.PDU(client.Write16(0, nil), 5)
	unsolicited.Header[0], unsolicited.Header[1] = client.OpCommand|client.Immediate, 0x21
	f.Add(byte(fuzzLogin|fuzzUnsolicited), raw(unsolicited))
	f.Add(byte(fuzzLogin|fuzzUnsolicited|fuzzDataDigest), append(raw(unsolicited), raw(c.DataOut(5, client.NoTag, 0, 0, write.Out, true))...))
	f.Add(byte(fuzzLogin|fuzzHeaderDigest), raw(nop))

	h := open(f, Options{}, 1)
	f.Fuzz(func(t *testing.T, how byte, p []byte) {
		var nc net.Conn
		if how&fuzzLogin != 0 {
			c, err := client.Login(h.addrs[0], client.Options{Target: diskName, ISID: 1, Keys: fuzzKeys(how)})
			if err != nil {
				t.Fatal(err)
			}
			nc = c.Conn
		} else {
			var err error
			if nc, err = net.Dial("tcp", h.addrs[0]); err != nil {
				t.Fatal(err)
			}
		}
		defer nc.Close()
		nc.Write(p)
		nc.(*net.TCPConn).CloseWrite()
		nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		var got bytes.Buffer
		if _, err := io.Copy(&got, nc); err != nil && isTimeout(err) {
			t.Fatalf("the connection does not end: %v", err)
		}
	})
}

// How FuzzSession logs in.
const (
	fuzzLogin = 1 << iota
	fuzzUnsolicited
	fuzzDataDigest
	fuzzHeaderDigest
)

func fuzzKeys(how byte) map[string]string {
	keys := map[string]string{}
	if how&fuzzUnsolicited != 0 {
		keys["InitialR2T"] = "No"
	}
	if how&fuzzDataDigest != 0 {
		keys["DataDigest"] = "CRC32C"
	}
	if how&fuzzHeaderDigest != 0 {
		keys["HeaderDigest"] = "CRC32C"
	}
	return keys
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
