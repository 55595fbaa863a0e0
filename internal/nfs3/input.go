package nfs3

import (
	"errors"
	"io"
	"os"
	"time"

	"varve/internal/engine"
	"varve/internal/outbox"
)

const (
	// chunkSize is that of a connection's buffer of calls, and of replies: room
	// for many small ones in one system call.
	chunkSize = 256 << 10

	// inPlace is the longest call that is received in the buffer of calls. A
	// longer one gets a buffer of its own, and the bytes of it that came along
	// with its length are copied.
	inPlace = 64 << 10

	// lendFrom is the shortest call that is received in memory of the log, where
	// that may take it over; longHead is as much of it as tells, for a client
	// with groups and a long name.
	lendFrom = 512<<10 + longHead
	longHead = 512

	// afterBulk limits the read that follows a call of its own buffer: the next
	// is probably one more of that kind, and this is what we would have to copy
	// of it.
	afterBulk = 512

	// maxSkip is the longest call that is answered although it is too long. A
	// connection on which a longer one is announced ends.
	maxSkip = 16 << 20

	// maxFragments bounds the fragments of one call.
	maxFragments = 1024
)

// input is what has been read from the client and not yet parsed:
//
//	buf.mem  | parsed: calls that may be in use | r: unparsed :w | free |
type input struct {
	buf  *buffer
	r, w int
	bulk bool // the last call had a buffer of its own
}

func (in *input) len() int { return in.w - in.r }

// next consumes n bytes. They stay valid until buf is released.
func (in *input) next(n int) []byte {
	p := in.buf.mem[in.r : in.r+n : in.r+n]
	in.r += n
	return p
}

// record receives one call: its bytes, without fragment lengths, and the
// buffer in which they lie, of which the caller has to release one use. Of a
// call of more than maxRecord bytes only the first are there.
func (c *conn) record() ([]byte, *buffer, error) {
	n, last, err := c.fragment()
	switch {
	case err != nil:
		return nil, nil, err
	case !last:
		return c.assemble(n)
	case n <= inPlace:
		if err := c.fill(n); err != nil {
			return nil, nil, err
		}
		c.in.buf.refs.Add(1)
		return c.in.next(n), c.in.buf, nil
	}
	k := min(n, maxRecord)
	b, at, err := c.takeBulk(k)
	if err != nil {
		return nil, nil, err
	}
	b.refs.Store(1)
	if err = c.receive(b.mem[at : at+k]); err == nil {
		err = c.discard(n - k)
	}
	if err != nil {
		c.Free(b)
		return nil, nil, err
	}
	c.in.bulk = true
	return b.mem[at : at+k : at+k], b, nil
}

// takeBulk returns a buffer for a call of n bytes, and where in it the call is
// to begin. If that is a long WRITE of whole blocks the buffer is memory of the
// log, and its payload comes where the log wants it:
//
//	block 0       | block 1 ...
//	... call head | payload
func (c *conn) takeBulk(n int) (b *buffer, at int, err error) {
	if n >= lendFrom {
		if err := c.fill(min(n, longHead)); err != nil {
			return nil, 0, err
		}
		in := &c.in
		if head := headOfWrite(in.buf.mem[in.r : in.r+longHead]); head > 0 {
			return c.takeLent(n, engine.BlockSize-head)
		}
	}
	b, err = c.take(n)
	return b, 0, err
}

// headOfWrite returns how many bytes of a call precede its payload, if it is a
// WRITE of many whole blocks; else 0. p are its first bytes.
func headOfWrite(p []byte) int {
	d := decoder{p: p}
	d.u32() // XID
	if d.u32() != msgCall || d.u32() != rpcVersion || d.u32() != progNFS || d.u32() != versNFS || d.u32() != procWrite {
		return 0
	}
	for range 2 { // credential and verifier
		d.u32()
		d.opaque(maxAuth)
	}
	d.opaque(maxHandle)
	off, count := d.u64(), d.u32()
	d.u32()
	if d.u32() != count || d.bad || off%engine.BlockSize != 0 || count%engine.BlockSize != 0 || count < lendFrom-longHead {
		return 0
	}
	return len(p) - len(d.p)
}

