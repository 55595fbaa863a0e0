package nbd

import "time"

const (
	// stallRate is the least average speed of a transfer, in bytes per second,
	// after StallTimeout.
	stallRate = 64 << 10

	// hurryRate is the least speed, in bytes per second, of a client that holds
	// memory that others wait for. It is judged once in hurryTime.
	hurryRate = 1 << 20
	hurryTime = 3 * time.Second
)

// pace is what a client must keep up with while we wait for it in a transfer:
//
//	start ---- look ---- look ---- look ------------------------- end
//	      enough in each, while others wait         StallTimeout + n/stallRate
//	      never nothing for StallTimeout
//
// The end does not move, whatever progress is made.
type pace struct {
	srv   *Server
	every time.Duration // from look to look
	look  time.Time
	end   time.Time
	alive time.Time // when there was progress
	moved int64     // bytes since the last look
}

// newPace begins a transfer of n bytes.
func (s *Server) newPace(n int) pace {
	now := time.Now()
	every := min(hurryTime, s.opt.StallTimeout)
	return pace{
		srv:   s,
		every: every,
		look:  now.Add(every),
		alive: now,
		end:   now.Add(s.opt.StallTimeout + time.Duration(n)*(time.Second/stallRate)),
	}
}

// deadline returns when to call judge.
func (p *pace) deadline() time.Time {
	if p.look.Before(p.end) {
		return p.look
	}
	return p.end
}

// judge says whether a transfer may go on whose deadline has passed: if so,
// there is a new one. holds tells that the client holds shared memory.
func (p *pace) judge(holds bool) error {
	now := time.Now()
	if p.moved > 0 {
		p.alive = now
	}
	if !now.Before(p.end) || now.Sub(p.alive) >= p.srv.opt.StallTimeout {
		return errTooSlow
	}
	enough := hurryRate * int64(p.every) / int64(time.Second)
	if holds && p.srv.waiting.Load() > 0 && p.moved < enough {
		return errTooSlow
	}
	p.look, p.moved = now.Add(p.every), 0
	return nil
}
