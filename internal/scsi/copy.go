package scsi

import "sync"

// EXTENDED COPY (LID1) and RECEIVE COPY RESULTS (SPC-4 6.4, 6.19): copies between
// the units that the nexus sees, inside the server.

// Limits of EXTENDED COPY.
const (
	maxCopyUnits    = 8
	maxCopySegments = 64
	maxCopyList     = maxCopyUnits*copyUnitSize + maxCopySegments*copySegmentSize
	maxHeldCopies   = 16

	copyHead        = 16
	copyUnitSize    = 32
	copySegmentSize = 28
)

var (
	senseUnits       = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x06} // TOO MANY TARGET DESCRIPTORS
	senseUnitType    = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x07} // UNSUPPORTED TARGET DESCRIPTOR TYPE CODE
	senseSegments    = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x08} // TOO MANY SEGMENT DESCRIPTORS
	senseSegmentType = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x09} // UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE
	senseInline      = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x0b} // INLINE DATA LENGTH EXCEEDED
	senseUnreachable = sense{key: keyCopyAborted, asc: 0x0d, ascq: 0x02}    // COPY TARGET DEVICE NOT REACHABLE
	senseCopyAborted = sense{key: keyCopyAborted}
)

// copies are the results that RECEIVE COPY RESULTS can ask for: the latest.
type copies struct {
	mu   sync.Mutex
	held []copyResult
}

type copyResult struct {
	id       byte
	failed   bool
	segments uint16
	bytes    uint64
}

func (h *copies) keep(r copyResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(r.id)
	if len(h.held) == maxHeldCopies {
		h.held = h.held[1:]
	}
	h.held = append(h.held, r)
}

func (h *copies) drop(id byte) {
	for i, r := range h.held {
		if r.id == id {
			h.held = append(h.held[:i:i], h.held[i+1:]...)
			return
		}
	}
}

func (h *copies) find(id byte) (copyResult, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.held {
		if r.id == id {
			return r, true
		}
	}
	return copyResult{}, false
}

func beginCopy(c *Command) sense { return c.dataOut(clamp(be.Uint32(c.CDB[10:]))) }

// runCopy obeys a parameter list:
//
//	id | flags | length of units 2 | 0 4 | length of segments 4 | inline length 4 | units | segments
func runCopy(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if c.args.alloc == 0 {
		return true
	}
	if len(out) < c.args.alloc || c.args.alloc < copyHead {
		return c.fail(senseListLength)
	}
	out = out[:c.args.alloc]
	units, segments := uint64(be.Uint16(out[2:])), uint64(be.Uint32(out[8:]))
	switch {
	case units+segments > maxCopyList || copyHead+units+segments > uint64(len(out)):
		return c.fail(senseListLength)
	case units/copyUnitSize > maxCopyUnits:
		return c.fail(senseUnits)
	case out[1]>>3&3 == 3 && out[0] != 0: // no list identifier, and yet one
		return c.fail(senseParameter.inList(0))
	case be.Uint32(out[12:]) != 0:
		return c.fail(senseInline)
	case units%copyUnitSize != 0:
		return c.fail(senseListLength)
	}
	list, s := parseUnits(c, out[copyHead:copyHead+units])
	if s.is() {
		return c.fail(s)
	}
	todo, s := parseSegments(out[copyHead+units : copyHead+units+segments])
	if s.is() {
		return c.fail(s)
	}
	r := copyResult{id: out[0]}
	for _, seg := range todo {
		if s := c.copySegment(seg, list, &r); s.is() {
			r.failed = true
			c.fail(s)
			break
		}
		r.segments++
	}
	if out[1]>>3&3 != 3 { // the list identifier means something
		c.a.copies.keep(r)
	}
	return true
}

// parseUnits reads target descriptors of type E4, a unit by its designator; what
// the nexus does not see is nil, and fails only when it is used. The type of unit
// identifier in the flags is obsolete, and ignored.
//
//	e4 | flags | port 2 | code set | kind | 0 | length | designator 20 | 0 | block length 3
func parseUnits(c *Command, p []byte) ([]*attachment, sense) {
	var list []*attachment
	for ; len(p) > 0; p = p[copyUnitSize:] {
		if p[0] != 0xe4 {
			return nil, senseUnitType
		}
		var found *attachment
		if p[1]&0x20 == 0 && p[4]&0x0f == 1 && p[5]&0x3f == 3 && p[7] == 16 {
			for _, a := range c.n.byLUN {
				if a.u.id.naa() == [16]byte(p[8:24]) {
					found = a
				}
			}
		}
		list = append(list, found)
	}
	return list, sense{}
}

// segment is a block to block copy.
type segment struct {
	from, to         uint16 // indexes of units
	blocks           uint64
	source, destined uint64
}

// parseSegments reads segment descriptors of type 02:
//
//	02 | flags | length 2 | source 2 | destination 2 | 0 2 | blocks 2 | source lba 8 | destination lba 8
func parseSegments(p []byte) ([]segment, sense) {
	var list []segment
	for len(p) > 0 {
		if p[0] != 0x02 {
			return nil, senseSegmentType
		}
		if len(p) < copySegmentSize || be.Uint16(p[2:]) != copySegmentSize-4 {
			return nil, senseListLength
		}
		if len(list) == maxCopySegments {
			return nil, senseSegments
		}
		list = append(list, segment{
			from: be.Uint16(p[4:]), to: be.Uint16(p[6:]), blocks: uint64(be.Uint16(p[10:])),
			source: be.Uint64(p[12:]), destined: be.Uint64(p[20:]),
		})
		p = p[copySegmentSize:]
	}
	return list, sense{}
}

