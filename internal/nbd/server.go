package nbd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/accept"
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
	o.MaxConns = cmp.Or(o.MaxConns, 256)
	o.Workers = cmp.Or(o.Workers, 64)
	o.Memory = cmp.Or(o.Memory, 512<<20)
	o.Spin = cmp.Or(o.Spin, 20*time.Microsecond)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 10*time.Second)
	o.StallTimeout = cmp.Or(o.StallTimeout, 60*time.Second)
	o.Memory = max(o.Memory, connMemory)
	return o
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

	conns    *accept.Conns[*conn]
	refusals atomic.Int32
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
		backend: b,
		opt:     o,
		log:     o.Logger,
		memory:  semaphore.NewWeighted(o.Memory),
		workers: workers.New[*job](o.Workers),
		conns:   accept.New[*conn]("NBD", o.Logger),
	}
}

// Serve accepts connections until Shutdown, when it returns nil, or until the
// listener fails. It may be called for several listeners at once, and closes
// its own when it returns.
func (s *Server) Serve(l net.Listener) error { return s.conns.Serve(l, s.admit) }

// Shutdown stops accepting, lets the requests in flight finish and their
// replies go out, and closes every connection. When ctx ends first, it cuts
// the connections and returns at once with an error; calls of the backend may
// then still be under way. No Serve is possible afterwards.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx, s.workers.Stop) }

// Connections is how many Clients there are.
func (s *Server) Connections() int { return s.conns.Len() }

// Clients returns the connections, sorted by address.
func (s *Server) Clients() []ClientInfo {
	var list []ClientInfo
	for _, c := range s.conns.All() {
		list = append(list, c.status())
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return strings.Compare(a.Addr, b.Addr) })
	return list
}

// admit starts serving a connection, or refuses it.
func (s *Server) admit(nc net.Conn) {
	s.conns.Admit(nc, func(all map[*conn]struct{}) (*conn, func()) {
		if len(all) >= s.opt.MaxConns {
			s.refuse(nc)
			return nil, nil
		}
		c := newConn(s, nc)
		return c, func() {
			c.serve()
			s.conns.Forget(c)
		}
	})
}

// refuse tells a client that there are too many, unless many are told already.
func (s *Server) refuse(nc net.Conn) {
	if s.refusals.Add(1) > maxRefusals {
		s.refusals.Add(-1)
		nc.Close()
		return
	}
	s.log.Warn("nbd: connection refused", "client", peerName(nc), "limit", s.opt.MaxConns)
	s.conns.Go(func() {
		refuse(nc, fmt.Sprintf("the server is at its limit of %d connections", s.opt.MaxConns))
		s.refusals.Add(-1)
	})
}
