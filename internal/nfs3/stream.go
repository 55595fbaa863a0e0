package nfs3

import (
	"net"
	"syscall"
	"time"
)

// stream is a connection with writes that do not wait, where it is a real
// socket. One goroutine at a time writes.
type stream struct {
	net.Conn
	raw syscall.RawConn // nil: no socket; then such writes do nothing

	// The arguments and results of one such write. They live here, and try is
	// bound once, because a closure per call would be garbage per call.
	try func(fd uintptr) bool
	p   []byte
	n   int
	err error
}

func newStream(nc net.Conn) *stream {
	s := &stream{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.try = raw, s.attempt
		}
	}
	return s
}

// tryWrite writes what the socket takes at once: perhaps nothing.
func (s *stream) tryWrite(p []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Write(s.try)
	s.p = nil
	if err == nil {
		err = s.err
	}
	return s.n, err
}

func (s *stream) attempt(fd uintptr) bool {
	for s.n < len(s.p) {
		n, err := syscall.Write(int(fd), s.p[s.n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			s.err = err
			return true
		default:
			s.n += n
		}
	}
	return true
}

// closeWrite tells the peer that nothing more comes.
func (s *stream) closeWrite() {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}

// tune sets what suits small replies on, and dead peers at the end of, a TCP
// connection.
func tune(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetNoDelay(true)
		tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
}
