package nfs3

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/accept"
	"varve/internal/engine"
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
	conns   *accept.Conns[*conn]
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
		files:  f,
		opt:    o,
		log:    o.Logger,
		memory: semaphore.NewWeighted(o.Memory),
		flying: semaphore.NewWeighted(int64(o.MaxRequests)),
		conns:  accept.New[*conn]("NFS", o.Logger),
	}
	s.workers.init(o.Workers)
	s.seen.init()
	return s
}

// Serve accepts connections until Shutdown, when it returns nil, or until the
// listener fails. It may be called for several listeners at once, and closes
// its own when it returns.
func (s *Server) Serve(l net.Listener) error { return s.conns.Serve(l, s.admit) }

// Shutdown stops accepting, lets the calls in flight finish and their replies
// go out, and closes every connection. When ctx ends first, it cuts the
// connections and returns at once with an error; calls of fs may then still be
// under way. No Serve is possible afterwards.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx, s.workers.stop) }

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

// admit starts serving a connection, or closes it.
func (s *Server) admit(nc net.Conn) {
	stranger := !s.knows(addrOf(nc.RemoteAddr().String()))
	s.conns.Admit(nc, func(all map[*conn]struct{}) (*conn, func()) {
		if len(all) >= s.opt.MaxConns {
			out := dispensable(all, stranger)
			if out == nil || len(all) > s.opt.MaxConns {
				s.log.Warn("nfs: connection refused", "client", nc.RemoteAddr(), "limit", s.opt.MaxConns)
				nc.Close()
				return nil, nil
			}
			out.evicted.Store(true)
			out.Hangup()
		}
		c := newConn(s, nc)
		c.stranger = stranger
		return c, c.serve
	})
}

// dispensable returns the connection that gives way to a new one, or nil: the
// one that has been idle for the longest time, and for long enough to be closed.
// A stranger takes no place but that of another; and of strangers one gives way,
// busy or not, to who is none.
func dispensable(all map[*conn]struct{}, toStranger bool) (out *conn) {
	idle := time.Now().Add(-idleTime).UnixNano()
	for c := range all {
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
