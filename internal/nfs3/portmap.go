package nfs3

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"varve/internal/accept"
	"varve/internal/fail"
)

// Procedures of the portmapper, version 2 (RFC 1833 section 3).
const (
	versPortmap = 2

	portmapNull    = 0
	portmapSet     = 1
	portmapUnset   = 2
	portmapGetport = 3
	portmapDump    = 4

	protoTCP = 6
)

const (
	portmapConns  = 64               // at a time
	portmapIdle   = 10 * time.Second // a client may take for a call, or until the next
	portmapRecord = 1 << 10          // bytes of a call
	portmapReply  = 256
)

// Portmap tells clients that ask, such as those of macOS and Windows, on which
// port NFS and MOUNT are served. It registers nobody else.
type Portmap struct {
	port uint32
	log  *slog.Logger

	mu      sync.Mutex
	closing bool
	open    map[io.Closer]struct{} // listeners and connections
	conns   int
	running sync.WaitGroup
}

// NewPortmap returns a portmapper for an NFS server on that TCP port. The
// logger may be nil.
func NewPortmap(port uint16, log *slog.Logger) *Portmap {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Portmap{port: uint32(port), log: log, open: map[io.Closer]struct{}{}}
}

// Serve answers on TCP until Shutdown, when it returns nil, or until the
// listener fails. It closes the listener.
func (m *Portmap) Serve(l net.Listener) error {
	if !m.enter(l, false) {
		l.Close()
		return fail.New(fail.Canceled, "the portmapper is shut down")
	}
	defer m.leave(l, false)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			if !m.enter(nc, true) {
				nc.Close()
				continue
			}
			go m.talk(nc)
		case m.isClosing():
			return nil
		case accept.IsTemporary(err):
			time.Sleep(100 * time.Millisecond)
		default:
			return fail.Wrap(fail.IO, err, "accepting portmapper connections on %s", l.Addr())
		}
	}
}

// ServePacket answers on UDP until Shutdown, when it returns nil, or until the
// socket fails. It closes the socket.
func (m *Portmap) ServePacket(pc net.PacketConn) error {
	if !m.enter(pc, false) {
		pc.Close()
		return fail.New(fail.Canceled, "the portmapper is shut down")
	}
	defer m.leave(pc, false)
	in, out := make([]byte, portmapRecord), make([]byte, 0, portmapReply)
	for {
		n, from, err := pc.ReadFrom(in)
		switch {
		case err == nil:
			if p := m.answer(out, in[:n]); p != nil {
				pc.WriteTo(p[4:], from) // lost ones are asked for again
			}
		case m.isClosing():
			return nil
		case accept.IsTemporary(err):
			time.Sleep(100 * time.Millisecond)
		default:
			return fail.Wrap(fail.IO, err, "receiving portmapper calls on %s", pc.LocalAddr())
		}
	}
}

// Shutdown ends all calls of Serve and ServePacket, and every connection.
func (m *Portmap) Shutdown(ctx context.Context) error {
	m.mu.Lock()
	m.closing = true
	for c := range m.open {
		c.Close()
	}
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		m.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fail.Wrap(fail.Canceled, ctx.Err(), "the portmapper had not finished")
	}
}

func (m *Portmap) enter(c io.Closer, conn bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing || conn && m.conns == portmapConns {
		return false
	}
	if conn {
		m.conns++
	}
	m.open[c] = struct{}{}
	m.running.Add(1)
	return true
}

func (m *Portmap) leave(c io.Closer, conn bool) {
	c.Close()
	m.mu.Lock()
	if conn {
		m.conns--
	}
	delete(m.open, c)
	m.mu.Unlock()
	m.running.Done()
}

func (m *Portmap) isClosing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing
}

// talk serves one connection, a call at a time.
func (m *Portmap) talk(nc net.Conn) {
	defer m.leave(nc, true)
	buf, out := make([]byte, 4+portmapRecord), make([]byte, 0, portmapReply)
	for {
		nc.SetDeadline(time.Now().Add(portmapIdle))
		if _, err := io.ReadFull(nc, buf[:4]); err != nil {
			return
		}
		mark := be.Uint32(buf)
		n := mark &^ lastFragment
		if mark&lastFragment == 0 || n > portmapRecord {
			m.log.Info("portmap: call refused", "client", nc.RemoteAddr(), "bytes", n)
			return
		}
		if _, err := io.ReadFull(nc, buf[4:4+n]); err != nil {
			return
		}
		p := m.answer(out, buf[4:4+n])
		if p == nil {
			return
		}
		if _, err := nc.Write(p); err != nil {
			return
		}
	}
}

// answer appends the reply to a call, as a fragment; nil if it is no call.
func (m *Portmap) answer(out, call []byte) []byte {
	var h header
	d := decoder{p: call}
	refused, ok := h.parse(&d)
	switch {
	case !ok:
		return nil
	case refused != rpcSuccess:
	case h.prog != progPortmap:
		refused = rpcNoProgram
	case h.vers != versPortmap:
		refused = rpcMismatch
	case h.proc > portmapDump:
		refused = rpcNoProcedure
	default:
		if p := m.results(putHead(out, h.xid, rpcSuccess), h.proc, &d); !d.bad {
			return seal(p)
		}
		refused = rpcGarbageArgs
	}
	return seal(putRefusal(out, h.xid, refused, versPortmap, versPortmap))
}

func (m *Portmap) results(p []byte, proc uint32, d *decoder) []byte {
	switch proc {
	case portmapSet, portmapUnset:
		return putFlag(p, false)
	case portmapGetport:
		return put32(p, m.portOf(d.u32(), d.u32(), d.u32()))
	case portmapDump:
		for _, x := range [...][2]uint32{{progNFS, versNFS}, {progMount, 3}, {progMount, 1}} {
			p = put32(put32(putFlag(p, true), x[0]), x[1])
			p = put32(put32(p, protoTCP), m.port)
		}
		return putFlag(p, false)
	}
	return p
}

// portOf returns the port of a program, 0 where there is none.
func (m *Portmap) portOf(prog, vers, proto uint32) uint32 {
	nfs := prog == progNFS && vers == versNFS
	mount := prog == progMount && vers >= 1 && vers <= 3
	if proto == protoTCP && (nfs || mount) {
		return m.port
	}
	return 0
}
