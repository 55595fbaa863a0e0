package nbd

import (
	"io"
	"net"
	"syscall"
	"time"
)

// stream is a connection with attempts that do not wait, where it is a real
// socket. One goroutine at a time reads, and one writes.
type stream struct {
	net.Conn
	raw syscall.RawConn // nil: no socket; then attempts find nothing to do
	in  attempt
	out attempt
}

// attempt holds the arguments and results of one raw read or write. They live
// here, and try is bound once, because a closure per call would be garbage
// per call.
type attempt struct {
	try    func(fd uintptr) bool
	p      []byte
	n      int
	err    error
	spin   time.Duration
	waited waited
}

func newStream(nc net.Conn) *stream {
	s := &stream{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.in.try = s.in.read
			s.out.try = s.out.write
		}
	}
	return s
}

// read reads some bytes, waiting for the first. For up to spin it looks for
// them without going to sleep.
func (s *stream) read(p []byte, spin time.Duration) (n int, w waited, err error) {
	if s.raw == nil {
		n, err = s.Read(p)
		return n, asleep, err
	}
	a := &s.in
	a.p, a.spin, a.waited = p, spin, notAtAll
	if err := s.raw.Read(a.try); err != nil {
		return 0, a.waited, err
	}
	if a.n == 0 && a.err == nil {
		return 0, a.waited, io.EOF
	}
	return a.n, a.waited, a.err
}

func (a *attempt) read(fd uintptr) bool {
	var until time.Time
	for {
		n, err := syscall.Read(int(fd), a.p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != syscall.EAGAIN:
			a.n, a.err = max(n, 0), err
			return true
		case a.spin <= 0:
			a.waited = asleep
			return false
		}
		a.waited = spinning
		now := time.Now()
		if until.IsZero() {
			until = now.Add(a.spin)
		} else if now.After(until) {
			a.spin = 0
		}
	}
}

// tryWrite writes what the socket takes at once: perhaps nothing.
func (s *stream) tryWrite(p []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	a := &s.out
	a.p, a.n, a.err = p, 0, nil
	if err := s.raw.Write(a.try); err != nil {
		return a.n, err
	}
	return a.n, a.err
}

func (a *attempt) write(fd uintptr) bool {
	for a.n < len(a.p) {
		n, err := syscall.Write(int(fd), a.p[a.n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			a.err = err
			return true
		default:
			a.n += n
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
