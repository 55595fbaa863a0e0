package nfsclient

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// patience is how long a reply may take.
const patience = 60 * time.Second

// ErrTimeout is a reply that did not come in time.
var ErrTimeout = errors.New("no reply in time")

// Conn is a connection on which many calls may be under way. Its methods are
// safe for concurrent use.
type Conn struct {
	wire *Wire
	send sync.Mutex

	mu      sync.Mutex
	xid     uint32
	order   uint64 // replies so far
	waiting map[uint32]chan<- reply
	broken  error // set once the connection has ended
}

type reply struct {
	msg   []byte
	order uint64
	err   error
}

// Dial connects to a server.
func Dial(addr string) (*Conn, error) { return DialFrom(addr, "") }

// DialFrom connects from a local address: an IP, or IP:PORT.
func DialFrom(addr, local string) (*Conn, error) {
	w, err := DialWire(addr, local)
	if err != nil {
		return nil, err
	}
	c := &Conn{wire: w, xid: rand.Uint32(), waiting: map[uint32]chan<- reply{}}
	go c.receive()
	return c, nil
}

// Close hangs up. Calls under way end with an error.
func (c *Conn) Close() { c.wire.Close() }

// XID returns one that this connection has not used.
func (c *Conn) XID() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.xid++
	return c.xid
}

// Do makes a call and returns its results, and the place of the reply among all
// of the connection, from 1.
func (c *Conn) Do(call Call) (results []byte, order uint64, err error) {
	answer := make(chan reply, 1)
	if err := c.expect(call.XID, answer); err != nil {
		return nil, 0, err
	}
	c.send.Lock()
	err = c.wire.Send(call.Bytes())
	c.send.Unlock()
	if err != nil {
		c.wire.Close() // let receive see it too
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-answer:
		if r.err != nil {
			return nil, 0, r.err
		}
		_, results, err := ParseReply(r.msg)
		return results, r.order, err
	case <-timer.C:
		return nil, 0, fmt.Errorf("program %d procedure %d: %w", call.Program, call.Procedure, ErrTimeout)
	}
}

func (c *Conn) expect(xid uint32, answer chan<- reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	if c.waiting[xid] != nil {
		return fmt.Errorf("XID %d is under way on this connection", xid)
	}
	c.waiting[xid] = answer
	return nil
}

// receive hands out replies until the connection ends.
func (c *Conn) receive() {
	var err error
	for err == nil {
		err = c.deliver()
	}
	c.wire.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
	for _, answer := range c.waiting {
		answer <- reply{err: err}
	}
	c.waiting = nil
}

func (c *Conn) deliver() error {
	msg, err := c.wire.Receive()
	if err != nil {
		return err
	}
	d := decoder{b: msg}
	xid := d.u32()
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.waiting[xid]
	if d.err != nil || answer == nil {
		return fmt.Errorf("%w: an answer to nothing (XID %d)", ErrProtocol, xid)
	}
	delete(c.waiting, xid)
	c.order++
	answer <- reply{msg: msg, order: c.order}
	return nil
}
