package scsi

import (
	"bytes"
	"sync"
)

// step is how much of a long range is worked on at a time: bytes. Between steps
// an abort is noticed.
const step = 256 << 10

var stepPool = sync.Pool{New: func() any { return new([step]byte) }}

// steps calls fn for the pieces of a range of blocks: offsets from its beginning,
// in bytes. It ends the command, if fn did not, and reports whether all went well.
func (c *Command) steps(blocks, size uint64, fn func(at, n uint64) bool) bool {
	end := blocks * BlockSize
	for at := uint64(0); at < end; at += size {
		if c.stopped() {
			c.fail(sense{key: keyAbortedCommand})
			return false
		}
		if !fn(at, min(size, end-at)) {
			return false
		}
	}
	return true
}

// What BYTCHK asks for.
const (
	checkMedium = 0 // that the blocks can be read
	checkData   = 1 // that they are the data sent
	checkSame   = 3 // that each is the one block sent
)

func (c *Command) byteCheck() int { return int(c.CDB[1] >> 1 & 3) }

// beginVerify is for VERIFY (10, 12, 16).
func beginVerify(c *Command) sense {
	if s := c.locate(); s.is() {
		return s
	}
	n := c.args.blocks
	if n > MaxTransfer/BlockSize { // also without data: it is time of the disk
		return senseCDB
	}
	switch c.byteCheck() {
	case checkMedium:
		n = 0
	case checkData:
	case checkSame:
		n = min(n, 1)
	default:
		return senseCDB.atByte(1)
	}
	return c.takes(n)
}

// takes is the end of begin of a command that n blocks come for.
func (c *Command) takes(n uint64) sense {
	if n > MaxTransfer/BlockSize {
		return senseCDB
	}
	if n > 0 {
		c.Dir, c.Length = DataOut, int64(n*BlockSize)
	}
	return sense{}
}

func runVerify(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if int64(len(out)) < c.Length {
		return c.fail(senseCDB) // fewer bytes than there are to compare
	}
	c.compare(out[:c.Length], c.byteCheck())
	return true
}

// compare reads the range, and compares it with data as check says. It reports
// whether it is as it should be; else the command has failed.
func (c *Command) compare(data []byte, check int) bool {
	buf := stepPool.Get().(*[step]byte)
	defer stepPool.Put(buf)
	return c.steps(c.args.blocks, step, func(at, n uint64) bool {
		p := buf[:n]
		if err := c.a.d.ReadAt(p, c.offset()+at, nil); err != nil {
			c.fail(of(err))
			return false
		}
		same := true
		switch check {
		case checkData:
			same = bytes.Equal(p, data[at:at+n])
		case checkSame:
			for i := 0; i < len(p) && same; i += BlockSize {
				same = bytes.Equal(p[i:i+BlockSize], data)
			}
		}
		if !same {
			c.fail(senseMiscompare)
		}
		return same
	})
}

// beginWriteVerify is for WRITE AND VERIFY (10, 12, 16).
func beginWriteVerify(c *Command) sense {
	if c.byteCheck() > checkData {
		return senseCDB.atByte(1)
	}
	return beginWrite(c)
}

// runWriteVerify writes, makes it durable, and reads it from there.
func runWriteVerify(c *Command, _, out []byte, _ bool) bool {
	runWrite(c, nil, out, true)
	c.NeedsFlush = false
	if c.Status != Good {
		return true
	}
	if err := c.a.d.Flush(); err != nil {
		return c.fail(of(err))
	}
	out = c.wholeBlocks(out)
	c.args.blocks = uint64(len(out) / BlockSize)
	c.compare(out, checkData) // also without BYTCHK: it costs nothing more
	return true
}

// beginSync is for SYNCHRONIZE CACHE (10, 16): a flush of all there is.
func beginSync(c *Command) sense { return c.locate() }

// runSync answers when everything is durable, also where IMMED would allow less.
func runSync(c *Command, _, _ []byte, _ bool) bool {
	c.NeedsFlush = true
	return true
}

// runPrefetch reads the range, which leaves it in caches.
func runPrefetch(c *Command, _, _ []byte, _ bool) bool {
	blocks := c.args.blocks
	if blocks == 0 {
		blocks = c.a.d.Size()/BlockSize - c.args.lba
	}
	c.args.blocks = min(blocks, maxPrefetch)
	c.compare(nil, checkMedium)
	return true
}
