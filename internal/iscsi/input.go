package iscsi

import (
	"errors"
	"os"
	"time"

	"varve/internal/fail"
	"varve/internal/outbox"
)

const (
	// bufferSize is that of a connection's input buffer, and of its buffer of
	// replies.
	bufferSize = 256 << 10

	// inPlace is the longest data that is received in the input buffer. Longer
	// data of commands goes where it shall lie, and the bytes of it that came
	// along with its header are copied.
	inPlace = 64 << 10

	// afterBulk limits the read that follows data that went elsewhere: the next
	// PDU is probably one more of that kind, and this is what we would have to
	// copy of it.
	afterBulk = 512
)

var (
	errDigest  = fail.New(fail.Corrupt, "iSCSI: a digest is wrong")
	errTooLong = fail.New(fail.TooBig, "iSCSI: a PDU longer than was declared")
)

// input is what has been read from the initiator and not yet parsed:
//
//	buf.Body()  | parsed | r: unparsed :w | free |
type input struct {
	buf  *outbox.Buffer
	r, w int
	bulk bool // the last data went elsewhere

	digest bool // data has one
}

func (in *input) len() int { return in.w - in.r }

// next consumes n bytes. They stay valid until the next fill.
func (in *input) next(n int) []byte {
	p := in.buf.Body()[in.r : in.r+n]
	in.r += n
	return p
}

// fill reads until n bytes, at most bufferSize, are in the input buffer. It
// sends the replies at hand before it can come to wait for the initiator.
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
		k, err := c.read(free)
		if err != nil {
			return c.nc.EndOf(err)
		}
		c.heard.Add(1)
		in.w += k
	}
	return nil
}

// read reads some bytes, many at once if that pays: not after data that went
// elsewhere, when p is short.
func (c *conn) read(p []byte) (int, error) {
	want := 0
	if c.srv.opt.Gather > 0 && len(p) > afterBulk {
		want = c.gather.next(c.statSN.Load())
	}
	if want == 0 || !c.srv.gatherers.TryAcquire(1) {
		n, _, err := c.nc.ReadSpin(p, 0)
		return n, err
	}
	defer c.srv.gatherers.Release(1)
	n, waited, err := c.nc.ReadMany(p, want, c.srv.opt.Gather)
	c.gather.result(waited)
	return n, err
}

// header receives the headers of the next PDU. They stay valid until the next
// fill.
func (c *conn) header() (header, error) {
	if err := c.fill(headerSize); err != nil {
		return nil, err
	}
	n := headerSize + header(c.in.buf.Body()[c.in.r:]).ahs()
	whole := n
	if c.params.digests.header {
		whole += digestSize
	}
	if err := c.fill(whole); err != nil {
		return nil, err
	}
	p := c.in.next(whole)
	if c.params.digests.header && checksum(p[:n]) != digestOf(p[n:]) {
		return nil, errDigest
	}
	h := header(p[:headerSize:headerSize])
	if h.dataLen() > recvSegment {
		return nil, errTooLong
	}
	c.gather.received(h, whole+c.dataSize(h.dataLen()))
	return h, nil
}

// dataSize is the length of n bytes of data with padding and digest.
func (c *conn) dataSize(n int) int {
	s := padded(n)
	if c.in.digest && n > 0 {
		s += digestSize
	}
	return s
}

// data receives n bytes of data in the input buffer, n at most inPlace.
func (c *conn) data(n int) ([]byte, error) {
	if n > inPlace {
		return nil, errTooLong
	}
	whole := c.dataSize(n)
	if err := c.fill(whole); err != nil {
		return nil, err
	}
	p := c.in.next(whole)
	if c.in.digest && n > 0 && checksum(p[:padded(n)]) != digestOf(p[padded(n):]) {
		return nil, errDigest
	}
	return p[:n], nil
}

// dataInto receives data as long as p into it.
func (c *conn) dataInto(p []byte) error {
	k := copy(p, c.in.next(min(len(p), c.in.len())))
	if k < len(p) {
		if err := c.receive(p[k:]); err != nil {
			return err
		}
		c.in.bulk = true
	}
	rest := c.dataSize(len(p)) - len(p)
	if rest == 0 {
		return nil
	}
	if err := c.fill(rest); err != nil {
		return err
	}
	tail := c.in.next(rest)
	if c.in.digest {
		pad := padded(len(p)) - len(p)
		sum := crcUpdate(checksum(p), tail[:pad])
		if sum != digestOf(tail[pad:]) {
			return errDigest
		}
	}
	return nil
}

// receive fills p. The initiator has to keep pace.
func (c *conn) receive(p []byte) error {
	c.flushReplies()
	pace := outbox.NewPace(c.srv.opt.StallTimeout, len(p))
	c.nc.ReadUntil(pace.Deadline())
	defer c.nc.ReadUntil(time.Time{})
	for len(p) > 0 {
		n, _, err := c.nc.ReadSpin(p, 0)
		p = p[n:]
		c.heard.Add(uint64(n))
		pace.Moved(int64(n))
		if err = c.nc.EndOf(err); errors.Is(err, os.ErrDeadlineExceeded) {
			err = pace.Judge(false)
			c.nc.ReadUntil(pace.Deadline())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skip receives n bytes of data that nobody wants.
func (c *conn) skip(n int) error {
	for left := c.dataSize(n); left > 0; {
		k := min(left, inPlace)
		if err := c.fill(k); err != nil {
			return err
		}
		c.in.next(k)
		left -= k
	}
	return nil
}
