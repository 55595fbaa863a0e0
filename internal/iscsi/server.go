package iscsi

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

	"varve/internal/fail"
	"varve/internal/outbox"
	"varve/internal/scsi"
	"varve/internal/workers"
)

// portal is a listener: a target port, alone in its group. Tag, relative port
// and place in the list are the same number, from 1.
type portal struct {
	l   net.Listener
	at  netip.AddrPort
	tag uint16
}

func (p *portal) group() string { return itoa(int(p.tag)) }

// Server serves targets on its portals.
type Server struct {
	targets  Targets
	opt      Options
	log      *slog.Logger
	portals  []*portal
	units    *scsi.Server
	buffers  outbox.Pool
	tasks    sync.Pool
	memory   *semaphore.Weighted
	workers  *workers.Pool[workers.Job]
	sessions sessions

	mu       sync.Mutex
	closing  bool
	done     chan struct{} // closed by Shutdown
	conns    map[*conn]struct{}
	devices  map[string]*scsi.Target
	handlers sync.WaitGroup
}

// ClientInfo describes a connection, for status.
type ClientInfo struct {
	Addr         string
	Since        time.Time
	Initiator    string // "" during login
	Target       string // "" in a discovery session
	Requests     uint64
	BytesRead    uint64
	BytesWritten uint64
}

// New returns a server of t's targets on the listeners of TCP given, which are
// its portals in this order.
func New(t Targets, ls []net.Listener, o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		targets: t,
		opt:     o,
		log:     o.Logger,
		units:   scsi.NewServer(scsi.Options{Logger: o.Logger}),
		memory:  semaphore.NewWeighted(o.Memory),
		workers: workers.New[workers.Job](o.Workers),
		done:    make(chan struct{}),
		conns:   map[*conn]struct{}{},
		devices: map[string]*scsi.Target{},
	}
	s.sessions.init()
	for i, l := range ls {
		at, _ := netip.ParseAddrPort(l.Addr().String())
		s.portals = append(s.portals, &portal{l, at, uint16(i + 1)})
	}
	return s
}

// Serve accepts connections until Shutdown, when it returns nil, or until a
// listener fails. It closes all when it returns. It is called once.
func (s *Server) Serve() error {
	ended := make(chan error, len(s.portals))
	for _, p := range s.portals {
		go func() { ended <- s.accept(p) }()
	}
	go s.watch()
	var first error
	for range s.portals {
		if err := <-ended; err != nil && first == nil {
			first = err
			for _, p := range s.portals {
				p.l.Close()
			}
		}
	}
	return first
}

func (s *Server) accept(p *portal) error {
	defer p.l.Close()
	var pause time.Duration
	for {
		nc, err := p.l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(nc, p)
		case s.isClosing():
			return nil
		case isTemporary(err): // out of descriptors: others may close some
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("iscsi: accept", "error", err, "pause", pause)
			time.Sleep(pause)
		default:
			return fail.Wrap(fail.IO, err, "accepting iSCSI connections on %s", p.l.Addr())
		}
	}
}

// watch is the clock.
func (s *Server) watch() {
	tick := time.NewTicker(pingAfter)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		for _, c := range s.all() {
			c.look()
		}
	}
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// Shutdown stops accepting, lets the commands in flight finish and their
// responses go out, tells initiators that the connection ends, and closes every
// one. When ctx ends first, it cuts them and returns at once with an error;
// calls of the backend may then still be under way.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		s.units.Ending()
		close(s.done)
	}
	for _, p := range s.portals {
		p.l.Close()
	}
	for c := range s.conns {
		c.nc.Drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.handlers.Wait()
		s.workers.Stop()
		s.units.Close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	left := s.all()
	for _, c := range left {
		c.Hangup()
	}
	return fail.Wrap(fail.Canceled, ctx.Err(), "iSCSI: %d connections had not finished", len(left))
}

// Clients returns the connections, sorted by address.
func (s *Server) Clients() []ClientInfo {
	var list []ClientInfo
	for _, c := range s.all() {
		i := ClientInfo{
			Addr: c.addr, Since: c.since,
			Requests: c.commands.Load(), BytesRead: c.bytesRead.Load(), BytesWritten: c.bytesWritten.Load(),
		}
		if who := c.info.Load(); who != nil {
			i.Initiator, i.Target = who.Initiator, who.Target
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return strings.Compare(a.Addr, b.Addr) })
	return list
}

// admit starts serving a connection, or closes it.
func (s *Server) admit(nc net.Conn, p *portal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= s.opt.MaxConns {
		s.log.Warn("iscsi: connection refused", "client", nc.RemoteAddr(), "limit", s.opt.MaxConns)
		nc.Close()
		return
	}
	c := newConn(s, nc, p)
	s.conns[c] = struct{}{}
	s.handlers.Go(func() {
		c.serve()
		s.forget(c)
	})
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
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

// portalAddresses lists the portals as TargetAddress has them, for an initiator
// that came to local.
func (s *Server) portalAddresses(local netip.AddrPort) []string {
	list := make([]string, len(s.portals))
	for i, p := range s.portals {
		list[i] = address(p.at, local).String() + "," + p.group()
	}
	return list
}
