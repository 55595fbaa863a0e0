package iscsi

import (
	"sync"
	"time"
)

const (
	// holderPatience is how long an initiator that holds a reservation by RESERVE(6),
	// which others have met, may say nothing.
	holderPatience = 2 * time.Second

	// metAtOnce is how many commands meanwhile are told of the conflict at once. A
	// program that tries once or twice does not wait for a third party.
	metAtOnce = 2
)

// holding is what a session remembers of others having met its reservation by
// RESERVE(6). That lives as long as the session does: an initiator that died with it
// would bar the disk for all until the clock noticed. So it is asked at once, and who
// goes on meeting the reservation waits until it answers or is cut off:
//
//	met --> asked, 1st and 2nd: conflict --> heard: conflict, and asked anew later
//	              3rd and later: wait   --> silent for holderPatience: the session ends
type holding struct {
	mu    sync.Mutex
	asked bool   // and not yet judged
	heard uint64 // conn.heard when it was asked
	met   int    // since then
}

// silent implements scsi.NexusConfig.Silent.
func (c *conn) silent() bool {
	h := &c.holding
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked {
		h.asked, h.heard, h.met = true, c.heard.Load(), 0
		c.ask()
		time.AfterFunc(holderPatience, c.judgeHolder)
	}
	if c.heard.Load() != h.heard {
		return false
	}
	h.met++
	return h.met > metAtOnce
}

// judgeHolder cuts off a holder from which nothing came. One that has yet to take what
// is before the question is judged by outbox.Pace.
func (c *conn) judgeHolder() {
	h := &c.holding
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.heard.Load() != h.heard || c.out.Busy() {
		h.asked = false
		return
	}
	c.cut(errSilent) // whoever waits goes on waiting until the nexus has ended
}
