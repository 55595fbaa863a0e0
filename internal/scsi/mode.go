package scsi

// MODE SENSE and MODE SELECT (SPC-4 6.9 to 6.12): the parameter header, one block
// descriptor, the pages.

// modePage is a page: its body as it is now, and what of it MODE SELECT changes.
type modePage struct {
	code    byte
	body    func(m modes) []byte // after the 2 bytes of head
	mask    []byte               // the bits that can be changed
	setting func(m *modes, body []byte)
}

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

var modePages = []modePage{
	{0x01, func(modes) []byte { // read-write error recovery: nothing to recover
		return make([]byte, 10)
	}, make([]byte, 10), nil},
	{0x08, func(m modes) []byte { // caching
		p := make([]byte, 18)
		p[0] = bit(m.writeCache, 0x04) // WCE
		p[2], p[3] = 0xff, 0xff        // disable prefetch transfer length: none is too long
		return p
	}, append([]byte{0x04}, make([]byte, 17)...), func(m *modes, p []byte) {
		m.writeCache = p[0]&0x04 != 0
	}},
	{0x0a, func(m modes) []byte { // control
		p := make([]byte, 10)
		p[0] = 0x20 | bit(m.descriptors, 0x04) // TST=001b: a task set per nexus; D_SENSE
		p[1] = 0x10                            // unrestricted reordering
		p[2] = bit(m.softProtect, 0x08)        // SWP
		p[6], p[7] = 0xff, 0xff                // busy timeout period: unlimited
		return p
	}, []byte{0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0}, func(m *modes, p []byte) {
		m.descriptors, m.softProtect = p[0]&0x04 != 0, p[2]&0x08 != 0
	}},
	{0x1c, func(m modes) []byte { // informational exceptions control
		p := make([]byte, 10)
		p[1] = m.reportMethod
		return p
	}, []byte{0, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0}, func(m *modes, p []byte) {
		m.reportMethod = p[1] & 0x0f
	}},
}

// Which values MODE SENSE asks for: byte 2, upper 2 bits.
const (
	currentValues    = 0
	changeableValues = 1
	defaultValues    = 2
	savedValues      = 3
)

func (c *Command) isMode10() bool { return c.CDB[0]&0x40 != 0 }

func beginModeSense(c *Command) sense {
	if c.CDB[2]>>6 == savedValues {
		return sense{key: keyIllegalRequest, asc: 0x39} // SAVING PARAMETERS NOT SUPPORTED
	}
	if c.isMode10() {
		return c.dataIn(int(be.Uint16(c.CDB[7:])))
	}
	return c.dataIn(int(c.CDB[4]))
}

func runModeSense(c *Command, in, _ []byte, _ bool) bool {
	pages, s := c.modePages()
	if s.is() {
		return c.fail(s)
	}
	u := c.a.u
	var p []byte
	special := byte(0x10) // DPOFUA
	if c.a.d.ReadOnly() || u.gate.Load()&gateProtected != 0 {
		special |= 0x80 // WP
	}
	descriptor := c.blockDescriptor()
	if c.isMode10() {
		long := byte(0)
		if len(descriptor) == 16 {
			long = 1
		}
		p = []byte{0, 0, 0, special, long, 0, 0, byte(len(descriptor))}
	} else {
		p = []byte{0, 0, special, byte(len(descriptor))}
	}
	p = append(append(p, descriptor...), pages...)
	if c.isMode10() {
		be.PutUint16(p, uint16(len(p)-2))
	} else {
		p[0] = byte(len(p) - 1)
	}
	return c.reply(in, p)
}

// blockDescriptor is the mode parameter block descriptor, unless DBD asks for none:
// blocks 4 | 0 | block length 3, or with LLBAA blocks 8 | 0 4 | block length 4.
func (c *Command) blockDescriptor() []byte {
	blocks := c.a.d.Size() / BlockSize
	switch {
	case c.CDB[1]&0x08 != 0:
		return nil
	case c.isMode10() && c.CDB[1]&0x10 != 0:
		return be.AppendUint64(be.AppendUint64(nil, blocks), BlockSize)
	}
	p := be.AppendUint32(nil, uint32(min(blocks, 0xffffffff)))
	return be.AppendUint32(p, BlockSize)
}

