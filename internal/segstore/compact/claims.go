package compact

import "sync"

// claims are segments that somebody changes: each has one holder.
type claims struct {
	mu    sync.Mutex
	freed sync.Cond
	held  map[uint64]struct{}
}

func (c *claims) init() {
	c.freed.L = &c.mu
	c.held = map[uint64]struct{}{}
}

// take waits for segments and claims them. Whoever wants several takes them in
// one call, ascending, and holds no other.
func (c *claims) take(segments ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range segments {
		for {
			if _, held := c.held[n]; !held {
				break
			}
			c.freed.Wait()
		}
		c.held[n] = struct{}{}
	}
}

func (c *claims) release(segments ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range segments {
		delete(c.held, n)
	}
	c.freed.Broadcast()
}
