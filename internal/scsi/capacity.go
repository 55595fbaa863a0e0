package scsi

import "math/bits"

// beginCapacity10 is for READ CAPACITY (10).
func beginCapacity10(c *Command) sense {
	if c.CDB[8]&1 == 0 && be.Uint32(c.CDB[2:]) != 0 { // an LBA without PMI
		return senseCDB.atByte(2)
	}
	return c.dataIn(8)
}

func runCapacity10(c *Command, in, _ []byte, _ bool) bool {
	last := c.a.d.Size()/BlockSize - 1
	var p [8]byte
	be.PutUint32(p[:], uint32(min(last, 0xffffffff)))
	be.PutUint32(p[4:], BlockSize)
	return c.reply(in, p[:])
}

// beginAlloc10 is for commands of 16 bytes with an allocation length at 10.
func beginAlloc10(c *Command) sense { return c.dataIn(clamp(be.Uint32(c.CDB[10:]))) }

// beginAlloc6 is for commands of 12 bytes with an allocation length at 6.
func beginAlloc6(c *Command) sense { return c.dataIn(clamp(be.Uint32(c.CDB[6:]))) }

func clamp(n uint32) int { return int(min(n, MaxTransfer)) }

func runCapacity16(c *Command, in, _ []byte, _ bool) bool {
	var p [32]byte
	be.PutUint64(p[:], c.a.d.Size()/BlockSize-1)
	be.PutUint32(p[8:], BlockSize)
	p[13] = byte(bits.TrailingZeros(uint(c.a.d.PhysicalBlock() / BlockSize))) // logical blocks in a physical one: 2^n
	p[14] = 0x80 | 0x40                                                       // LBPME, LBPRZ
	return c.reply(in, p[:])
}

// maxStatuses bounds what one GET LBA STATUS tells.
const maxStatuses = 1024

func beginLBAStatus(c *Command) sense {
	c.args.lba = be.Uint64(c.CDB[2:])
	if size := c.a.d.Size() / BlockSize; c.args.lba >= size {
		return senseLBA.at(c.args.lba)
	}
	return beginAlloc10(c)
}

// runLBAStatus tells which blocks are mapped (SBC-3 5.7).
//
//	length 4 | 0 4 | each: lba 8 | blocks 4 | provisioning 1 | 0 3
func runLBAStatus(c *Command, in, _ []byte, _ bool) bool {
	p := make([]byte, 8, 24)
	at, size := c.offset(), c.a.d.Size()
	room := max(1, min((c.args.alloc-8)/16, maxStatuses))
	for at < size && room > 0 {
		n := min(size-at, 1<<40)
		err := c.a.d.Map(at, n, func(s Span) bool {
			if room == 0 || c.stopped() {
				return false
			}
			for left := s.Len; left > 0 && room > 0; room-- {
				k := min(left, 0xffffff00*BlockSize)
				p = be.AppendUint64(p, at/BlockSize)
				p = be.AppendUint32(p, uint32(k/BlockSize))
				p = append(p, provisioning(s.Hole), 0, 0, 0)
				at, left = at+k, left-k
			}
			return true
		})
		if err != nil {
			return c.fail(of(err))
		}
		if c.stopped() {
			return c.fail(sense{key: keyAbortedCommand})
		}
	}
	be.PutUint32(p, uint32(len(p)-4))
	return c.reply(in, p)
}

func provisioning(hole bool) byte {
	if hole {
		return 1 // deallocated
	}
	return 0
}
