package vm

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between the guest and a port of the server, and can lose
// everything that goes through it.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	lost  bool // what comes from now on goes nowhere
	conns map[net.Conn]struct{}
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to, conns: map[net.Conn]struct{}{}}
	go p.serve(l)
	t.Cleanup(p.die)
	return p
}

func (p *proxy) port() string {
	_, port, _ := net.SplitHostPort(p.Addr().String())
	return port
}

func (p *proxy) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.to)
		if err != nil { // see refuse
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[s] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.copy(s, c)
		go p.copy(c, s)
	}
}

// copy moves bytes one way. What is lost is read and dropped, so that both ends
// believe it was sent: the connection is as good as cut, and nobody is told.
func (p *proxy) copy(dst, src net.Conn) {
	buf := make([]byte, 64<<10)
	gone := false
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		gone = gone || p.lost
		p.mu.Unlock()
		if n > 0 && !gone {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if err != io.EOF || !gone {
				dst.Close()
			}
			src.Close()
			p.mu.Lock()
			delete(p.conns, src)
			p.mu.Unlock()
			return
		}
	}
}

// refuse lets nobody connect while the server is away, as the port of a server
// that was killed does. A connection that is accepted and closed at once is
// another thing: the kernel's initiator may have it as a session by then, and the
// error that comes of it may get lost between kernel and iscsid, which then tries
// for ever to use the session without having ended it.
func (p *proxy) refuse(t *testing.T, away func()) {
	t.Helper()
	at := p.Addr().String()
	p.Close()
	away()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	p.Listener = l
	go p.serve(l)
}

func (p *proxy) lose(lost bool) {
	p.mu.Lock()
	p.lost = lost
	p.mu.Unlock()
}

// die closes all connections, and refuses new ones.
func (p *proxy) die() {
	p.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}