// copySegment copies one segment, with both units held as by commands of their
// own: reservations and aborts of these count too.
func (c *Command) copySegment(s segment, units []*attachment, r *copyResult) sense {
	if int(s.from) >= len(units) || int(s.to) >= len(units) || units[s.from] == nil || units[s.to] == nil {
		return senseUnreachable
	}
	from, to := units[s.from], units[s.to]
	for _, x := range []struct {
		a   *attachment
		lba uint64
		cl  class
	}{{from, s.source, readClass}, {to, s.destined, writeClass}} {
		if size := x.a.d.Size() / BlockSize; x.lba > size || s.blocks > size-x.lba {
			return senseCopyAborted
		}
		if x.a != c.a {
			phase, ok := x.a.hold()
			if !ok {
				return senseUnreachable
			}
			defer x.a.letGo(phase)
		}
		if !x.a.u.open(x.a, x.cl) {
			return senseCopyAborted
		}
	}
	if s := c.copyBlocks(from, to, s, r); s.is() || to.u.gate.Load()&gateNoCache == 0 {
		return s
	}
	if err := to.d.Flush(); err != nil { // c's own flush would be that of another unit
		return copyFailed(err)
	}
	return sense{}
}

// open reports whether a copy may use a unit.
func (u *unit) open(a *attachment, cl class) bool {
	gate := u.gate.Load()
	if gate&(gateSanitize|gateStopped) != 0 || cl == writeClass && (gate&gateProtected != 0 || a.d.ReadOnly()) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return (u.holder == nil || u.holder == a) && u.pr.allows(a.n.registrant(), cl)
}

func (c *Command) copyBlocks(from, to *attachment, s segment, r *copyResult) sense {
	buf := stepPool.Get().(*[step]byte)
	defer stepPool.Put(buf)
	var spans []Span
	end, backwards := s.blocks*BlockSize, from.u == to.u && s.source < s.destined
	epochs := [2]uint64{from.epoch.Load(), to.epoch.Load()}
	for done := uint64(0); done < end; {
		n := min(step, end-done)
		at := done
		if backwards { // where the ranges overlap, nothing is overwritten before it is read
			at = end - done - n
		}
		if c.stopped() || epochs != [2]uint64{from.epoch.Load(), to.epoch.Load()} {
			return sense{key: keyAbortedCommand}
		}
		spans = spans[:0]
		if err := from.d.ReadAt(buf[:n], s.source*BlockSize+at, &spans); err != nil {
			return copyFailed(err)
		}
		off := s.destined*BlockSize + at
		var err error
		if len(spans) == 1 && spans[0].Hole {
			err = to.d.Zero(off, n, false)
		} else {
			err = to.d.WriteAt(buf[:n], off)
		}
		if err != nil {
			return copyFailed(err)
		}
		to.u.wrote(to.d, int(n))
		done += n
		r.bytes += n
	}
	return sense{}
}

// copyFailed is what a disk's error is to a copy.
func copyFailed(err error) sense {
	if s := of(err); s.key == keyDataProtect {
		return s
	}
	return sense{key: keyCopyAborted, asc: 0x0d, ascq: 0x01} // THIRD PARTY DEVICE FAILURE
}

// runCopyStatus is RECEIVE COPY RESULTS, COPY STATUS:
//
//	length 4 | status | segments 2 | units of the count | count 4
func runCopyStatus(c *Command, in, _ []byte, _ bool) bool {
	r, ok := c.a.copies.find(c.CDB[2])
	if !ok {
		return c.fail(senseCDB.atByte(2))
	}
	p := []byte{0, 0, 0, 8, 1}
	if r.failed {
		p[4] = 2
	}
	p = be.AppendUint16(p, r.segments)
	p = append(p, 1) // KiB
	p = be.AppendUint32(p, uint32(r.bytes>>10))
	return c.reply(in, p)
}

// runCopyParameters is RECEIVE COPY RESULTS, OPERATING PARAMETERS.
func runCopyParameters(c *Command, in, _ []byte, _ bool) bool {
	p := make([]byte, 46)
	be.PutUint32(p, uint32(len(p)-4))
	p[4] = 1 // SNLID: no list identifier is fine
	be.PutUint16(p[8:], maxCopyUnits)
	be.PutUint16(p[10:], maxCopySegments)
	be.PutUint32(p[12:], maxCopyList)
	be.PutUint32(p[16:], 0xffff*BlockSize) // a segment
	be.PutUint16(p[34:], 0xffff)           // copies at a time: all
	p[36] = 0xff
	p[37] = 9 // granularity: 2^9 bytes
	p[43] = 2
	p[44], p[45] = 0x02, 0xe4
	return c.reply(in, p)
}

// vpdThirdParty is the third-party copy page (SPC-4 7.8.17).
func vpdThirdParty(*Command) []byte {
	var p []byte
	add := func(kind uint16, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		p = be.AppendUint16(p, kind)
		p = be.AppendUint16(p, uint16(len(body)))
		p = append(p, body...)
	}
	add(0x0001, []byte{7, 0x83, 1, 0x00, 0x84, 2, 0x00, 0x03}) // commands and their service actions
	parameters := make([]byte, 28)
	be.PutUint16(parameters[4:], maxCopyUnits)
	be.PutUint16(parameters[6:], maxCopySegments)
	be.PutUint32(parameters[8:], maxCopyList)
	add(0x0004, parameters)
	add(0x0008, []byte{2, 0x02, 0xe4}) // descriptors
	general := make([]byte, 32)
	be.PutUint32(general, 0xffff)
	be.PutUint32(general[4:], 0xff)
	be.PutUint32(general[8:], 0xffff*BlockSize)
	general[12] = 9
	add(0x8001, general)
	return p
}
