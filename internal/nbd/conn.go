package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"varve/internal/outbox"
	"varve/internal/workers"
)

const (
	// lingerBytes bounds what is thrown away at the end of a connection; see
	// outbox.Stream.Linger.
	lingerBytes = 64 << 20
)

// conn is one connection, from accept to close. What has no other guard
// belongs to the reader, the goroutine that runs serve.
type conn struct {
	srv    *Server
	nc     *outbox.Stream
	client Client
	ctx    context.Context // ends when the connection is cut
	cancel context.CancelFunc

	disk       Disk
	export     Export
	contexts   []metaContext // that BLOCK_STATUS tells of
	structured bool
	opened     atomic.Pointer[Export] // for status

	in     input
	reply  *outbox.Buffer                // replies that the reader has not yet queued
	spare  atomic.Pointer[outbox.Buffer] // the fixed reply buffer, when it is free
	fixed  bool                          // it has been made
	spans  []Span
	spin   spinner
	out    outbox.Outbox[*outbox.Buffer]
	own    *semaphore.Weighted // connShare
	memory *semaphore.Weighted // connMemory
	held   atomic.Int64        // bytes of shared memory

	jobs    sync.WaitGroup // given to the workers and to the queue
	commits commits
	queue   queue
	backlog workers.Line[*job]

	requests, bytesRead, bytesWritten atomic.Uint64
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv:    s,
		nc:     outbox.NewStream(nc),
		client: Client{Addr: peerName(nc), Since: time.Now()},
		own:    semaphore.NewWeighted(connShare),
		memory: semaphore.NewWeighted(connMemory),
		spin:   newSpinner(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.out.Init(c, c.nc, s.opt.StallTimeout)
	c.commits.init(c)
	c.queue.init()
	return c
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.Hangup()
	outbox.Tune(c.nc.Conn)
	err := c.handshake()
	if err == nil {
		c.srv.log.Info("nbd: connected", "client", c.client.Addr, "export", c.export.Name)
		err = c.transmit()
	}
	c.srv.log.Info("nbd: disconnected", "client", c.client.Addr, "export", c.export.Name, "reason", err)
}

// transmit serves requests until the connection ends, answers those in flight
// and closes the disk.
func (c *conn) transmit() error {
	var writer sync.WaitGroup
	writer.Go(c.out.Run)
	c.in.buf = c.srv.buffers.Get(bufferSize)
	err := c.loop()
	c.jobs.Wait()
	c.queue.pool.Stop()
	c.commits.stop()
	c.flushReplies()
	c.out.Close()
	writer.Wait()
	if c.out.Err() == outbox.ErrTooSlow {
		err = outbox.ErrTooSlow
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, errDisconnect) {
		c.linger()
	}
	c.Hangup()
	c.srv.buffers.Put(c.in.buf)
	if b := c.spare.Swap(nil); b != nil {
		c.srv.buffers.Put(b)
	}
	closeContexts(c.contexts)
	if cerr := c.disk.Close(); cerr != nil {
		c.srv.log.Warn("nbd: closing the disk", "client", c.client.Addr, "export", c.export.Name, "error", cerr)
	}
	return err
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

func (c *conn) status() ClientInfo {
	i := ClientInfo{
		Client:       c.client,
		Requests:     c.requests.Load(),
		BytesRead:    c.bytesRead.Load(),
		BytesWritten: c.bytesWritten.Load(),
	}
	if e := c.opened.Load(); e != nil {
		i.Export, i.ReadOnly = e.Name, e.ReadOnly
	}
	return i
}

// peerName names a client: by its process on a Unix socket.
func peerName(nc net.Conn) string {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nc.RemoteAddr().String()
	}
	name := "unix"
	raw, err := uc.SyscallConn()
	if err != nil {
		return name
	}
	raw.Control(func(fd uintptr) {
		if u, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			name = fmt.Sprintf("unix:pid=%d,uid=%d", u.Pid, u.Uid)
		}
	})
	return name
}
