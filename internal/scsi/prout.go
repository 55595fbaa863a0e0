package scsi

import "slices"

// Service actions of PERSISTENT RESERVE OUT.
const (
	prRegister       = 0
	prReserve        = 1
	prRelease        = 2
	prClear          = 3
	prPreempt        = 4
	prPreemptAbort   = 5
	prRegisterIgnore = 6
)

func beginPROut(c *Command) sense {
	if c.CDB[2]>>4 != 0 { // scopes other than the unit
		return senseCDB.atByte(2)
	}
	n := be.Uint32(c.CDB[5:])
	if n < prOutList || n > prOutList && !c.registers() {
		return senseListLength
	}
	return c.dataOut(int(n))
}

// registers reports whether the command is one to register with.
func (c *Command) registers() bool {
	return c.op.action == prRegister || c.op.action == prRegisterIgnore
}

// What a parameter list of PERSISTENT RESERVE OUT has: bytes; and its flags, in byte 20.
const (
	prOutList = 24
	specIPT   = 0x08 // names of further ports follow, which REPORT CAPABILITIES (SIP_C) does not offer
	allPorts  = 0x04
	aptpl     = 0x01
)

// prChange is one PERSISTENT RESERVE OUT at work: the state it began with is old,
// what it makes is now.
type prChange struct {
	me       registrant
	kind     byte
	key, arg uint64 // reservation key, service action reservation key
	flags    byte
	ports    []uint16 // of the target

	old, now persistent
	tell     []notice
	abort    []registrant
}

// notice is a unit attention for a registrant.
type notice struct {
	to registrant
	x  attention
}

// runPROut changes persistent reservations: one change at a time, durable before
// it is seen where the initiator asked for that. When it is answered no command
// that it would have kept out is running.
func runPROut(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	switch {
	case c.registers() && len(out) >= prOutList && out[20]&specIPT != 0: // be it longer or not
		return c.fail(senseParameter.inList(20))
	case len(out) != prOutList:
		return c.fail(senseListLength)
	}
	u := c.a.u
	if !c.lockSaving() {
		return c.fail(sense{key: keyAbortedCommand})
	}
	defer u.saving.Unlock()
	x := prChange{
		me: c.n.registrant(), kind: c.CDB[2] & 0x0f,
		key: be.Uint64(out), arg: be.Uint64(out[8:]), flags: out[20],
	}
	for _, g := range c.n.cfg.Target.groups {
		x.ports = append(x.ports, g.Ports...)
	}
	u.mu.Lock()
	x.old = u.pr
	z, reserved := u.sanitize, u.holder != nil
	u.mu.Unlock()
	if reserved { // by RESERVE(6), be it this nexus: the two ways exclude each other (SPC-2 5.5.1)
		c.Status = ReservationConflict
		return true
	}
	x.now = x.old
	x.now.registered = slices.Clone(x.old.registered)
	status, s := x.carryOut(c.op.action)
	if s.is() {
		return c.fail(s)
	}
	if c.Status = status; status != Good {
		return true
	}
	if x.now.aptpl || x.old.aptpl {
		if s := u.keep(c.a.d, &x.now, &z); s.is() {
			return c.fail(s)
		}
	}
	c.settle(&x)
	return true
}

// settle shows the new state, tells whom it concerns, and waits until nothing
// runs that it excludes. u.saving is held.
func (c *Command) settle(x *prChange) {
	u := c.a.u
	u.mu.Lock()
	u.pr = x.now
	u.setGate(gateReserved, u.holder != nil || u.pr.kind != 0)
	var fence, drain []*attachment
	for a := range u.attached {
		r := a.n.registrant()
		for _, t := range x.tell {
			if t.to == r {
				a.attend(t.x)
			}
		}
		if a != c.a {
			if slices.Contains(x.abort, r) {
				fence = append(fence, a)
			} else {
				drain = append(drain, a)
			}
		}
	}
	u.mu.Unlock()
	if x.now.kind == 0 && len(fence) == 0 {
		return
	}
	c.pause()
	defer c.resume()
	for _, a := range fence {
		if a.n.cfg.Aborted != nil {
			a.n.cfg.Aborted(a.lun)
		}
		a.abort(false)
	}
	for _, a := range drain {
		a.drain()
	}
}

