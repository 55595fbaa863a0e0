package scsi

const (
	vendor   = "VARVE   "
	product  = "VOLUME          "
	revision = "0001"
)

// What INQUIRY says in one place each (SPC-4 6.6.2).
const (
	peripheralNone = 0x7f // no unit at this LUN
	tpgsBoth       = 0x30 // implicit and explicit asymmetric access
	thirdParty     = 0x08 // 3PC: EXTENDED COPY
)

func beginInquiry(c *Command) sense {
	if c.CDB[1]&1 == 0 && c.CDB[2] != 0 {
		return senseCDB.atByte(2)
	}
	return c.dataIn(int(be.Uint16(c.CDB[3:])))
}

func runInquiry(c *Command, in, _ []byte, _ bool) bool {
	if c.CDB[1]&1 == 0 {
		return c.reply(in, c.standardInquiry())
	}
	if c.a == nil {
		return c.fail(senseCDB.atByte(1))
	}
	for _, page := range vpdPages {
		if page.code == c.CDB[2] {
			body := page.body(c)
			p := append([]byte{0, page.code, 0, 0}, body...)
			be.PutUint16(p[2:], uint16(len(body)))
			return c.reply(in, p)
		}
	}
	return c.fail(senseCDB.atByte(2))
}

func (c *Command) standardInquiry() []byte {
	p := make([]byte, 96)
	if c.a == nil {
		p[0] = peripheralNone
	}
	p[2] = 0x06                  // SPC-4
	p[3] = 0x12                  // HISUP, response format 2
	p[4] = byte(len(p) - 5)      //
	p[5] = tpgsBoth | thirdParty //
	p[6] = 0x10                  // MULTIP
	p[7] = 0x02                  // CMDQUE
	copy(p[8:], vendor)
	copy(p[16:], product)
	copy(p[32:], revision)
	for i, v := range []uint16{0x00a0, 0x0960, 0x0460, 0x04c0} { // SAM-5, iSCSI, SPC-4, SBC-3
		be.PutUint16(p[58+2*i:], v)
	}
	return p
}

// vpdPage is a page of vital product data.
type vpdPage struct {
	code byte
	body func(c *Command) []byte // after the 4 bytes of head
}

var vpdPages []vpdPage

func init() {
	vpdPages = []vpdPage{ // ascending
		{0x00, func(*Command) []byte {
			var list []byte
			for _, p := range vpdPages {
				list = append(list, p.code)
			}
			return list
		}},
		{0x80, func(c *Command) []byte { return []byte(c.a.u.id.serial()) }},
		{0x83, (*Command).vpdIdentification},
		{0x86, vpdExtended},
		{0x8f, vpdThirdParty},
		{0xb0, vpdLimits},
		{0xb1, vpdCharacteristics},
		{0xb2, vpdProvisioning},
	}
}

// vpdIdentification is the device identification page (SPC-4 7.8.6): what the
// unit is, the same at every port; what the port is; what the target is.
func (c *Command) vpdIdentification() []byte {
	const (
		binary, ascii, utf8    = 1, 2, 3
		unit, port, device     = 0x00, 0x10, 0x20
		t10, naa               = 1, 3
		relativePort, groupTag = 4, 5
		name                   = 8
	)
	var p []byte
	add := func(set, kind byte, id []byte) {
		if kind&0x30 != unit {
			set, kind = set|0x50, kind|0x80 // PIV, iSCSI
		}
		p = append(p, set, kind, 0, byte(len(id)))
		p = append(p, id...)
	}
	id := c.a.u.id.naa()
	add(binary, unit|naa, id[:])
	add(ascii, unit|t10, []byte(vendor+c.a.u.id.serial()))
	t, at := c.n.cfg.Target, c.n.cfg.Port
	tag := t.groupOf(at)
	add(binary, port|relativePort, be.AppendUint16([]byte{0, 0}, at))
	add(binary, port|groupTag, be.AppendUint16([]byte{0, 0}, tag))
	add(utf8, port|name, padded(t.Name+",t,0x"+hex16(tag)))
	add(utf8, device|name, padded(t.Name))
	return p
}

// padded is a SCSI name string: ended by a zero, filled up to 4 bytes.
func padded(s string) []byte {
	p := append([]byte(s[:min(len(s), 250)]), 0)
	for len(p)%4 != 0 {
		p = append(p, 0)
	}
	return p
}

func hex16(v uint16) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15]})
}

// vpdExtended is the extended INQUIRY data page (SPC-4 7.8.7).
func vpdExtended(*Command) []byte {
	p := make([]byte, 60)
	p[1] = 0x07 // HEADSUP, ORDSUP, SIMPSUP
	p[2] = 0x01 // V_SUP: there is a volatile cache
	return p
}

// Limits that the block limits page tells, in blocks.
const (
	maxCompare   = 255
	maxPrefetch  = 64 << 20 / BlockSize
	maxUnmapList = 256    // descriptors
	maxWriteSame = 0xfff8 // what programs take for more, they try to write in one command too
	maxAtomic    = MaxAtomic / BlockSize
)

// vpdLimits is the block limits page (SBC-3 6.5.3, with SBC-4's atomic limits).
func vpdLimits(*Command) []byte {
	p := make([]byte, 60) // p[i] is byte i+4 of the page
	p[1] = maxCompare
	be.PutUint16(p[2:], physicalBlock/BlockSize)  // optimal transfer granularity
	be.PutUint32(p[4:], MaxTransfer/BlockSize)    // maximum transfer length
	be.PutUint32(p[8:], 1<<20/BlockSize)          // optimal transfer length
	be.PutUint32(p[12:], maxPrefetch)             // maximum prefetch length
	be.PutUint32(p[16:], 0xffffffff)              // maximum unmap LBA count: any
	be.PutUint32(p[20:], maxUnmapList)            // maximum unmap block descriptors
	be.PutUint32(p[24:], physicalBlock/BlockSize) // optimal unmap granularity
	be.PutUint32(p[28:], 0x80000000)              // unmap granularity alignment: 0, valid
	be.PutUint64(p[32:], maxWriteSame)            // maximum write same length
	be.PutUint32(p[40:], maxAtomic)               // maximum atomic transfer length
	be.PutUint32(p[44:], 0)                       // atomic alignment: any
	be.PutUint32(p[48:], 0)                       // atomic transfer length granularity: any
	return p
}

// vpdCharacteristics is the block device characteristics page (SBC-3 6.5.2).
func vpdCharacteristics(*Command) []byte {
	p := make([]byte, 60)
	p[1] = 1    // does not rotate
	p[3] = 0x40 // WABEREQ=01b: after a block erase reads succeed
	p[4] = 0x02 // FUAB: SYNCHRONIZE CACHE and FUA go to the medium
	return p
}

// thresholdExponent: thresholds count sets of 2^21 blocks, 1 GiB.
const thresholdExponent = 21

// vpdProvisioning is the logical block provisioning page (SBC-3 6.5.4).
func vpdProvisioning(*Command) []byte {
	return []byte{
		thresholdExponent,
		0x80 | 0x40 | 0x20 | 0x04, // LBPU, LBPWS, LBPWS10, LBPRZ: unmapped reads as zeros
		0x02,                      // thin
		0,
	}
}
