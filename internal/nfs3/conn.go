package nfs3

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/oplog"
	"varve/internal/outbox"
)

const (
	// lingerBytes bounds what is thrown away at the end of a connection; see
	// outbox.Stream.Linger.
	lingerBytes = 16 << 20

	// clientPrefix begins the name of a client in the log; its address and port
	// follow.
	clientPrefix = "nfs "
)

// conn is one connection, from accept to close. What has no other guard
// belongs to its reader, the goroutine that holds the baton.
type conn struct {
	srv      *Server
	nc       *outbox.Stream
	addr     string
	ip       netip.Addr
	name     *oplog.Client // as operations are logged
	since    time.Time
	ctx      context.Context // ends when the connection is cut
	cancel   context.CancelFunc
	evicted  atomic.Bool
	stranger bool // no share could be used from its address when it came
	grant    atomic.Pointer[grant]

	baton  baton
	in     input
	reply  *buffer                // replies that the reader has not yet queued
	spare  atomic.Pointer[buffer] // the fixed reply buffer, when it is free
	fixed  bool                   // it has been made
	slow   int                    // calls that are better given away, see slowCalls
	out    outbox.Outbox[*buffer]
	writer sync.WaitGroup
	own    *semaphore.Weighted // connShare
	memory *semaphore.Weighted // connMemory
	flying *semaphore.Weighted // maxInFlight

	commits  commits
	together bool // some wait for the reader to come to the end of what is at hand

	requests, bytesRead, bytesWritten atomic.Uint64
	active                            atomic.Int64 // when the last call came: Unix nanoseconds
}

func newConn(s *Server, nc net.Conn) *conn {
	addr := nc.RemoteAddr().String()
	c := &conn{
		srv:    s,
		nc:     outbox.NewStream(nc),
		addr:   addr,
		ip:     addrOf(addr),
		name:   &oplog.Client{Name: clientPrefix + addr},
		since:  time.Now(),
		own:    semaphore.NewWeighted(connShare),
		memory: semaphore.NewWeighted(connMemory),
		flying: semaphore.NewWeighted(maxInFlight),
	}
	c.active.Store(c.since.UnixNano())
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.baton.init(c.look)
	c.out.Init(c, c.nc, s.opt.StallTimeout)
	c.commits.init(c)
	return c
}

// serve begins to run the connection. It ends in finish, perhaps on another
// goroutine.
func (c *conn) serve() {
	outbox.Tune(c.nc.Conn)
	c.srv.log.Info("nfs: connected", "client", c.addr)
	c.writer.Go(c.out.Run)
	c.in.buf = c.srv.buffers.get(chunkSize)
	c.in.buf.refs.Store(1)
	c.lead()
}

// lead is the reader, until the connection ends or the baton is lost.
func (c *conn) lead() {
	for {
		p, b, err := c.record()
		if err == nil {
			err = c.serveCall(p, b)
		}
		switch err {
		case nil:
		case errPassed:
			return
		default:
			c.finish(err)
			return
		}
	}
}

// finish answers what is in flight and closes the connection.
func (c *conn) finish(err error) {
	c.flushReplies()
	c.flying.Acquire(context.Background(), maxInFlight)
	c.commits.stop()
	c.out.Close()
	c.writer.Wait()
	if c.out.Err() == outbox.ErrTooSlow {
		err = outbox.ErrTooSlow
	}
	if !errors.Is(err, io.EOF) {
		c.linger()
	}
	c.Hangup()
	c.release(c.in.buf)
	if b := c.spare.Swap(nil); b != nil {
		b.fixed = false
		c.srv.buffers.put(b)
	}
	c.srv.log.Info("nfs: disconnected", "client", c.addr, "reason", err)
	c.srv.conns.Forget(c)
}

// linger lets the client take the last replies.
func (c *conn) linger() {
	if c.ctx.Err() != nil {
		return
	}
	c.nc.Linger(lingerBytes)
}

// Drain implements accept.Conn.
func (c *conn) Drain() { c.nc.Drain() }

// Hangup cuts the connection. It may be called at any time, from anywhere.
func (c *conn) Hangup() {
	c.cancel()
	c.nc.Close()
}

// endOf names the end of a read from the client, for the log.
func (c *conn) endOf(err error) error {
	if c.evicted.Load() {
		return errIdle
	}
	return c.nc.EndOf(err)
}

func (c *conn) status() ClientInfo {
	return ClientInfo{
		Addr:         c.addr,
		Since:        c.since,
		Requests:     c.requests.Load(),
		BytesRead:    c.bytesRead.Load(),
		BytesWritten: c.bytesWritten.Load(),
	}
}
