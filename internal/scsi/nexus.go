package scsi

import (
	"slices"

	"varve/internal/fail"
)

// NexusConfig says who comes, where, and to what.
type NexusConfig struct {
	Target *Target

	// Initiator names the initiator's port, "iqn.1993-08.org.debian:01:ab,i,0x00023d000001":
	// what reservations belong to, beside Port.
	Initiator string
	Port      uint16 // relative identifier of the target port

	// Disks are the units by LUN field (8 bytes, big-endian; LUN 1 is 1<<48). The
	// nexus closes them; where OpenNexus fails they stay the caller's.
	Disks map[uint64]Disk

	// Aborted is called, from any goroutine, when another nexus had tasks of this
	// one aborted: every task for lun that is not answered now gets no response,
	// and Execute of it tells Aborted. It must not wait, nor call the Nexus.
	Aborted func(lun uint64)

	// Silent, where not nil, is called, from any goroutine, when a command of
	// another nexus meets what RESERVE(6) reserved for this one. The transport asks
	// the initiator whether it is there, and reports whether that is in doubt: it
	// was asked before and has not answered. It must either answer or lose the
	// nexus within a few seconds. It must not wait, nor call the Nexus.
	Silent func() bool
}

// Nexus is one initiator port at one target port. Safe for concurrent use.
type Nexus struct {
	s      *Server
	cfg    NexusConfig
	luns   []uint64 // ascending
	byLUN  map[uint64]*attachment
	closed bool // Server.mu
}

// maxLUNs bounds the units of a nexus.
const maxLUNs = 256

// OpenNexus begins a session. The transport has closed the old nexus of the same
// initiator port and target port before (session reinstatement).
func (s *Server) OpenNexus(cfg NexusConfig) (*Nexus, error) {
	if len(cfg.Disks) > maxLUNs {
		return nil, fail.New(fail.TooBig, "%d units in one target; %d is the limit", len(cfg.Disks), maxLUNs)
	}
	if len(cfg.Initiator) > maxPortName {
		return nil, fail.New(fail.TooBig, "an initiator port name of %d bytes; %d is the limit", len(cfg.Initiator), maxPortName)
	}
	n := &Nexus{s: s, cfg: cfg, byLUN: make(map[uint64]*attachment, len(cfg.Disks))}
	for lun, d := range cfg.Disks {
		u, err := s.unitOf(d)
		if err != nil {
			for _, a := range n.byLUN {
				a.u.detach(a)
				s.release(a.u)
			}
			return nil, err
		}
		a := newAttachment(n, u, lun, d)
		u.attach(a)
		if x, ok := s.greeting(cfg.Initiator, u); ok {
			a.attend(x)
		}
		n.byLUN[lun] = a
		n.luns = append(n.luns, lun)
	}
	slices.Sort(n.luns)
	cfg.Target.mu.Lock()
	cfg.Target.nexuses[n] = struct{}{}
	cfg.Target.mu.Unlock()
	return n, nil
}

// Close ends the nexus: by logout, by loss of the connection, or because a new
// session takes its place. When it returns no command of it runs or will run,
// what RESERVE(6) and PREVENT had set is undone, and the disks are closed.
// Registrations of persistent reservations stay. It may be called twice; both
// return when it is over.
func (n *Nexus) Close() {
	for _, lun := range n.luns {
		a := n.byLUN[lun]
		a.abort(true)
		if a.u.detach(a) {
			n.s.lost(n.cfg.Initiator, a.u)
		}
	}
	n.s.mu.Lock()
	first := !n.closed
	n.closed = true
	n.s.mu.Unlock()
	if !first {
		return
	}
	t := n.cfg.Target
	t.mu.Lock()
	delete(t.nexuses, n)
	t.mu.Unlock()
	for _, lun := range n.luns {
		a := n.byLUN[lun]
		a.done()
		n.s.release(a.u)
	}
}

// LUNs lists the units of the nexus, ascending.
func (n *Nexus) LUNs() []uint64 { return n.luns }

// Flush makes everything durable that was written to a unit before, by whomever.
// It is for the commands that NeedsFlush.
func (n *Nexus) Flush(lun uint64) error {
	a := n.byLUN[lun]
	if a == nil {
		return fail.New(fail.NotFound, "no unit at LUN %#x", lun)
	}
	phase, ok := a.hold()
	if !ok {
		return fail.New(fail.Canceled, "the session has ended")
	}
	defer a.letGo(phase)
	return a.d.Flush()
}
