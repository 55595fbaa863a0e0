package nfs3

import (
	"testing"
	"time"
)

// idle makes the connection of a client one that has been idle for long.
func (s *Server) idle(c *client) {
	for _, x := range s.conns.All() {
		if x.addr == c.nc.LocalAddr().String() {
			x.active.Store(time.Now().Add(-2 * idleTime).UnixNano())
		}
	}
}

// Addresses that no share allows keep nobody out who may use one: however busy
// they are they give way, and they take no place but each other's.
func TestStrangersGiveWay(t *testing.T) {
	w := newWorld(t)
	s, addr := w.serve(Options{MaxConns: 3})
	null := func(c *client) *client {
		t.Helper()
		c.call(progNFS, versNFS, procNull, nil)
		return c
	}
	gone := func(c *client) {
		t.Helper()
		c.expectEnd()
		eventually(t, "a place", func() bool { return len(s.Clients()) <= 3 })
	}
	var strangers []*client
	for range 3 {
		strangers = append(strangers, null(dialFrom(t, addr, "127.0.0.2")))
	}
	dialFrom(t, addr, "127.0.0.3").expectEnd() // they are busy
	s.idle(strangers[1])
	fourth := null(dialFrom(t, addr, "127.0.0.3"))
	gone(strangers[1])
	a := null(dial(t, addr))
	gone(strangers[0]) // the longest without a call
	s.idle(a)
	b := null(dial(t, addr))
	gone(strangers[2])
	dialFrom(t, addr, "127.0.0.2").expectEnd() // though a is idle
	c := null(dial(t, addr))                   // and a stays while there are strangers
	gone(fourth)
	for _, c := range []*client{a, b, c} {
		null(c)
	}
	dial(t, addr).expectEnd()
	s.idle(b)
	d := null(dial(t, addr))
	gone(b)
	null(d)
}
