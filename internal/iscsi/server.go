package iscsi

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
	targets Targets
	opt     Options
	log     *slog.Logger
	portals []*portal
	units   *scsi.Server
	buffers outbox.Pool
	tasks   sync.Pool
	memory  *semaphore.Weighted
	// Connections that let commands gather; the other processors are everybody
	// else's.
	gatherers *semaphore.Weighted
	workers   *workers.Pool[workers.Job]
	sessions  sessions

	conns  *accept.Conns[*conn]
	ending sync.Once
	done   chan struct{} // closed by Shutdown

	mu      sync.Mutex
	devices map[string]*scsi.Target
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
		targets:   t,
		opt:       o,
		log:       o.Logger,
		units:     scsi.NewServer(scsi.Options{Logger: o.Logger}),
		memory:    semaphore.NewWeighted(o.Memory),
		gatherers: semaphore.NewWeighted(int64(o.Processors / 2)),
		workers:   workers.New[workers.Job](o.Workers),
		done:      make(chan struct{}),
		conns:     accept.New[*conn]("iSCSI", o.Logger),
		devices:   map[string]*scsi.Target{},
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
		go func() {
			ended <- s.conns.Serve(p.l, func(nc net.Conn) { s.admit(nc, p) })
		}()
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
		for _, c := range s.conns.All() {
			c.look()
		}
	}
}

// Shutdown stops accepting, lets the commands in flight finish and their
// responses go out, tells initiators that the connection ends, and closes every
// one. When ctx ends first, it cuts them and returns at once with an error;
// calls of the backend may then still be under way.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ending.Do(func() {
		s.units.Ending()
		close(s.done)
	})
	return s.conns.Shutdown(ctx, func() {
		s.workers.Stop()
		s.units.Close()
	})
}

// Connections is how many Clients there are.
func (s *Server) Connections() int { return s.conns.Len() }

// Clients returns the connections, sorted by address.
func (s *Server) Clients() []ClientInfo {
	var list []ClientInfo
	for _, c := range s.conns.All() {
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
	s.conns.Admit(nc, func(all map[*conn]struct{}) (*conn, func()) {
		c := newConn(s, nc, p)
		if len(all) >= s.opt.MaxConns || strangers(all, c.ip) >= s.opt.maxStrangers() {
			s.log.Warn("iscsi: connection refused", "client", c.addr, "limit", s.opt.MaxConns, "before login", s.opt.maxStrangers())
			c.Hangup()
			return nil, nil
		}
		return c, func() {
			c.serve()
			s.conns.Forget(c)
		}
	})
}

// strangers counts the connections from an address of which nothing is known but
// that: those in login, and in discovery, which needs no rights.
func strangers(all map[*conn]struct{}, from netip.Addr) (n int) {
	for c := range all {
		if who := c.info.Load(); c.ip == from && (who == nil || who.Target == "") {
			n++
		}
	}
	return n
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
