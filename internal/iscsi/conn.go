package iscsi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/fail"
	"varve/internal/outbox"
	"varve/internal/scsi"
)

const (
	// lingerBytes bounds what is thrown away at the end of a connection; see
	// outbox.Stream.Linger.
	lingerBytes = 16 << 20

	// window is how many commands an initiator may have under way.
	window = 128

	// maxImmediate is how many immediate commands and task management functions,
	// which the window does not hold back, may be under way or wait to be sent
	// their responses. Those beyond are rejected.
	maxImmediate = 2 * window
)

var (
	errCut        = fail.New(fail.Canceled, "iSCSI: the connection was cut")
	errLogout     = fail.New(fail.Canceled, "the initiator logged out")
	errReplaced   = fail.New(fail.Canceled, "a new session of the initiator took its place")
	errDiscovered = fail.New(fail.Canceled, "its time for discovery is over")
	errSilent     = fail.New(fail.Canceled, "the initiator answers no ping")
	errKicked     = fail.New(fail.Canceled, "its volume was taken from it")
)

// conn is one connection, from accept to close, and the only one of its session.
// What has no other guard belongs to the reader, the goroutine that runs serve.
type conn struct {
	srv    *Server
	portal *portal
	nc     *outbox.Stream
	addr   string
	ip     netip.Addr
	local  netip.AddrPort // to which it came
	since  time.Time
	ctx    context.Context // ends when the connection is cut
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when no task is under way any more

	params  params
	session *session
	nexus   *scsi.Nexus                 // nil in discovery
	info    atomic.Pointer[sessionInfo] // for status

	in       input
	gather   gathering
	reply    *outbox.Buffer                // replies that the reader has not yet queued
	spare    atomic.Pointer[outbox.Buffer] // the fixed reply buffer, when it is free
	fixed    bool                          // it has been made
	out      outbox.Outbox[*outbox.Buffer]
	inBytes  *semaphore.Weighted // inShare
	outBytes *semaphore.Weighted // outShare
	memory   *semaphore.Weighted // connMemory

	statSN    atomic.Uint32 // the next; moved by who sends
	expCmdSN  atomic.Uint32
	maxCmdSN  atomic.Uint32
	immediate atomic.Int32 // see maxImmediate
	held      heldPDUs
	tasks     taskSet
	jobs      sync.WaitGroup // given to the workers
	text      textExchange

	pdus                    atomic.Uint64 // received, for the pinger
	heard                   atomic.Uint64 // moves with every read that brought something
	commands                atomic.Uint64
	bytesRead, bytesWritten atomic.Uint64
	live                    atomic.Bool // in full feature phase
	ping                    pinger
	holding                 holding
}

func newConn(s *Server, nc net.Conn, p *portal) *conn {
	c := &conn{
		srv:      s,
		portal:   p,
		nc:       outbox.NewStream(nc),
		addr:     nc.RemoteAddr().String(),
		since:    time.Now(),
		ended:    make(chan struct{}),
		inBytes:  semaphore.NewWeighted(inShare),
		outBytes: semaphore.NewWeighted(outShare),
		memory:   semaphore.NewWeighted(connMemory),
	}
	if a, err := netip.ParseAddrPort(c.addr); err == nil {
		c.ip = a.Addr().Unmap().WithZone("") // with one it is in no network
	}
	c.local, _ = netip.ParseAddrPort(nc.LocalAddr().String())
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out.Init(c, c.nc, s.opt.StallTimeout)
	c.tasks.init()
	return c
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer close(c.ended)
	defer c.Hangup()
	outbox.Tune(c.nc.Conn)
	c.in.buf = c.srv.buffers.Get(bufferSize)
	defer func() { c.srv.buffers.Put(c.in.buf) }()
	l, err := c.loginPhase()
	if c.session == nil {
		c.srv.log.Info("iscsi: login refused", "client", c.addr, "initiator", nameOf(l), "reason", err)
		c.linger()
		return
	}
	s := c.session
	c.srv.log.Info("iscsi: logged in", "client", c.addr, "initiator", s.key.initiator, "target", s.key.target, "tsih", s.tsih)
	if err == nil {
		err = c.fullFeature()
	} else {
		s.end()
	}
	c.srv.log.Info("iscsi: session ended", "client", c.addr, "initiator", s.key.initiator, "target", s.key.target, "tsih", s.tsih, "reason", err)
}

func nameOf(l *login) string {
	if l == nil {
		return ""
	}
	return l.initiator
}

// fullFeature serves commands until the connection ends, and ends the session when
// none is under way any more.
func (c *conn) fullFeature() error {
	var writer sync.WaitGroup
	writer.Go(c.out.Run)
	c.in.digest = c.params.digests.data
	c.live.Store(true)
	err := c.loop()
	if cause := context.Cause(c.ctx); cause != nil { // who cut it knows why
		err = cause
	}
	if errors.Is(err, outbox.ErrShuttingDown) {
		c.tasks.abort(c, func(t *task) bool { return t.phase == phaseData }) // the others end as usual
	} else {
		c.tasks.drop(c)
	}
	c.jobs.Wait()
	c.session.end() // what it holds is free when its initiator hears of the end
	c.flushReplies()
	if c.nc.Draining() {
		c.sayDropping()
	}
	c.live.Store(false)
	c.out.Close()
	writer.Wait()
	if c.out.Err() == outbox.ErrTooSlow {
		err = outbox.ErrTooSlow
	}
	if !errors.Is(err, io.EOF) {
		c.linger()
	}
	c.Hangup()
	if b := c.spare.Swap(nil); b != nil {
		c.srv.buffers.Put(b)
	}
	return err
}

// loop serves PDUs until the connection ends.
func (c *conn) loop() error {
	for {
		h, err := c.header()
		if err != nil {
			return err
		}
		if c.ctx.Err() != nil {
			return errCut
		}
		c.pdus.Add(1)
		if err := c.serveOne(h); err != nil {
			return err
		}
	}
}

// linger lets the initiator take the last replies.
func (c *conn) linger() {
	if c.ctx.Err() != nil {
		return
	}
	c.nc.Linger(lingerBytes)
}

// Drain implements accept.Conn.
func (c *conn) Drain() { c.nc.Drain() }

// Hangup cuts the connection. It may be called at any time, from anywhere.
func (c *conn) Hangup() { c.cut(errCut) }

// cut is Hangup with the reason.
func (c *conn) cut(why error) {
	c.cancel(why)
	c.nc.Close()
}

func itoa(n int) string { return strconv.Itoa(n) }
