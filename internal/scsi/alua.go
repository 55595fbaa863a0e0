package scsi

// Asymmetric access (SPC-4 5.11): every group begins active/optimized, since all
// ports lead to the same pool. An administrator, or an initiator with SET TARGET
// PORT GROUPS, may put a group in another state, until the server ends.

// supportedStates are active/optimized, active/non-optimized, standby and
// unavailable.
const supportedStates = 0x0f

func beginPortGroups(c *Command) sense {
	if f := c.CDB[1] >> 5; f > 1 {
		return senseCDB.atByte(1)
	}
	return beginAlloc6(c)
}

// runPortGroups is REPORT TARGET PORT GROUPS (SPC-4 6.37):
//
//	length 4 | with format 1: 10 | transition time | 0 2 |
//	each: state | supported | group 2 | 0 | status | 0 | ports | each: 0 2 | port 2
func runPortGroups(c *Command, in, _ []byte, _ bool) bool {
	t := c.n.cfg.Target
	p := []byte{0, 0, 0, 0}
	if c.CDB[1]>>5 == 1 {
		p = append(p, 0x10, 0, 0, 0)
	}
	t.mu.Lock()
	for _, g := range t.groups {
		status := byte(0)
		state, set := t.states[g.Tag]
		if set {
			status = 1 // by SET TARGET PORT GROUPS
		}
		p = append(p, byte(state), supportedStates)
		p = be.AppendUint16(p, g.Tag)
		p = append(p, 0, status, 0, byte(len(g.Ports)))
		for _, port := range g.Ports {
			p = be.AppendUint16(append(p, 0, 0), port)
		}
	}
	t.mu.Unlock()
	be.PutUint32(p, uint32(len(p)-4))
	return c.reply(in, p)
}

func beginSetGroups(c *Command) sense { return c.dataOut(clamp(be.Uint32(c.CDB[6:]))) }

// runSetGroups is SET TARGET PORT GROUPS (SPC-4 6.45): all descriptors, or none.
//
//	0 4 | each: state | 0 | group 2
func runSetGroups(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if c.args.alloc == 0 {
		return true
	}
	if len(out) < c.args.alloc || c.args.alloc < 4 || (c.args.alloc-4)%4 != 0 {
		return c.fail(senseListLength)
	}
	t := c.n.cfg.Target
	set := make(map[uint16]accessState)
	for i := 4; i < c.args.alloc; i += 4 {
		state, tag := accessState(out[i]&0x0f), be.Uint16(out[i+2:])
		if state > unavailable {
			return c.fail(senseParameter.inList(i))
		}
		if !t.has(tag) {
			return c.fail(senseParameter.inList(i + 2))
		}
		set[tag] = state
	}
	t.set(set, c.n)
	return true
}

func (t *Target) has(tag uint16) bool {
	for _, g := range t.groups {
		if g.Tag == tag {
			return true
		}
	}
	return false
}

// set changes the states of groups, and tells every other nexus of the target.
func (t *Target) set(states map[uint16]accessState, by *Nexus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed, restricted := false, false
	for tag, s := range states {
		changed = changed || t.states[tag] != s
		t.states[tag] = s
	}
	for _, s := range t.states {
		restricted = restricted || s != optimized
	}
	t.restricted.Store(restricted)
	if !changed {
		return
	}
	for n := range t.nexuses {
		if n == by {
			continue
		}
		for _, a := range n.byLUN {
			a.attend(attnAccess)
		}
	}
}
