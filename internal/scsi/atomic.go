package scsi

// beginCompareWrite is for COMPARE AND WRITE: twice the blocks come, what should
// be there and what shall be there (SBC-3 5.2).
func beginCompareWrite(c *Command) sense {
	c.args.lba, c.args.blocks = be.Uint64(c.CDB[2:]), uint64(c.CDB[13])
	if s := c.within(c.args.lba, c.args.blocks); s.is() {
		return s
	}
	if c.args.blocks > maxCompare {
		return senseCDB.atByte(13)
	}
	c.args.fua = c.CDB[1]&0x08 != 0
	return c.takes(2 * c.args.blocks)
}

// runCompareWrite compares and writes in one step, of which no other writer of
// the volume gets in between.
func runCompareWrite(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if int64(len(out)) < c.Length || c.Expected != c.Length {
		return c.fail(senseCDB.atByte(13))
	}
	if c.args.blocks == 0 {
		return true
	}
	n := c.args.blocks * BlockSize
	expected, wanted := out[:n], out[n:2*n]
	differs := -1
	err := c.update(c.offset(), n, func(p []byte) bool {
		if differs = firstDifference(p, expected); differs >= 0 {
			return false
		}
		copy(p, wanted)
		return true
	})
	if err == nil && differs >= 0 {
		return c.fail(senseMiscompare.at(uint64(differs)))
	}
	c.NeedsFlush = c.args.fua
	return c.end(err)
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// runOrWrite writes what is there OR what came (SBC-3 5.15), each step of at most
// MaxAtomic bytes at once.
func runOrWrite(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	out = c.wholeBlocks(out)
	c.NeedsFlush = c.args.fua
	c.steps(uint64(len(out)/BlockSize), MaxAtomic, func(at, n uint64) bool {
		err := c.update(c.offset()+at, n, func(p []byte) bool {
			for i, b := range out[at : at+n] {
				p[i] |= b
			}
			return true
		})
		return err == nil || !c.fail(of(err))
	})
	return true
}

// beginWriteAtomic is for WRITE ATOMIC (16) (SBC-4 5.48): without boundaries.
func beginWriteAtomic(c *Command) sense {
	c.args.lba, c.args.blocks = be.Uint64(c.CDB[2:]), uint64(be.Uint16(c.CDB[12:]))
	if s := c.within(c.args.lba, c.args.blocks); s.is() {
		return s
	}
	if be.Uint16(c.CDB[10:]) != 0 {
		return senseCDB.atByte(10)
	}
	if c.args.blocks > maxAtomic {
		return senseCDB.atByte(12)
	}
	c.args.fua = c.CDB[1]&0x08 != 0
	return c.takes(c.args.blocks)
}

// runWriteAtomic writes all or nothing, also through a crash: one operation of
// the log.
func runWriteAtomic(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if int64(len(out)) < c.Length {
		return c.fail(senseCDB) // a part would not be atomic
	}
	if c.Length == 0 {
		return true
	}
	c.NeedsFlush = c.args.fua
	return c.end(c.update(c.offset(), uint64(c.Length), func(p []byte) bool {
		copy(p, out)
		return true
	}))
}

// update is Disk.Update of the command's disk.
func (c *Command) update(off, n uint64, change func(p []byte) bool) error {
	err := c.a.d.Update(off, n, change)
	if err == nil {
		c.a.u.wrote(c.a.d, int(n))
	}
	return err
}
