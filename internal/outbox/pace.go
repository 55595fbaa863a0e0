package outbox

import (
	"time"

	"varve/internal/fail"
)

const (
	// StallRate is the least average speed of a transfer, in bytes per second,
	// after the patience.
	StallRate = 64 << 10

	// hurryRate is the least speed, in bytes per second, of a client that holds
	// memory that others wait for, and HurryTime how often it is judged.
	hurryRate = 1 << 20
	HurryTime = 3 * time.Second
)

// ErrTooSlow ends a connection whose peer did not keep pace.
var ErrTooSlow = fail.New(fail.Canceled, "the client was too slow in a transfer")

// Pace is what a client must keep up with while we wait for it in a transfer:
//
//	start ---- look ---- look ---- look ------------------------- end
//	      enough in each, while others wait         patience + n/StallRate
//	      never nothing for the patience
//
// The end does not move, whatever progress is made.
type Pace struct {
	patience time.Duration
	every    time.Duration // from look to look
	look     time.Time
	end      time.Time
	alive    time.Time // when there was progress
	moved    int64     // bytes since the last look
}

// NewPace begins a transfer of n bytes with a peer that may make no progress
// for as long as the patience.
func NewPace(patience time.Duration, n int) Pace {
	now := time.Now()
	every := min(HurryTime, patience)
	return Pace{
		patience: patience,
		every:    every,
		look:     now.Add(every),
		alive:    now,
		end:      now.Add(Longest(patience, n)),
	}
}

// Longest returns how long a transfer of n bytes may take.
func Longest(patience time.Duration, n int) time.Duration {
	return patience + time.Duration(n)*(time.Second/StallRate)
}

// Deadline returns when to call Judge.
func (p *Pace) Deadline() time.Time {
	if p.look.Before(p.end) {
		return p.look
	}
	return p.end
}

// End returns when the transfer must be done.
func (p *Pace) End() time.Time { return p.end }

// Moved counts n bytes.
func (p *Pace) Moved(n int64) { p.moved += n }

// Judge says whether a transfer may go on whose deadline has passed: if so,
// there is a new one. awaited tells that the client holds memory that others
// wait for.
func (p *Pace) Judge(awaited bool) error {
	now := time.Now()
	if p.moved > 0 {
		p.alive = now
	}
	if !now.Before(p.end) || now.Sub(p.alive) >= p.patience {
		return ErrTooSlow
	}
	enough := hurryRate * int64(p.every) / int64(time.Second)
	if awaited && p.moved < enough {
		return ErrTooSlow
	}
	p.look, p.moved = now.Add(p.every), 0
	return nil
}
