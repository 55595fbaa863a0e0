package scsi

func beginUnmap(c *Command) sense {
	return c.dataOut(int(be.Uint16(c.CDB[7:])))
}

// runUnmap makes ranges read as zeros, holes where they have whole physical
// blocks (SBC-3 5.28). All descriptors are judged before the first is obeyed.
//
//	length 2 | length of descriptors 2 | 0 4 | each: lba 8 | blocks 4 | 0 4
func runUnmap(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if c.args.alloc == 0 {
		return true
	}
	if len(out) < c.args.alloc || len(out) < 8 {
		return c.fail(senseListLength)
	}
	list := out[8:c.args.alloc]
	list = list[:min(len(list), int(be.Uint16(out[2:])))/16*16]
	if len(list)/16 > maxUnmapList {
		return c.fail(senseParameter.inList(2))
	}
	size := c.a.d.Size() / BlockSize
	for i := 0; i < len(list); i += 16 {
		lba, n := be.Uint64(list[i:]), uint64(be.Uint32(list[i+8:]))
		if lba > size || n > size-lba {
			return c.fail(senseLBA.at(max(lba, size)))
		}
	}
	for i := 0; i < len(list); i += 16 {
		lba, n := be.Uint64(list[i:]), uint64(be.Uint32(list[i+8:]))
		if n == 0 {
			continue
		}
		if c.stopped() {
			return c.fail(sense{key: keyAbortedCommand})
		}
		if err := c.a.d.Zero(lba*BlockSize, n*BlockSize, false); err != nil {
			return c.fail(of(err))
		}
	}
	return true
}

// Bits of WRITE SAME.
const (
	wsNoData = 0x01 // NDOB, of (16)
	wsUnmap  = 0x08
	wsAnchor = 0x10
)

// beginWriteSame is for WRITE SAME (10, 16). No blocks means: to the end.
func beginWriteSame(c *Command) sense {
	if s := c.locate(); s.is() {
		return s
	}
	if c.CDB[1]&wsAnchor != 0 {
		return senseCDB.atByte(1) // ANC_SUP is 0
	}
	if c.args.blocks == 0 {
		c.args.blocks = c.a.d.Size()/BlockSize - c.args.lba
	}
	if c.args.blocks > maxWriteSame {
		return senseCDB
	}
	if c.CDB[1]&wsNoData != 0 {
		return sense{}
	}
	return c.takes(1)
}

// runWriteSame writes one block all over a range; zeros are a hole. With UNMAP it
// is a hole whatever the block says, as with other targets.
func runWriteSame(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if int64(len(out)) < c.Length || c.Expected != c.Length {
		return c.fail(senseCDB)
	}
	block := out[:c.Length]
	if c.args.blocks == 0 {
		return true
	}
	if c.CDB[1]&wsUnmap != 0 || allZero(block) {
		return c.end(c.a.d.Zero(c.offset(), c.args.blocks*BlockSize, false))
	}
	c.fill(block)
	return true
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// fill writes copies of a pattern all over the range; its length divides step.
func (c *Command) fill(pattern []byte) bool {
	buf := stepPool.Get().(*[step]byte)
	defer stepPool.Put(buf)
	for i := 0; i < step; i += len(pattern) {
		copy(buf[i:], pattern)
	}
	return c.steps(c.args.blocks, step, func(at, n uint64) bool {
		if err := c.a.d.WriteAt(buf[:n], c.offset()+at); err != nil {
			c.fail(of(err))
			return false
		}
		c.a.u.wrote(c.a.d, int(n))
		return true
	})
}
