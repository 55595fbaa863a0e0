package httpapi

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// patience is how long a connection may ask nothing without making room for
// others: one that was just made has to get to its request.
const patience = 500 * time.Millisecond

// door lets at most a number of connections in. One more takes the place of
// that which has asked nothing for longest, if that tries one's patience; else
// it waits. So nobody keeps others out by just being there.
//
// A connection is idle from being accepted to its first request, and between
// requests.
type door struct {
	net.Listener
	most int

	mu     sync.Mutex
	inside int
	idle   []*guest      // the longest first
	change chan struct{} // somebody may have left or become idle
}

// guest is a connection that came through a door.
type guest struct {
	net.Conn
	door  *door
	since time.Time // idle since
	gone  sync.Once
}

func newDoor(l net.Listener, most int) *door {
	return &door{Listener: l, most: most, change: make(chan struct{}, 1)}
}

func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: c, door: d}
	for {
		wait := d.admit(g)
		if wait == 0 {
			return g, nil
		}
		select {
		case <-d.change:
		case <-time.After(wait):
		}
	}
}

// admit lets g in if there is a place, or one can be made; it returns how long
// to wait before trying again, or 0.
func (d *door) admit(g *guest) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside == d.most {
		if len(d.idle) == 0 {
			return publicKeepAlive // unless there is a change before
		}
		if left := patience - time.Since(d.idle[0].since); left > 0 {
			return left
		}
		d.idle[0].leave()
	}
	d.inside++
	d.rest(g)
	return 0
}

func (d *door) rest(g *guest) {
	g.since = time.Now()
	d.idle = append(d.idle, g)
}

// leave gives the place of a connection back and closes it. The caller holds
// the door's lock.
func (g *guest) leave() (err error) {
	g.gone.Do(func() {
		g.door.inside--
		g.door.forget(g)
		err = g.Conn.Close()
	})
	return err
}

func (d *door) forget(g *guest) {
	if i := slices.Index(d.idle, g); i >= 0 {
		d.idle = slices.Delete(d.idle, i, i+1)
	}
}

func (g *guest) Close() error {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	defer g.door.changed()
	return g.leave()
}

// note is told by the HTTP server what a connection does.
func (g *guest) note(state http.ConnState) {
	d := g.door
	d.mu.Lock()
	defer d.mu.Unlock()
	switch state {
	case http.StateActive:
		d.forget(g)
	case http.StateIdle:
		d.rest(g)
		d.changed()
	}
}

func (d *door) changed() {
	select {
	case d.change <- struct{}{}:
	default:
	}
}
