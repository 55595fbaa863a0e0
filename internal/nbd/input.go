package nbd

import (
	"errors"
	"io"
	"os"
	"time"

	"varve/internal/outbox"
)

const (
	// bufferSize is that of a connection's input buffer, and of its buffer of
	// replies: room for 32 requests with 4 KiB each, or replies, in one system
	// call each, with as much again to spare.
	bufferSize = 256 << 10

	// inPlace is the longest payload that is received in the input buffer. A
	// longer one gets a buffer of its own, and the bytes of it that came along
	// with its head are copied.
	inPlace = 64 << 10

	// afterBulk limits the read that follows a payload of its own buffer: the
	// next request is probably one more of that kind, and this is what we
	// would have to copy of it.
	afterBulk = 512
)

// input is what has been read from the client and not yet parsed:
//
//	buf.Body()  | parsed | r: unparsed :w | free |
type input struct {
	buf  *outbox.Buffer
	r, w int
	bulk bool // the last payload had a buffer of its own
}

func (in *input) len() int { return in.w - in.r }

// next consumes n bytes. They stay valid until the next fill.
func (in *input) next(n int) []byte {
	p := in.buf.Body()[in.r : in.r+n]
	in.r += n
	return p
}

// fill reads until n bytes, at most bufferSize, are in the input buffer. It
// sends the replies at hand before it can come to wait for the client.
func (c *conn) fill(n int) error {
	in := &c.in
	if in.len() >= n {
		return nil
	}
	body := in.buf.Body()
	in.w = copy(body, body[in.r:in.w])
	in.r = 0
	for in.w < n {
		c.flushReplies()
		free := body[in.w:]
		if in.bulk {
			free = free[:min(len(free), max(afterBulk, n-in.w))]
			in.bulk = false
		}
		spin := c.spin.window(c.srv.opt.Spin)
		k, waited, err := c.nc.ReadSpin(free, spin)
		if spin > 0 {
			c.spin.result(waited)
		}
		if err != nil {
			return c.nc.EndOf(err)
		}
		in.w += k
	}
	return nil
}

// payload receives the n bytes that follow the head of a WRITE. Where b is not
// nil they lie in it, and it must be given to c.free.
func (c *conn) payload(n int) (p []byte, b *outbox.Buffer, err error) {
	if n <= inPlace || n <= c.in.len() {
		if err := c.fill(n); err != nil {
			return nil, nil, err
		}
		return c.in.next(n), nil, nil
	}
	if n > connShare { // it may keep others waiting: what is said must be meant
		if err := c.fill(bufferSize); err != nil {
			return nil, nil, err
		}
	}
	if b, err = c.take(n); err != nil {
		return nil, nil, err
	}
	p = b.Body()[:n]
	if err := c.receive(p, b.Shared); err != nil {
		c.Free(b)
		return nil, nil, err
	}
	c.in.bulk = true
	return p, b, nil
}

// receive fills p, which may be shared memory. The client has to keep pace.
func (c *conn) receive(p []byte, shared bool) error {
	k := copy(p, c.in.next(min(len(p), c.in.len())))
	if k == len(p) {
		return nil
	}
	c.flushReplies()
	pace := outbox.NewPace(c.srv.opt.StallTimeout, len(p)-k)
	c.nc.ReadUntil(pace.Deadline())
	defer c.nc.ReadUntil(time.Time{})
	for k < len(p) {
		n, _, err := c.nc.ReadSpin(p[k:], 0)
		k += n
		pace.Moved(int64(n))
		switch {
		case err == nil:
			continue
		case c.nc.Draining() || !errors.Is(err, os.ErrDeadlineExceeded):
			return c.nc.EndOf(err)
		}
		if err := pace.Judge(shared && c.Awaited()); err != nil {
			return err
		}
		c.nc.ReadUntil(pace.Deadline())
	}
	return nil
}

// discard skips n bytes of input.
func (c *conn) discard(n int64) error {
	n -= int64(len(c.in.next(int(min(n, int64(c.in.len()))))))
	if n == 0 {
		return nil
	}
	c.flushReplies()
	pace := outbox.NewPace(c.srv.opt.StallTimeout, int(n))
	c.nc.ReadUntil(pace.End())
	defer c.nc.ReadUntil(time.Time{})
	_, err := io.CopyN(io.Discard, c.nc.Conn, n)
	return c.nc.EndOf(err)
}
