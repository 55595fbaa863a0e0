package outbox

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// maxVec bounds the pieces of one write.
const maxVec = 32

// Waited says how a read came by its data.
type Waited uint8

const (
	NotAtAll Waited = iota // it was there
	Spinning               // it came while the read was looking
	Asleep                 // it had not come when the read stopped looking
)

// Stream is a connection with attempts that do not wait, where it is a real
// socket. One goroutine at a time reads, and one writes.
type Stream struct {
	net.Conn
	raw syscall.RawConn // nil: no socket; then attempts find nothing to do
	in  attempt
	out attempt

	draining atomic.Bool
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
	waited Waited
	want   int // of ReadMany
	limit  time.Duration
	low    int // SO_RCVLOWAT, where it was set
	inq    int32
	nap    syscall.Timespec
	vec    []syscall.Iovec // what a write of several pieces has left
	iov    [maxVec]syscall.Iovec
}

// NewStream makes nc a stream.
func NewStream(nc net.Conn) *Stream {
	s := &Stream{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.in.try = s.in.read
			s.out.try = s.out.write
		}
	}
	return s
}

// ReadSpin reads some bytes, waiting for the first. For up to spin it looks for
// them without going to sleep.
func (s *Stream) ReadSpin(p []byte, spin time.Duration) (n int, w Waited, err error) {
	if s.raw == nil {
		n, err = s.Read(p)
		return n, Asleep, err
	}
	a := &s.in
	a.p, a.spin, a.waited = p, spin, NotAtAll
	err = s.raw.Read(a.try)
	a.p = nil
	switch {
	case err != nil:
		return 0, a.waited, err
	case a.n == 0 && a.err == nil:
		return 0, a.waited, io.EOF
	}
	return a.n, a.waited, a.err
}

func (a *attempt) read(fd uintptr) bool {
	if a.want > 0 {
		a.await(int(fd))
		a.want = 0
	}
	var until time.Time
	for {
		n, err := syscall.Read(int(fd), a.p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != syscall.EAGAIN:
			a.n, a.err = max(n, 0), err
			return true
		case a.low > 1: // to sleep: the first byte shall wake us
			a.lowAt(int(fd), 1)
			continue
		case a.spin <= 0:
			a.waited = Asleep
			return false
		}
		a.waited = Spinning
		now := time.Now()
		if until.IsZero() {
			until = now.Add(a.spin)
		} else if now.After(until) {
			a.spin = 0
		}
	}
}

// TryWrite writes what the socket takes at once of the first pieces: perhaps
// nothing.
func (s *Stream) TryWrite(pieces [][]byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	a := &s.out
	a.n, a.err, a.vec = 0, nil, nil
	if len(pieces) == 1 {
		a.p = pieces[0]
	} else {
		a.gather(pieces)
	}
	err := s.raw.Write(a.try)
	a.p = nil
	clear(a.iov[:min(len(pieces), maxVec)])
	if err == nil {
		err = a.err
	}
	return a.n, err
}

func (a *attempt) gather(pieces [][]byte) {
	k := 0
	for _, p := range pieces[:min(len(pieces), maxVec)] {
		if len(p) > 0 {
			a.iov[k].Base = unsafe.SliceData(p)
			a.iov[k].SetLen(len(p))
			k++
		}
	}
	a.vec = a.iov[:k]
}

func (a *attempt) write(fd uintptr) bool {
	for {
		n, err := a.once(fd)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err != 0:
			a.err = err
			return true
		case n == 0:
			return true
		}
		a.n += n
		a.advance(n)
	}
}

// once makes one system call; nothing is left to write when it returns 0, 0.
func (a *attempt) once(fd uintptr) (int, syscall.Errno) {
	if len(a.vec) > 0 {
		n, _, err := syscall.Syscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&a.vec[0])), uintptr(len(a.vec)))
		return int(n), err
	}
	if len(a.p) == 0 {
		return 0, 0
	}
	n, _, err := syscall.Syscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&a.p[0])), uintptr(len(a.p)))
	return int(n), err
}

func (a *attempt) advance(n int) {
	if len(a.vec) == 0 {
		a.p = a.p[n:]
		return
	}
	for len(a.vec) > 0 && n >= int(a.vec[0].Len) {
		n -= int(a.vec[0].Len)
		a.vec = a.vec[1:]
	}
	if n > 0 {
		v := &a.vec[0]
		v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
		v.SetLen(int(v.Len) - n)
	}
}

// CloseWrite tells the peer that nothing more comes.
func (s *Stream) CloseWrite() {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}

// Tune sets what suits small replies on, and dead peers at the end of, a TCP
// connection.
func Tune(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetNoDelay(true)
		tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
}
