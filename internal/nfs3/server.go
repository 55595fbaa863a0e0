package nfs3

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
)

// idleTime is how long a connection must have been idle before it gives way to
// a new one when there are too many. Its client connects again when it needs
// to.
const idleTime = 10 * time.Second

// Server serves the shares of a pool on any number of listeners.
type Server struct {
	files   files
	opt     Options
	log     *slog.Logger
	buffers bufferPool
	tasks   sync.Pool
	memory  *semaphore.Weighted
	flying  *semaphore.Weighted
	workers workers
	seen    duplicates
	exports exports
	mounts  mounts

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	handlers  sync.WaitGroup // one for each connection
}

// ClientInfo describes a connection, for status.
type ClientInfo struct {
	Addr         string // "127.0.0.1:940"
	Since        time.Time
	Requests     uint64
	BytesRead    uint64
	BytesWritten uint64
}

// New returns a server of the shares of f. Requests that clients repeat over a
// restart are recognised by the last operations of e, which f is of.
func New(f *fs.FS, e *engine.Engine, o Options) *Server {
	s := newServer(f, o)
	if err := s.seen.load(e, time.Now()); err != nil {
		s.log.Warn("nfs: requests that clients repeat may be executed again", "error", err)
	}
	return s
}

func newServer(f files, o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		files:     f,
		opt:       o,
		log:       o.Logger,
		memory:    semaphore.NewWeighted(o.Memory),
		flying:    semaphore.NewWeighted(int64(o.MaxRequests)),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	s.workers.init(o.Workers)
	s.seen.init()
	return s
}

// Serve accepts connections until Shutdown, when it returns nil, or until the
// listener fails. It may be called for several listeners at once, and closes
// its own when it returns.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return fail.New(fail.Canceled, "the NFS server is shut down")
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
			s.log.Warn("nfs: accept", "error", err, "pause", pause)
			time.Sleep(pause)
		default:
			return fail.Wrap(fail.IO, err, "accepting NFS connections on %s", l.Addr())
		}
	}
}

// Shutdown stops accepting, lets the calls in flight finish and their replies
// go out, and closes every connection. When ctx ends first, it cuts the
// connections and returns at once with an error; calls of fs may then still be
// under way. No Serve is possible afterwards.
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
		s.workers.stop()
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
	return fail.Wrap(fail.Canceled, ctx.Err(), "NFS: %d connections had not finished", len(s.conns))
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

// admit starts serving a connection, or closes it.
func (s *Server) admit(nc net.Conn) {
	stranger := !s.knows(addrOf(nc.RemoteAddr().String()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	if len(s.conns) >= s.opt.MaxConns {
		out := s.dispensable(stranger)
		if out == nil || len(s.conns) > s.opt.MaxConns {
			s.log.Warn("nfs: connection refused", "client", nc.RemoteAddr(), "limit", s.opt.MaxConns)
			nc.Close()
			return
		}
		out.evicted.Store(true)
		out.Hangup()
	}
	c := newConn(s, nc)
	c.stranger = stranger
	s.conns[c] = struct{}{}
	s.handlers.Add(1)
	go c.serve()
}

// dispensable returns the connection that gives way to a new one, or nil: the
// one that has been idle for the longest time, and for long enough to be closed.
// A stranger takes no place but that of another; and of strangers one gives way,
// busy or not, to who is none. s.mu is held.
func (s *Server) dispensable(toStranger bool) (out *conn) {
	idle := time.Now().Add(-idleTime).UnixNano()
	for c := range s.conns {
		at := c.active.Load()
		switch {
		case c.evicted.Load() || toStranger && !c.stranger:
		case at >= idle && (toStranger || !c.stranger):
		case out == nil || c.stranger && !out.stranger || c.stranger == out.stranger && at < out.active.Load():
			out = c
		}
	}
	return out
}

// knows reports whether any share may be used from ip.
func (s *Server) knows(ip netip.Addr) bool {
	return slices.ContainsFunc(s.files.Shares(), func(share fs.Share) bool {
		return ruleOf(share.Properties).allows(ip)
	})
}

// forget is told of the end of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.handlers.Done()
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
