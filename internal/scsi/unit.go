package scsi

import (
	"sync"
	"sync/atomic"
)

// What makes the way of a command longer: unit.gate has these bits.
const (
	gateReserved  = 1 << iota // there is a reservation, of either kind
	gateStopped               // START STOP UNIT stopped it
	gateSanitize              // SANITIZE runs, or has failed
	gateProtected             // the control page has SWP
	gateNoCache               // the caching page has WCE=0: every write flushes
)

// unit is a logical unit: what its nexuses share.
type unit struct {
	s    *Server
	id   Identity
	uses int // Server.mu: nexuses

	thin threshold

	// gate is looked at by every command, without a lock.
	gate atomic.Uint32
	size atomic.Uint64 // that the initiators know of: bytes; 0 before the first nexus

	// descriptorSense is D_SENSE of the control page.
	descriptorSense atomic.Bool

	// saving serialises changes of persistent reservations; it is held while one
	// becomes durable.
	saving sync.Mutex

	mu       sync.Mutex
	loaded   bool
	attached map[*attachment]struct{}
	holder   *attachment // of RESERVE(6)
	pr       persistent
	modes    modes
	defaults modes
	sanitize sanitize
}

func newUnit(s *Server, id Identity) *unit {
	u := &unit{s: s, id: id, attached: make(map[*attachment]struct{})}
	return u
}

// load reads what outlives restarts, once.
func (u *unit) load(d Disk) error {
	u.saving.Lock()
	defer u.saving.Unlock()
	if u.loaded {
		return nil
	}
	p, err := d.State()
	if err != nil {
		return err
	}
	pr, z, err := decodeKept(p)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pr, u.sanitize, u.loaded = pr, z, true
	u.size.Store(d.Size())
	u.setGate(gateReserved, u.pr.kind != 0)
	u.setGate(gateSanitize, z.failed)
	return nil
}

// setGate sets or clears bits. u.mu is held.
func (u *unit) setGate(bits uint32, on bool) {
	if on {
		u.gate.Or(bits)
	} else {
		u.gate.And(^bits)
	}
}

// forgettable reports whether nothing would be lost with the unit, which has no
// nexus.
func (u *unit) forgettable() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.gate.Load()&^gateNoCache == 0 && len(u.pr.registered) == 0 && u.pr.generation == 0 && u.modes == u.defaults
}

func (u *unit) attach(a *attachment) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.attached[a] = struct{}{}
}

// detach forgets an attachment and undoes what is bound to it. It reports whether
// a reservation ended with it.
func (u *unit) detach(a *attachment) (held bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.attached, a)
	held = u.holder == a
	u.releaseHolder(a)
	return held
}

// releaseHolder ends the reservation of RESERVE(6), if it is a's. u.mu is held.
func (u *unit) releaseHolder(a *attachment) {
	if u.holder == a {
		u.holder = nil
		u.setGate(gateReserved, u.pr.kind != 0)
	}
}

// attend tells all nexuses but one of something. u.mu is held.
func (u *unit) attend(except *attachment, x attention) {
	for a := range u.attached {
		if a != except {
			a.attend(x)
		}
	}
}

// resized notices a new size, and tells every nexus (SBC-3 4.9: capacity data
// has changed). It asks for the size under the lock, for of two who saw different
// ones the slower would set it back.
func (u *unit) resized(d Disk) {
	u.mu.Lock()
	defer u.mu.Unlock()
	size := d.Size()
	if u.size.Swap(size) != size {
		u.attend(nil, attnCapacity)
	}
}
