package scsi

// shape returns LBA and number of blocks of the CDB by its group (SBC-3 5).
func (c *Command) shape() (lba, blocks uint64) {
	cdb := c.CDB
	switch cdb[0] >> 5 {
	case 0:
		lba, blocks = uint64(be.Uint32(cdb[0:])&0x1fffff), uint64(cdb[4])
		if blocks == 0 {
			blocks = 256
		}
	case 4:
		lba, blocks = be.Uint64(cdb[2:]), uint64(be.Uint32(cdb[10:]))
	case 5:
		lba, blocks = uint64(be.Uint32(cdb[2:])), uint64(be.Uint32(cdb[6:]))
	default:
		lba, blocks = uint64(be.Uint32(cdb[2:])), uint64(be.Uint16(cdb[7:]))
	}
	return lba, blocks
}

// locate parses a range and checks that it lies on the disk.
func (c *Command) locate() sense {
	c.args.lba, c.args.blocks = c.shape()
	return c.within(c.args.lba, c.args.blocks)
}

// within checks a range of blocks.
func (c *Command) within(lba, blocks uint64) sense {
	size := c.a.d.Size() / BlockSize
	if lba > size || blocks > size-lba {
		return senseLBA.at(max(lba, min(size, lba+blocks)))
	}
	return sense{}
}

// beginRead is for READ (6, 10, 12, 16).
func beginRead(c *Command) sense { return c.beginTransfer(DataIn) }

// beginWrite is for WRITE (6, 10, 12, 16).
func beginWrite(c *Command) sense { return c.beginTransfer(DataOut) }

func (c *Command) beginTransfer(d Direction) sense {
	if s := c.locate(); s.is() {
		return s
	}
	if c.args.blocks > MaxTransfer/BlockSize {
		return senseCDB
	}
	if c.args.blocks > 0 {
		c.Dir, c.Length = d, int64(c.args.blocks*BlockSize)
	}
	c.args.fua = len(c.op.usage) > 6 && c.CDB[1]&0x08 != 0
	return sense{}
}

func (c *Command) offset() uint64 { return c.args.lba * BlockSize }

func runRead(c *Command, in, _ []byte, wait bool) bool {
	if c.args.fua && !wait { // it is flushed before its data goes out
		return false
	}
	in = in[:min(int64(len(in)), c.Length)]
	if len(in) > 0 {
		if wait {
			if err := c.a.d.ReadAt(in, c.offset(), nil); err != nil {
				return c.fail(of(err))
			}
		} else if ok, err := c.a.d.TryReadAt(in, c.offset(), nil); err != nil || !ok {
			return ok && c.fail(of(err))
		}
	}
	c.N, c.Total = len(in), c.Length
	c.NeedsFlush = c.args.fua // what is read must be on the medium
	return true
}

// runWrite writes the whole blocks that came.
func runWrite(c *Command, _, out []byte, wait bool) bool {
	out = c.wholeBlocks(out)
	switch {
	case len(out) == 0:
	case !wait:
		if !c.a.d.TryWriteAt(out, c.offset()) {
			return false
		}
	default:
		if err := c.a.d.WriteAt(out, c.offset()); err != nil {
			return c.fail(of(err))
		}
	}
	c.Total = c.Length
	c.NeedsFlush = c.args.fua
	c.a.u.wrote(c.a.d, len(out))
	return true
}

// wholeBlocks cuts what came to what the CDB asked for, in blocks.
func (c *Command) wholeBlocks(out []byte) []byte {
	n := min(int64(len(out)), c.Length)
	return out[:n-n%BlockSize]
}

// physicalBlock is the granule of the volume, in bytes.
const physicalBlock = 4096
