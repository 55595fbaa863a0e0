package iscsi

import (
	"net"
	"net/netip"
	"testing"

	client "varve/test/iscsiclient"
)

// from is a connection that comes from and to an address.
type from struct {
	net.Conn
	at net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.at }
func (f from) LocalAddr() net.Addr  { return f.at }

// A link-local address belongs to the networks it is in, whatever interface it came
// through, of which an initiator is told nothing.
func TestAddressesHaveNoZone(t *testing.T) {
	h := open(t, Options{}, 1)
	h.login(client.Options{}) // it serves: a shutdown before that is an error of its own
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := newConn(h.srv, from{near, &net.TCPAddr{IP: net.ParseIP("fe80::17"), Zone: "eth0", Port: 999}}, h.srv.portals[0])
	a := Access{Clients: []netip.Prefix{netip.MustParsePrefix("fe80::/10")}}
	if !a.allows("iqn.2026-11.test:x", c.ip) {
		t.Errorf("%v is not in %v", c.ip, a.Clients)
	}
	for at, want := range map[string]string{
		"[::]:3260":              "[fe80::17]:3260",
		"[fe80::99%eth0]:3261":   "[fe80::99]:3261",
		"[::1]:3262":             "[::1]:3262",
		"[::ffff:10.0.0.1]:3260": "10.0.0.1:3260",
	} {
		if got := address(netip.MustParseAddrPort(at), c.local).String(); got != want {
			t.Errorf("a portal at %s is told as %s, not %s", at, got, want)
		}
	}
}
