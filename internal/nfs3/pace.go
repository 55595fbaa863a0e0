package nfs3

import "time"

// stallRate is the least average speed of a transfer, in bytes per second,
// after Options.StallTimeout.
const stallRate = 64 << 10

// pace is what a client must keep up with while we wait for it in a transfer:
// some progress within each StallTimeout, and all of it by end, which does not
// move.
type pace struct {
	stall time.Duration
	end   time.Time
}

// newPace begins a transfer of n bytes.
func (s *Server) newPace(n int) pace {
	stall := s.opt.StallTimeout
	return pace{stall, time.Now().Add(stall + time.Duration(n)*(time.Second/stallRate))}
}

// deadline returns by when the next bytes must have moved.
func (p pace) deadline() time.Time {
	next := time.Now().Add(p.stall)
	if p.end.Before(next) {
		return p.end
	}
	return next
}
