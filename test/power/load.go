package power

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// window is how many requests one connection keeps in flight.
const window = 32

// load is one connection that keeps the server busy until it is killed or told
// to stop, and tells the history all it does.
type load struct {
	h    *history
	c    *conn
	vol  int
	rand *rand.Rand
	pick func(l *load) request // chooses the next request and holds its range

	stop  <-chan struct{}
	slots chan struct{} // one for each request that may be in flight
	mu    sync.Mutex
	sent  map[uint64]request // in flight, by cookie
	count counts
}

// counts says how much a load did, by kind of request.
type counts struct{ write, trim, zeroes, fua, flush, read int }

func (c *counts) add(d counts) {
	c.write += d.write
	c.trim += d.trim
	c.zeroes += d.zeroes
	c.fua += d.fua
	c.flush += d.flush
	c.read += d.read
}

type request struct {
	cmd   uint16
	flags uint16
	span  span
	id    opID   // of a change
	at    uint64 // when a FLUSH was sent
}

// drive runs loads until stop is closed or their server is gone, and returns
// what they did.
func drive(loads []*load) (counts, error) {
	errs := make([]error, len(loads))
	var all sync.WaitGroup
	for i, l := range loads {
		all.Go(func() { errs[i] = l.run() })
	}
	all.Wait()
	var total counts
	for _, l := range loads {
		total.add(l.count)
		l.c.c.Close()
	}
	return total, errors.Join(errs...)
}

// run sends and receives until the connection breaks or stop is closed, and
// then, if it still can, until all is answered. It returns an error only for
// what a killed server cannot excuse: a wrong answer.
func (l *load) run() error {
	l.slots = make(chan struct{}, window)
	l.sent = map[uint64]request{}
	broken := make(chan struct{})
	var wrong error
	go func() {
		defer close(broken)
		wrong = l.receive()
	}()
	l.send(broken)
	<-broken
	if wrong != nil {
		return fmt.Errorf("connection to volume %d: %w", l.vol, wrong)
	}
	return nil
}

// send keeps the window full. Having been told to stop it waits for the
// answers and hangs up, which ends receive.
func (l *load) send(broken <-chan struct{}) {
	payload := make([]byte, maxBytes)
	for cookie := uint64(1); ; cookie++ {
		select {
		case <-broken:
			return
		case <-l.stop:
			for range window {
				select {
				case l.slots <- struct{}{}:
				case <-broken:
					return
				}
			}
			l.c.close()
			return
		case l.slots <- struct{}{}:
		}
		r := l.pick(l)
		if l.begin(cookie, r, payload) != nil {
			l.c.c.Close() // broken: let receive see it too
			<-broken
			return
		}
	}
}

const maxBytes = 1 << 20

// anything picks from all that can be asked of a disk.
func anything(l *load) request {
	r := request{span: span{vol: l.vol}}
	switch n := l.rand.IntN(100); {
	case n < 5:
		return request{cmd: cmdFlush}
	case n < 10:
		r.cmd = cmdRead
	case n < 14:
		r.cmd = cmdTrim
	case n < 18:
		r.cmd = cmdZeroes
		r.flags = uint16(l.rand.IntN(2)) * flagNoHole
	default:
		r.cmd = cmdWrite
	}
	if r.cmd != cmdRead && l.rand.IntN(50) == 0 {
		r.flags |= flagFUA
	}
	// TRIM is advice, which a server may not take for parts of a block.
	aligned := r.cmd == cmdTrim
	for l.place(&r.span, aligned); !l.h.hold(r.span); l.place(&r.span, aligned) {
	}
	return r
}

// place chooses a range: most are one aligned block, some are long, some, if
// that is allowed, are not aligned to anything but a sector. Many go to a small
// part of the disk, where requests that share a block meet.
func (l *load) place(s *span, aligned bool) {
	const block = 4096 / unitSize
	units := l.c.size / unitSize
	if l.rand.IntN(4) == 0 {
		units = min(units, 64*block)
	}
	switch n := l.rand.IntN(200); {
	case n < 150:
		s.n = block
	case n < 175:
		s.n = block * (1 + l.rand.Uint64N(16))
	case n < 199 && !aligned:
		s.n = 1 + l.rand.Uint64N(3*block)
		s.first = l.rand.Uint64N(units - s.n)
		return
	default:
		s.n = block * (1 + l.rand.Uint64N(maxBytes/4096))
	}
	s.n = min(s.n, units/2)
	s.first = l.rand.Uint64N(units-s.n) / block * block
}

func (l *load) begin(cookie uint64, r request, payload []byte) error {
	var data []byte
	switch r.cmd {
	case cmdFlush:
		r.at = l.h.tick()
	case cmdRead:
	default:
		r.id = l.h.sending(r.span, r.cmd != cmdWrite, r.flags&flagFUA != 0)
	}
	if r.cmd == cmdWrite {
		data = payload[:r.span.n*unitSize]
		for i := range r.span.n {
			stamp(data[i*unitSize:], r.span.vol, r.span.first+i, r.id)
		}
	}
	l.mu.Lock()
	l.sent[cookie] = r
	l.mu.Unlock()
	return l.c.send(r.cmd, r.flags, cookie, r.span.first*unitSize, uint32(r.span.n*unitSize), data)
}

// receive handles answers until the connection ends. That is no error: the
// server is killed here all the time.
func (l *load) receive() error {
	scratch := make([]byte, maxBytes)
	for {
		a, err := l.c.receive(scratch)
		if errors.Is(err, errProtocol) {
			return err
		}
		if err != nil {
			return nil
		}
		l.mu.Lock()
		r, known := l.sent[a.cookie]
		delete(l.sent, a.cookie)
		l.mu.Unlock()
		if !known {
			return fmt.Errorf("%w: an answer to nothing (cookie %d)", errProtocol, a.cookie)
		}
		if err := l.answered(r, a); err != nil {
			return err
		}
		<-l.slots
	}
}

func (l *load) answered(r request, a reply) error {
	if a.errno != 0 {
		return fmt.Errorf("command %d at byte %d, %d bytes: NBD error %d", r.cmd, r.span.first*unitSize, r.span.n*unitSize, a.errno)
	}
	switch r.cmd {
	case cmdFlush:
		l.h.flushAnswered(r.at)
		l.count.flush++
		return nil
	case cmdRead:
		defer l.h.release(r.span)
		l.count.read++
		return l.h.current(r.span, a.data)
	case cmdWrite:
		l.count.write++
	case cmdTrim:
		l.count.trim++
	case cmdZeroes:
		l.count.zeroes++
	}
	if r.flags&flagFUA != 0 {
		l.count.fua++
	}
	l.h.answered(r.span, r.id)
	return nil
}
