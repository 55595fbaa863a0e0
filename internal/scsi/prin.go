package scsi

// Service actions of PERSISTENT RESERVE IN.
const (
	prReadKeys     = 0
	prReadReserved = 1
	prCapabilities = 2
	prFullStatus   = 3
)

func beginPRIn(c *Command) sense { return c.dataIn(int(be.Uint16(c.CDB[7:]))) }

func runPRIn(c *Command, in, _ []byte, _ bool) bool {
	u := c.a.u
	u.mu.Lock()
	pr := u.pr
	u.mu.Unlock()
	p := be.AppendUint32(nil, pr.generation)
	p = append(p, 0, 0, 0, 0)
	switch c.op.action {
	case prReadKeys:
		for _, r := range pr.registered {
			p = be.AppendUint64(p, r.key)
		}
	case prReadReserved:
		if pr.kind != 0 {
			p = be.AppendUint64(p, pr.holderKey())
			p = append(p, 0, 0, 0, 0, 0, pr.kind, 0, 0)
		}
	case prCapabilities:
		return c.reply(in, []byte{
			0, 8,
			0x04 | 0x01,                            // ATP_C, PTPL_C
			0x80 | bit(pr.aptpl, 1),                // TMV, PTPL_A
			0x80 | 0x40 | 0x20 | 0x08 | 0x02, 0x01, // all types
			0, 0,
		})
	case prFullStatus:
		for _, r := range pr.registered {
			p = pr.appendStatus(p, r)
		}
	}
	be.PutUint32(p[4:], uint32(len(p)-8))
	return c.reply(in, p)
}

// holderKey is the key to show for the reservation; 0 where all hold it.
func (p *persistent) holderKey() uint64 {
	if i := p.index(p.holder); i >= 0 && !allHold(p.kind) {
		return p.registered[i].key
	}
	return 0
}

// appendStatus is one full status descriptor (SPC-4 6.15.5):
//
//	key 8 | 0 4 | flags | type | 0 4 | target port 2 | length 4 | TransportID
func (p *persistent) appendStatus(b []byte, r registration) []byte {
	flags, kind := bit(r.all, 2), byte(0)
	if p.holds(r.registrant) {
		flags, kind = flags|1, p.kind
	}
	b = be.AppendUint64(b, r.key)
	b = append(b, 0, 0, 0, 0, flags, kind, 0, 0, 0, 0)
	b = be.AppendUint16(b, r.at)
	name := padded(r.port)
	b = be.AppendUint32(b, uint32(4+len(name)))
	b = append(b, 0x45, 0) // iSCSI, the name of a port
	b = be.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}