// modePages returns the pages that the CDB asks for.
func (c *Command) modePages() ([]byte, sense) {
	want, sub := c.CDB[2]&0x3f, c.CDB[3]
	if sub != 0 && !(sub == 0xff && want == 0x3f) {
		return nil, senseCDB.atByte(3)
	}
	c.a.u.mu.Lock()
	m, defaults := c.a.u.modes, c.a.u.defaults
	c.a.u.mu.Unlock()
	var p []byte
	for _, page := range modePages {
		if want != page.code && want != 0x3f {
			continue
		}
		body := page.body(m)
		switch c.CDB[2] >> 6 {
		case changeableValues:
			body = page.mask
		case defaultValues:
			body = page.body(defaults)
		}
		p = append(append(p, page.code, byte(len(body))), body...)
	}
	if p == nil {
		return nil, senseCDB.atByte(2)
	}
	return p, sense{}
}

func beginModeSelect(c *Command) sense {
	if c.CDB[1]&1 != 0 {
		return senseCDB.atByte(1) // SP: nothing is saved
	}
	if c.isMode10() {
		return c.dataOut(int(be.Uint16(c.CDB[7:])))
	}
	return c.dataOut(int(c.CDB[4]))
}

// runModeSelect takes all pages of the list, or none. Everybody else is told.
func runModeSelect(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if c.args.alloc == 0 {
		return true
	}
	if len(out) < c.args.alloc {
		return c.fail(senseListLength)
	}
	u := c.a.u
	u.mu.Lock()
	defer u.mu.Unlock()
	m := u.modes
	if s := m.change(out[:c.args.alloc], c.isMode10(), c.a.d.Size()/BlockSize); s.is() {
		return c.fail(s)
	}
	if m != u.modes {
		c.NeedsFlush = !m.writeCache // what was written so far counts as written through
		u.adopt(m)
		u.attend(c.a, attnModes)
	}
	return true
}

// change takes in a mode parameter list, of a disk with so many blocks.
func (m *modes) change(p []byte, ten bool, blocks uint64) sense {
	head, descriptors := 4, 0
	if ten {
		head = 8
	}
	if len(p) < head {
		return senseListLength
	}
	if ten {
		descriptors = int(be.Uint16(p[6:]))
	} else {
		descriptors = int(p[3])
	}
	if descriptors > len(p)-head {
		return senseListLength
	}
	if s := sameBlocks(p[head:head+descriptors], ten && p[4]&1 != 0, blocks); s.is() {
		return s.inList(head)
	}
	at := head + descriptors
	for at < len(p) {
		if len(p)-at < 2 || len(p)-at < 2+int(p[at+1]) {
			return senseListLength
		}
		body := p[at+2 : at+2+int(p[at+1])]
		if s := m.changePage(p[at]&0x3f, p[at]&0x40 != 0, body, at); s.is() {
			return s
		}
		at += 2 + len(body)
	}
	return sense{}
}

// sameBlocks judges a block descriptor, which changes nothing: of neither the number
// of blocks, where 0 and all ones mean what it is, nor their length.
func sameBlocks(p []byte, long bool, blocks uint64) sense {
	var n, size uint64
	most := uint64(0xffffffff)
	switch {
	case len(p) == 0:
		return sense{}
	case long && len(p) == 16:
		n, size, most = be.Uint64(p), uint64(be.Uint32(p[12:])), ^uint64(0)
	case !long && len(p) == 8:
		n, size = uint64(be.Uint32(p)), uint64(be.Uint32(p[4:])&0xffffff)
	default:
		return senseParameter
	}
	if n != 0 && n != most && n != blocks || size != BlockSize {
		return senseParameter
	}
	return sense{}
}

// changePage takes in one page, which lies at byte at of the list: what cannot be
// changed must be what it is.
func (m *modes) changePage(code byte, sub bool, body []byte, at int) sense {
	for _, page := range modePages {
		if page.code != code || sub {
			continue
		}
		now := page.body(*m)
		if len(body) != len(now) {
			return senseParameter.inList(at + 1)
		}
		for i := range body {
			if (body[i]^now[i])&^page.mask[i] != 0 {
				return senseParameter.inList(at + 2 + i)
			}
		}
		if page.setting != nil {
			page.setting(m, body)
		}
		return sense{}
	}
	return senseParameter.inList(at)
}
