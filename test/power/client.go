package power

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The part of the NBD protocol that the client speaks. It is written from the
// protocol's text and shares nothing with the server it tests.
const (
	magicGreeting = 0x4e42444d41474943
	magicOption   = 0x49484156454f5054
	magicOptReply = 0x0003e889045565a9
	magicRequest  = 0x25609513
	magicReply    = 0x67446698

	optGo   = 7
	repAck  = 1
	repInfo = 3

	cmdRead   = 0
	cmdWrite  = 1
	cmdDisc   = 2
	cmdFlush  = 3
	cmdTrim   = 4
	cmdZeroes = 6

	flagFUA    = 1 << 0
	flagNoHole = 1 << 1
)

// conn is one NBD connection. One goroutine sends, one receives.
type conn struct {
	c    net.Conn
	r    *bufio.Reader
	size uint64
	buf  []byte // a request as it is sent

	mu    sync.Mutex
	reads map[uint64]uint32 // cookie of a READ in flight -> its length
}

// reply is the answer to one request. data is valid until the next receive.
type reply struct {
	cookie uint64
	errno  uint32
	data   []byte
}

// dial connects to the export of a server on a unix socket.
func dial(socket, export string) (*conn, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &conn{c: nc, r: bufio.NewReaderSize(nc, 256<<10), reads: map[uint64]uint32{}}
	if err := c.handshake(export); err != nil {
		nc.Close()
		return nil, fmt.Errorf("NBD handshake for %q: %w", export, err)
	}
	return c, nil
}

func (c *conn) handshake(export string) error {
	var hello [18]byte
	if _, err := io.ReadFull(c.r, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != magicGreeting || binary.BigEndian.Uint64(hello[8:]) != magicOption {
		return errors.New("not a newstyle NBD server")
	}
	const fixedNewstyle, noZeroes = 1, 2
	if flags := binary.BigEndian.Uint16(hello[16:]); flags&fixedNewstyle == 0 {
		return errors.New("the server lacks fixed newstyle")
	}
	out := binary.BigEndian.AppendUint32(nil, fixedNewstyle|noZeroes)
	out = binary.BigEndian.AppendUint64(out, magicOption)
	out = binary.BigEndian.AppendUint32(out, optGo)
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(export)+2))
	out = binary.BigEndian.AppendUint32(out, uint32(len(export)))
	out = append(out, export...)
	out = binary.BigEndian.AppendUint16(out, 0) // no further information asked for
	if _, err := c.c.Write(out); err != nil {
		return err
	}
	for {
		kind, data, err := c.optionReply()
		switch {
		case err != nil:
			return err
		case kind == repAck:
			return nil
		case kind&(1<<31) != 0:
			return fmt.Errorf("refused with %#x: %s", kind, data)
		case kind == repInfo && len(data) >= 12 && binary.BigEndian.Uint16(data) == 0:
			c.size = binary.BigEndian.Uint64(data[2:])
		}
	}
}

func (c *conn) optionReply() (kind uint32, data []byte, err error) {
	var head [20]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint64(head[:]) != magicOptReply {
		return 0, nil, errors.New("bad magic in an option reply")
	}
	n := binary.BigEndian.Uint32(head[16:])
	if n > 1<<16 {
		return 0, nil, fmt.Errorf("option reply of %d bytes", n)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(c.r, data)
	return binary.BigEndian.Uint32(head[12:]), data, err
}

// send sends one request. payload is that of a WRITE, else nil.
func (c *conn) send(cmd, flags uint16, cookie, off uint64, n uint32, payload []byte) error {
	if cmd == cmdRead {
		c.mu.Lock()
		c.reads[cookie] = n
		c.mu.Unlock()
	}
	b := binary.BigEndian.AppendUint32(c.buf[:0], magicRequest)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, cmd)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, off)
	b = binary.BigEndian.AppendUint32(b, n)
	b = append(b, payload...)
	c.buf = b
	_, err := c.c.Write(b)
	return err
}

// receive waits for the next reply.
func (c *conn) receive(scratch []byte) (reply, error) {
	var head [16]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return reply{}, err
	}
	if m := binary.BigEndian.Uint32(head[:]); m != magicReply {
		return reply{}, fmt.Errorf("%w: reply magic %#x", errProtocol, m)
	}
	r := reply{cookie: binary.BigEndian.Uint64(head[8:]), errno: binary.BigEndian.Uint32(head[4:])}
	c.mu.Lock()
	n, isRead := c.reads[r.cookie]
	delete(c.reads, r.cookie)
	c.mu.Unlock()
	if !isRead || r.errno != 0 {
		return r, nil
	}
	if uint32(len(scratch)) < n {
		scratch = make([]byte, n)
	}
	r.data = scratch[:n]
	_, err := io.ReadFull(c.r, r.data)
	return r, err
}

// errProtocol is a server that breaks the protocol, as opposed to one that
// was killed.
var errProtocol = errors.New("NBD protocol violated")

// readAll reads the whole export in order and hands it out in pieces.
func (c *conn) readAll(visit func(off uint64, p []byte) error) error {
	const step = 1 << 20
	scratch := make([]byte, step)
	for off := uint64(0); off < c.size; off += step {
		n := min(step, c.size-off)
		if err := c.send(cmdRead, 0, off, off, uint32(n), nil); err != nil {
			return err
		}
		r, err := c.receive(scratch)
		if err != nil {
			return err
		}
		if r.errno != 0 {
			return fmt.Errorf("READ of %d bytes at %d: NBD error %d", n, off, r.errno)
		}
		if err := visit(off, r.data); err != nil {
			return err
		}
	}
	return nil
}

// close says goodbye and hangs up.
func (c *conn) close() {
	_ = c.send(cmdDisc, 0, 0, 0, 0, nil) // the server may be gone
	c.c.Close()
}
