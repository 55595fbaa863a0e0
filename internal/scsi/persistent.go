package scsi

import (
	"slices"

	"varve/internal/fail"
)

// Limits of persistent reservations.
const (
	maxPortName      = 256 // of an initiator port: bytes
	maxRegistrations = 128 // of a unit; with APTPL they must fit MaxState besides
)

// Types of persistent reservations (SPC-4 table 61).
const (
	writeExclusive              = 1
	exclusiveAccess             = 3
	writeExclusiveRegistrants   = 5
	exclusiveAccessRegistrants  = 6
	writeExclusiveAllRegistered = 7
	exclusiveAccessAll          = 8
)

// persistent is the state of persistent reservations of a unit (SPC-4 5.12). It is
// a value: a change makes another one.
type persistent struct {
	generation uint32 // counts from 0 at every start
	kind       byte   // of the reservation: 0 none
	holder     registrant
	aptpl      bool // it outlives restarts
	registered []registration
}

// registrant is an I_T nexus by its names, which outlive it.
type registrant struct {
	port string // of the initiator
	at   uint16 // relative target port
}

// registration is a registrant with its key.
type registration struct {
	registrant
	key uint64
	all bool // it registered for all target ports at once
}

func (n *Nexus) registrant() registrant { return registrant{n.cfg.Initiator, n.cfg.Port} }

func validKind(k byte) bool {
	switch k {
	case writeExclusive, exclusiveAccess, writeExclusiveRegistrants, exclusiveAccessRegistrants, writeExclusiveAllRegistered, exclusiveAccessAll:
		return true
	}
	return false
}

// excludes reports whether a kind keeps others from reading too.
func excludes(kind byte) bool {
	return kind == exclusiveAccess || kind == exclusiveAccessRegistrants || kind == exclusiveAccessAll
}

// allHold reports whether every registrant holds a reservation of a kind.
func allHold(kind byte) bool {
	return kind == writeExclusiveAllRegistered || kind == exclusiveAccessAll
}

// index returns where a registrant is, or -1.
func (p *persistent) index(r registrant) int {
	return slices.IndexFunc(p.registered, func(x registration) bool { return x.registrant == r })
}

// holds reports whether a registrant holds the reservation.
func (p *persistent) holds(r registrant) bool {
	if allHold(p.kind) {
		return p.index(r) >= 0
	}
	return p.kind != 0 && p.holder == r
}

// allows reports whether a command of a class is executed for a nexus.
func (p *persistent) allows(r registrant, cl class) bool {
	switch {
	case p.kind == 0 || cl <= free:
		return true
	case p.kind >= writeExclusiveRegistrants && p.index(r) >= 0 || p.holds(r):
		return true
	}
	return cl == readClass && !excludes(p.kind)
}

// conflicts reports whether a reservation keeps a command from being executed, and
// where that is RESERVE(6)'s, whose.
func (u *unit) conflicts(c *Command) (yes bool, holder *attachment) {
	cl := c.op.class
	if cl == refined {
		cl = refine(c.CDB)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.holder != nil && u.holder != c.a && cl != always {
		return true, u.holder
	}
	return u.pr.kind != 0 && !u.pr.allows(c.n.registrant(), cl), nil
}

// encode appends what outlives restarts:
//
//	kind | holder | registrations | each: key 8 | port 2 | all | length 2 | name
//
// holder counts from 1; 0 is none, or all.
func (p *persistent) encode(b []byte) []byte {
	b = append(b, p.kind, byte(p.index(p.holder)+1), byte(len(p.registered)))
	for _, r := range p.registered {
		b = be.AppendUint64(b, r.key)
		b = be.AppendUint16(b, r.at)
		b = append(b, bit(r.all, 1))
		b = be.AppendUint16(b, uint16(len(r.port)))
		b = append(b, r.port...)
	}
	return b
}

var errState = fail.New(fail.Corrupt, "what was kept of a disk's reservations makes no sense")

func (p *persistent) decode(b []byte) error {
	*p = persistent{}
	if len(b) < 3 || b[0] != 0 && !validKind(b[0]) || b[2] > maxRegistrations || b[1] > b[2] {
		return errState
	}
	kind, holder, n := b[0], int(b[1]), int(b[2])
	b = b[3:]
	for range n {
		if len(b) < 13 {
			return errState
		}
		k := int(be.Uint16(b[11:]))
		if b[10] > 1 || k > maxPortName || len(b) < 13+k {
			return errState
		}
		p.registered = append(p.registered, registration{
			registrant: registrant{port: string(b[13 : 13+k]), at: be.Uint16(b[8:])},
			key:        be.Uint64(b), all: b[10] == 1,
		})
		b = b[13+k:]
	}
	if len(b) != 0 || kind != 0 && !allHold(kind) && holder == 0 || kind != 0 && n == 0 {
		return errState
	}
	p.aptpl, p.kind = true, kind
	if kind != 0 && holder > 0 {
		p.holder = p.registered[holder-1].registrant
	}
	return nil
}
