package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/fail"
	"varve/internal/outbox"
	"varve/internal/workers"
)

// Options tune a Server. The zero value of each field means its default.
type Options struct {
	Logger   *slog.Logger // default: no log
	MaxConns int          // connections at a time; default 256
	Workers  int          // reads and maps that wait for the disk at a time; default 64

	// Memory bounds the bytes of payloads and replies in flight that the
	// connections share, beside the 1.5 MiB that each has of its own; default
	// 512 MiB, at least 64 MiB. Requests of up to 1 MiB do not wait for it.
	Memory int64

	// Spin is how long to look for the next request before going to sleep
	// while a client flushes often; default 20 µs, negative: not at all.
	Spin time.Duration

	// HandshakeTimeout bounds a whole handshake; default 10 s.
	HandshakeTimeout time.Duration

	// StallTimeout is how long a client may make no progress within a large
	// payload, or in taking its replies, before it is cut off; default 60 s. It
	// must be done after that time and a second for each 64 KiB. While others
	// wait for shared memory that it holds, it must move 1 MiB per second,
	// judged every 3 s, or every StallTimeout if that is less.
	StallTimeout time.Duration

	// Observe, where not nil, is told of every command executed: its name
	// ("read", "write", "flush", "trim", "zero", "cache", "status"), the time from
	// parsing to reply, its length in bytes, and its error. It is called
	// concurrently and must not wait.
	Observe func(op string, d time.Duration, bytes int, err error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.MaxConns, 256)
	setDefault(&o.Workers, 64)
	setDefault(&o.Memory, 512<<20)
	setDefault(&o.Spin, 20*time.Microsecond)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.StallTimeout, 60*time.Second)
	o.Memory = max(o.Memory, connMemory)
	return o
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// maxRefusals bounds the connections over the limit that are told so, at a
// time; more are closed without a word.
const maxRefusals = 16

// Server serves the disks of one backend on any number of listeners.
type Server struct {
	backend Backend
	opt     Options
	log     *slog.Logger
	buffers outbox.Pool
	memory  *semaphore.Weighted
	waiting atomic.Int32 // connections that wait for memory
	workers *workers.Pool[*job]
	jobs    sync.Pool

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	refusals  int
	handlers  sync.WaitGroup
}

// ClientInfo describes a connection, for status.
type ClientInfo struct {
	Client
	Export       string // "" during the handshake
	ReadOnly     bool
	Requests     uint64 // parsed
	BytesRead    uint64
	BytesWritten uint64
}

// New returns a server of b's disks.
func New(b Backend, o Options) *Server {
	o = o.withDefaults()
	return &Server{
		backend:   b,
		opt:       o,
		log:       o.Logger,
		memory:    semaphore.NewWeighted(o.Memory),
		workers:   workers.New[*job](o.Workers),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
}

// Serve accepts connections until Shutdown, when it returns nil, or until the
// listener fails. It may be called for several listeners at once, and closes
// its own when it returns.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return fail.New(fail.Canceled, "the NBD server is shut down")
	}
	defer s.unlisten(l)
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(nc)
		case s.isClosing():
			return nil
		case isTemporary(err): // out of descriptors: others may close some
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("nbd: accept", "error", err, "pause", pause)
			time.Sleep(pause)
		default:
			return fail.Wrap(fail.IO, err, "accepting NBD connections on %s", l.Addr())
		}
	}
}

// Shutdown stops accepting, lets the requests in flight finish and their
// replies go out, and closes every connection. When ctx ends first, it cuts
// the connections and returns at once with an error; calls of the backend may
// then still be under way. No Serve is possible afterwards.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.nc.Drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.handlers.Wait()
		s.workers.Stop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Hangup()
	}
	return fail.Wrap(fail.Canceled, ctx.Err(), "NBD: %d connections had not finished", len(s.conns))
}

// Clients returns the connections, sorted by address.
func (s *Server) Clients() []ClientInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ClientInfo, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c.status())
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return strings.Compare(a.Addr, b.Addr) })
	return list
}

// admit starts serving a connection, or refuses it.
func (s *Server) admit(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		nc.Close()
	case len(s.conns) < s.opt.MaxConns:
		c := newConn(s, nc)
		s.conns[c] = struct{}{}
		s.handlers.Go(func() {
			c.serve()
			s.forget(c)
		})
	case s.refusals < maxRefusals:
		s.refusals++
		s.log.Warn("nbd: connection refused", "client", peerName(nc), "limit", s.opt.MaxConns)
		s.handlers.Go(func() {
			refuse(nc, fmt.Sprintf("the server is at its limit of %d connections", s.opt.MaxConns))
			s.mu.Lock()
			s.refusals--
			s.mu.Unlock()
		})
	default:
		nc.Close()
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
