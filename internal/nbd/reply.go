package nbd

import "time"

const (
	// sendAt is how many bytes of replies the reader collects before it sends
	// them although more requests are at hand: the client can go on meanwhile.
	sendAt = 64 << 10

	maxMessage   = 200 // bytes of an error's text in a reply
	errorSize    = chunkSize + 6
	maxErrorSize = errorSize + maxMessage
)

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
		c.reply, err = c.take(bufferSize)
		return err
	}
	c.fixed = true
	c.reply = c.srv.buffers.Get(bufferSize)
	return nil
}

// said counts n bytes of room as replies.
func (c *conn) said(n int) {
	c.reply.To += n
	if c.reply.To-c.reply.From >= sendAt {
		c.flushReplies()
	}
}

// flushReplies sends the replies at hand, as far as that goes without waiting.
func (c *conn) flushReplies() {
	b := c.reply
	switch {
	case b == nil:
	case b.From < b.To:
		c.reply = nil
		c.out.Send(b)
	case b.Charge > 0: // unused, and others may wait for its memory
		c.reply = nil
		c.Free(b)
	}
}

// answer replies to a request that returns no data.
func (c *conn) answer(r request, err error, start time.Time) error {
	p, rerr := c.room(maxErrorSize)
	if rerr != nil {
		return rerr
	}
	c.said(c.putAnswer(p, r.cookie, err))
	c.observe(r, start, err)
	return nil
}

// putAnswer encodes a reply without data into p and returns its length, at
// most maxErrorSize. Successes are simple replies even where structured ones
// are negotiated: those are required of a READ only.
func (c *conn) putAnswer(p []byte, cookie uint64, err error) int {
	if err == nil || !c.structured {
		putSimple(p, cookie, errno(err))
		return simpleSize
	}
	return putError(p, cookie, err)
}