// fragment receives the length of a fragment, in bytes.
func (c *conn) fragment() (n int, last bool, err error) {
	if err := c.fill(4); err != nil {
		return 0, false, err
	}
	v := be.Uint32(c.in.next(4))
	if v&^lastFragment > maxSkip {
		return 0, false, errTooLong
	}
	return int(v &^ lastFragment), v&lastFragment != 0, nil
}

// assemble receives a call of which the first fragment has n bytes and others
// follow.
func (c *conn) assemble(n int) ([]byte, *buffer, error) {
	b, err := c.take(maxRecord)
	if err != nil {
		return nil, nil, err
	}
	b.refs.Store(1)
	p, total, last := b.mem[:0], 0, false
	for fragments := 1; ; fragments++ {
		k := min(n, maxRecord-len(p))
		end := len(p) + k
		if err = c.receive(b.mem[len(p):end]); err == nil {
			err = c.discard(n - k)
		}
		p = b.mem[:end]
		if total += n; err == nil && (total > maxSkip || fragments > maxFragments) {
			err = errTooLong
		}
		if err == nil && last {
			return p[:end:end], b, nil
		}
		if err == nil {
			n, last, err = c.fragment()
		}
		if err != nil {
			c.Free(b)
			return nil, nil, err
		}
	}
}

// fill reads until n bytes, at most inPlace, are in the input buffer. It sends
// the replies at hand before it can come to wait for the client.
func (c *conn) fill(n int) error {
	in := &c.in
	if in.len() >= n {
		return nil
	}
	if err := c.makeRoom(n); err != nil {
		return err
	}
	for in.len() < n {
		c.flushReplies()
		free := in.buf.mem[in.w:]
		if in.bulk {
			free = free[:min(len(free), max(afterBulk, n-in.len()))]
			in.bulk = false
		}
		k, err := c.nc.Read(free)
		in.w += k
		if err != nil {
			return c.endOf(err)
		}
	}
	return nil
}

// makeRoom makes the input buffer one in which n unparsed bytes have room:
// the same one, from its front if nobody uses what was there, or another.
func (c *conn) makeRoom(n int) error {
	in := &c.in
	mem := in.buf.mem
	switch {
	case in.buf.refs.Load() == 1:
		in.r, in.w = 0, copy(mem, mem[in.r:in.w])
	case len(mem)-in.r < max(n, afterBulk):
		b, err := c.take(chunkSize)
		if err != nil {
			return err
		}
		b.refs.Store(1)
		in.r, in.w = 0, copy(b.mem, mem[in.r:in.w])
		c.release(in.buf)
		in.buf = b
	}
	return nil
}

// receive fills p. The client has to keep pace.
func (c *conn) receive(p []byte) error {
	k := copy(p, c.in.next(min(len(p), c.in.len())))
	if k == len(p) {
		return nil
	}
	c.flushReplies()
	pace := outbox.NewPace(c.srv.opt.StallTimeout, len(p)-k)
	c.nc.ReadUntil(pace.Deadline())
	defer c.nc.ReadUntil(time.Time{})
	for k < len(p) {
		n, err := c.nc.Read(p[k:])
		k += n
		pace.Moved(int64(n))
		if err = c.endOf(err); errors.Is(err, os.ErrDeadlineExceeded) {
			err = pace.Judge(false)
			c.nc.ReadUntil(pace.Deadline())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// discard skips n bytes of input.
func (c *conn) discard(n int) error {
	n -= len(c.in.next(min(n, c.in.len())))
	if n == 0 {
		return nil
	}
	c.flushReplies()
	pace := outbox.NewPace(c.srv.opt.StallTimeout, n)
	c.nc.ReadUntil(pace.End())
	defer c.nc.ReadUntil(time.Time{})
	_, err := io.CopyN(io.Discard, c.nc.Conn, int64(n))
	return c.slowness(err)
}

// slowness names the end of a transfer.
func (c *conn) slowness(err error) error {
	if err = c.endOf(err); errors.Is(err, os.ErrDeadlineExceeded) {
		return outbox.ErrTooSlow
	}
	return err
}
