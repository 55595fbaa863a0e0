package nfs3

import (
	"context"
	"net"
	"testing"
)

// deafConn is the server's end of a connection whose client takes nothing: a
// pipe with an address.
type deafConn struct{ net.Conn }

func (deafConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 940} }

// remembered counts the requests that were answered.
func (s *Server) remembered() (n int) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	for _, e := range s.seen.byKey {
		if e.done {
			n++
		}
	}
	return n
}

// What was executed for a client that takes no replies, and has no memory left,
// is answered on its next connection, even while the first still stands.
func TestExecutedWithoutRoom(t *testing.T) {
	w := newWorld(t)
	s, addr := w.serve(Options{})
	near, far := net.Pipe()
	s.conns.Admit(deafConn{far}, func(map[*conn]struct{}) (*conn, func()) {
		c := newConn(s, deafConn{far})
		for _, err := range []error{c.own.Acquire(context.Background(), connShare), c.memory.Acquire(context.Background(), connMemory)} {
			w.ok(err)
		}
		return c, c.serve
	})
	deaf := &client{t: t, nc: near, cred: sysCred(0, 0)}
	deaf.send(procGetattr, fh(w.root)) // its reply occupies the fixed buffer
	lsn := w.e.Status().LastLSN
	create := callBytes(77, progNFS, versNFS, procCreate, deaf.cred, noAttrs(createArgs(w.root, "f", createGuarded)))
	deaf.write(create)
	eventually(t, "the reply to be remembered", func() bool { return s.remembered() == 1 })
	again := dial(t, addr)
	again.write(create)
	again.reply().want(nfsOK)
	near.Close()
	eventually(t, "the connection to end", func() bool { return s.Connections() == 1 })
	again.write(create)
	again.reply().want(nfsOK)
	if n := w.e.Status().LastLSN - lsn; n != 1 {
		t.Errorf("%d operations", n)
	}
}

// Who is answered without room, once, needs neither much of it nor any early.
func TestOnceIsSmall(t *testing.T) {
	for _, p := range nfsTable {
		if p.once && (p.room != nil || p.early) {
			t.Errorf("%s", p.name)
		}
	}
}

// Nothing is remembered of a request that was refused, or that failed.
func TestRefusalsAreForgotten(t *testing.T) {
	w := newWorld(t)
	s, addr := w.serve(Options{})
	c, stranger := dial(t, addr), dialFrom(t, addr, "127.0.0.2")
	c.make(w.root, "f", nil)
	for range 10 {
		stranger.nfs(procCreate, noAttrs(createArgs(w.root, "g", createGuarded)), errAcces)
		c.nfs(procCreate, noAttrs(createArgs(w.root, "f", createGuarded)), errExist)
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if len(s.seen.byKey) != 1 {
		t.Errorf("%d entries", len(s.seen.byKey))
	}
}

// dialFrom is dial from another address of this machine.
func dialFrom(t *testing.T, addr, from string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

// Machines behind one address are told apart by any part of their credentials.
func TestOneAddressManyMachines(t *testing.T) {
	c := newWorld(t).connect()
	root := func(n int) []byte { return sysCred(0, 0, make([]uint32, n)...) }
	other := sysCred(0, 0)
	other[11] ^= 1 // the stamp
	renamed := sysCred(0, 0)
	renamed[16] ^= 1 // the machine's name
	w := c.call(progMount, 3, mountMnt, putOpaque(nil, "/home"))
	if w.u32() != 0 {
		t.Fatal("MNT")
	}
	h := w.opaque(maxHandle)
	for i, cred := range [][]byte{root(0), root(1), other, renamed, root(0)} {
		c.write(callBytes(5, progNFS, versNFS, procMkdir, cred, noAttrs(dirop(h, "d"))))
		want := errExist
		if i == 0 || i == 4 { // the first, and its repetition
			want = nfsOK
		}
		c.reply().want(want)
	}
}