// carryOut makes now of old, or says why not.
func (x *prChange) carryOut(action int) (Status, sense) {
	i := x.now.index(x.me)
	if action == prRegister || action == prRegisterIgnore {
		return x.register(i, action == prRegisterIgnore)
	}
	if i < 0 || x.now.registered[i].key != x.key {
		return ReservationConflict, sense{}
	}
	switch action {
	case prReserve:
		return x.reserve()
	case prRelease:
		return x.release()
	case prClear:
		x.others(attnPreempted)
		x.now = persistent{generation: x.old.generation + 1, aptpl: x.old.aptpl}
		return Good, sense{}
	}
	return x.preempt(action == prPreemptAbort)
}

// others tells all registrants but this one.
func (x *prChange) others(a attention) {
	for _, r := range x.now.registered {
		if r.registrant != x.me {
			x.tell = append(x.tell, notice{r.registrant, a})
		}
	}
}

func (x *prChange) register(i int, ignore bool) (Status, sense) {
	have := uint64(0)
	if i >= 0 {
		have = x.now.registered[i].key
	}
	if !ignore && x.key != have {
		return ReservationConflict, sense{}
	}
	if i < 0 && x.arg == 0 {
		return Good, sense{} // nothing to take away
	}
	x.now.generation++
	x.now.aptpl = x.flags&aptpl != 0
	switch {
	case x.arg == 0:
		x.unregister(i)
	case i >= 0:
		x.now.registered[i].key = x.arg
	default:
		ports := []uint16{x.me.at}
		if x.flags&allPorts != 0 {
			ports = x.ports
		}
		for _, at := range ports {
			r := registrant{x.me.port, at}
			if x.now.index(r) < 0 {
				x.now.registered = append(x.now.registered, registration{r, x.arg, x.flags&allPorts != 0})
			}
		}
		if len(x.now.registered) > maxRegistrations {
			return 0, senseRegistrants
		}
	}
	return Good, sense{}
}

// unregister takes a registration away, and the reservation with its last holder.
func (x *prChange) unregister(i int) {
	p := &x.now
	held := p.holds(p.registered[i].registrant)
	p.registered = slices.Delete(p.registered, i, i+1)
	if held && (!allHold(p.kind) || len(p.registered) == 0) {
		if p.kind >= writeExclusiveRegistrants {
			x.others(attnReleased)
		}
		p.kind, p.holder = 0, registrant{}
	}
}

func (x *prChange) reserve() (Status, sense) {
	if !validKind(x.kind) {
		return 0, senseCDB.atByte(2)
	}
	p := &x.now
	if p.kind == 0 {
		p.kind, p.holder = x.kind, x.me
		return Good, sense{}
	}
	if !p.holds(x.me) || p.kind != x.kind {
		return ReservationConflict, sense{}
	}
	return Good, sense{}
}

func (x *prChange) release() (Status, sense) {
	p := &x.now
	if !p.holds(x.me) {
		return Good, sense{}
	}
	if p.kind != x.kind {
		return 0, senseRelease
	}
	if p.kind >= writeExclusiveRegistrants {
		x.others(attnReleased)
	}
	p.kind, p.holder = 0, registrant{}
	return Good, sense{}
}

// preempt removes registrations by their key, and takes over the reservation
// where its holder is among them (SPC-4 5.12.11.4).
func (x *prChange) preempt(abort bool) (Status, sense) {
	p := &x.now
	takeOver := p.kind != 0 && !allHold(p.kind) && p.holderKey() == x.arg
	everybody := allHold(p.kind) && x.arg == 0
	if x.arg == 0 && !everybody {
		return 0, senseParameter.inList(8)
	}
	if (takeOver || everybody) && !validKind(x.kind) {
		return 0, senseCDB.atByte(2)
	}
	found := false
	p.registered = slices.DeleteFunc(p.registered, func(r registration) bool {
		hit := everybody || r.key == x.arg
		found = found || hit
		if !hit || r.registrant == x.me {
			return false
		}
		x.tell = append(x.tell, notice{r.registrant, attnRegistered})
		if abort {
			x.abort = append(x.abort, r.registrant)
		}
		return true
	})
	if !found {
		return ReservationConflict, sense{}
	}
	p.generation++
	if takeOver || everybody {
		if p.kind != x.kind {
			x.others(attnReleased)
		}
		p.kind, p.holder = x.kind, x.me
	}
	return Good, sense{}
}
