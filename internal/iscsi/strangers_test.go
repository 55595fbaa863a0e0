package iscsi

import (
	"net"
	"testing"
	"time"

	client "varve/test/iscsiclient"
)

// A host that opens connections and does not log in keeps nobody else out.
func TestStrangers(t *testing.T) {
	h := open(t, Options{MaxConns: 32}, 1)
	h.login(client.Options{ISID: 1})
	idle := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 5 * time.Second}
	for range 64 {
		nc, err := idle.Dial("tcp", h.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	for i := range 20 { // more than strangers may be: these log in
		good(t, h.login(client.Options{ISID: uint32(2 + i)}), client.TestUnitReady())
	}
	if n := len(h.srv.conns.All()); n != 21+8 {
		t.Errorf("%d connections, of which 21 have logged in", n)
	}
}
