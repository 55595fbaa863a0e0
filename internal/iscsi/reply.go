package iscsi

import (
	"varve/internal/outbox"
)

// sendAt is how many bytes of replies the reader collects before it sends them
// although more requests are at hand.
const sendAt = 64 << 10

// room returns n bytes, at most bufferSize, at the end of the replies at hand.
// They count once c.said(n).
func (c *conn) room(n int) ([]byte, error) {
	if c.reply != nil && c.reply.Room() < n {
		c.flushReplies()
	}
	if c.reply == nil {
		if err := c.newReply(); err != nil {
			return nil, err
		}
	}
	return c.reply.Tail(n), nil
}

// newReply gets the fixed buffer, or one from the budget while the writer
// still has that.
func (c *conn) newReply() (err error) {
	if c.reply = c.spare.Swap(nil); c.reply != nil {
		return nil
	}
	if c.fixed {
		c.reply, err = c.takeOut(bufferSize)
		return err
	}
	c.fixed = true
	c.reply = c.srv.buffers.Get(bufferSize)
	return nil
}

// said counts n bytes of room as replies.
func (c *conn) said(n int) {
	c.reply.To += n
	if c.reply.Len() >= sendAt {
		c.flushReplies()
	}
}

// flushReplies sends the replies at hand, as far as that goes without waiting.
func (c *conn) flushReplies() {
	b := c.reply
	switch {
	case b == nil:
	case b.Len() > 0:
		c.reply = nil
		c.out.Send(b)
	case b.Charge > 0: // unused
		c.reply = nil
		c.Free(b)
	}
}

// newHeader clears p's header and begins a PDU in it.
func newHeader(p []byte, opcode byte, tag uint32, sn uint32) header {
	h := header(p[:headerSize])
	clear(h)
	h[0], h[1] = opcode, finalBit
	h.put(16, tag)
	h.put(24, sn)
	return h
}

// say sends a small PDU from the reader: build fills header and data, and
// returns the length of the data, at most n.
func (c *conn) say(opcode byte, tag, sn uint32, n int, build func(h header, data []byte) int) error {
	d := c.params.digests
	p, err := c.room(d.size(n))
	if err != nil {
		return err
	}
	c.said(c.put(p, opcode, tag, sn, build))
	return nil
}

func (c *conn) put(p []byte, opcode byte, tag, sn uint32, build func(h header, data []byte) int) int {
	d := c.params.digests
	h := newHeader(p, opcode, tag, sn)
	return d.finish(p, build(h, p[d.head():]))
}

// sayLate is say for any other goroutine. What it needs is small, and bounded
// by what the window and maxImmediate admit.
func (c *conn) sayLate(opcode byte, tag, sn uint32, n int, build func(h header, data []byte) int) {
	b := c.srv.buffers.Get(c.params.digests.size(n))
	b.To += c.put(b.Body(), opcode, tag, sn, build)
	if sn == snUse {
		b.Counted = true
		c.immediate.Add(1)
	}
	c.out.Add(b)
}

// Depart implements outbox.Owner: it puts the numbers into what will be sent
// now, in this order. The one who sends is alone in it.
func (c *conn) Depart(batch []*outbox.Buffer) {
	d := c.params.digests
	for _, b := range batch {
		for p := b.Bytes(); len(p) >= headerSize; {
			h := header(p[:headerSize])
			c.stamp(h)
			if d.header {
				putDigest(p[headerSize:], h)
			}
			p = p[d.size(h.dataLen()):]
		}
	}
}

func (c *conn) stamp(h header) {
	switch h.cmdSN() {
	case snNone:
	case snShow:
		h.put(24, c.statSN.Load())
	case snFinish:
		c.maxCmdSN.Add(1)
		fallthrough
	case snUse:
		h.put(24, c.statSN.Add(1)-1)
	}
	h.put(28, c.expCmdSN.Load())
	h.put(32, c.maxCmdSN.Load())
}
