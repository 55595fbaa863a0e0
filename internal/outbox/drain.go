package outbox

import (
	"errors"
	"io"
	"os"
	"time"

	"varve/internal/fail"
)

// lingerTime bounds how long is read and thrown away before a connection is
// closed that the peer may still be writing to: closing at once would reset it,
// and the last replies could be lost on the way.
const lingerTime = 500 * time.Millisecond

// ErrShuttingDown ends a connection whose server drains it.
var ErrShuttingDown = fail.New(fail.Canceled, "the server is shutting down")

// Drain makes the reader stop before its next read from the socket. What it
// has read completely is still served. It may be called by any goroutine.
func (s *Stream) Drain() {
	s.draining.Store(true)
	s.SetReadDeadline(time.Unix(1, 0))
}

// Draining reports whether Drain was called.
func (s *Stream) Draining() bool { return s.draining.Load() }

// ReadUntil sets the time by which reads must be done; zero means no limit.
func (s *Stream) ReadUntil(t time.Time) {
	s.SetReadDeadline(t)
	if s.draining.Load() { // Drain may have come first
		s.SetReadDeadline(time.Unix(1, 0))
	}
}

// EndOf names the end of a read from the peer, for the log.
func (s *Stream) EndOf(err error) error {
	if s.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrShuttingDown
	}
	return err
}

// Linger lets the peer take the last replies, before the connection is closed.
// What it still sends is thrown away as it comes, up to limit bytes.
func (s *Stream) Linger(limit int64) {
	s.CloseWrite()
	if s.raw != nil {
		_ = s.raw.Control(func(fd uintptr) { s.in.lowAt(int(fd), 1) }) // ReadMany may have left it high
	}
	s.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, s.Conn, limit)
}
