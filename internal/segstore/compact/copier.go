package compact

import (
	"unsafe"

	"varve/internal/fail"
)

// copyBlocks is how much is written to a slot at a time: 1 MiB.
const copyBlocks = 256

// copier fills a slot, and its table on the way.
type copier struct {
	s      *Store
	t      *table
	verify func(segment uint64, block int, data []byte) error
	tables map[*slot]*table // of the slots that victims lie in

	// Blocks that are not written yet: those of the slot from start on, up to
	// where the checksums of the table reach.
	buf   []byte
	start int
}

func newCopier(s *Store, t *table, verify func(uint64, int, []byte) error) *copier {
	return &copier{
		s: s, t: t, verify: verify, tables: map[*slot]*table{},
		buf: aligned(copyBlocks * blockSize), start: t.first(),
	}
}

// at is the block of the slot that is filled next.
func (c *copier) at() int { return c.t.first() + len(c.t.crcs) }

// copy takes in a victim whole, or tells what is wrong with it and leaves
// nothing of it. Errors: of writing.
func (c *copier) copy(v Victim) (*Damage, error) {
	from := source{c: c, segment: v.Segment, home: c.s.lookup(v.Segment)}
	if from.home != nil && from.home.file {
		from.home = nil
	}
	e, begin := entry{segment: v.Segment}, len(c.t.crcs)
	for _, r := range v.Live {
		e.runs = append(e.runs, run{r.Block, r.Blocks, c.at()})
		for block := r.Block; block < r.Block+r.Blocks; {
			if c.at()-c.start == copyBlocks {
				if err := c.flush(); err != nil {
					return nil, err
				}
			}
			pending := c.at() - c.start
			n := min(r.Block+r.Blocks-block, copyBlocks-pending)
			if d := from.take(block, c.buf[pending*blockSize:][:n*blockSize]); d != nil {
				c.rewind(begin)
				return d, nil
			}
			block += n
		}
	}
	c.t.entries = append(c.t.entries, e)
	return nil, nil
}

// flush writes the blocks in memory.
func (c *copier) flush() error {
	n := c.at() - c.start
	if err := c.s.base.WriteAt(c.t.number, c.buf[:n*blockSize], int64(c.start)*blockSize); err != nil {
		return err
	}
	c.start += n
	return nil
}

// rewind forgets all blocks but the first so many. Those that were written are
// written over.
func (c *copier) rewind(blocks int) {
	c.t.crcs = c.t.crcs[:blocks]
	c.start = min(c.start, c.at())
}

// source is where a victim is read from.
type source struct {
	c       *copier
	segment uint64
	home    *home // nil: its own file
}

// take reads and verifies blocks of a victim from block on, and notes their
// checksums; or returns the first that is bad.
func (s *source) take(block int, p []byte) *Damage {
	err := s.read(block, p)
	for i := range len(p) / blockSize {
		b := p[i*blockSize:][:blockSize]
		e := err
		if err != nil { // of some block: of which?
			e = s.read(block+i, b)
		}
		if e == nil {
			e = s.check(block+i, b)
		}
		if e != nil {
			return &Damage{s.segment, block + i, e}
		}
		s.c.t.crcs = append(s.c.t.crcs, checksum(b))
	}
	return nil
}

func (s *source) read(block int, p []byte) error {
	off := int64(block) * blockSize
	if s.home == nil {
		return s.c.s.base.ReadAt(s.segment, p, off)
	}
	_, err := s.c.s.readSlot(s.segment, s.home, p, off, readAt)
	return err
}

// check verifies a block: by the slot that it lies in, and by the caller.
func (s *source) check(block int, b []byte) error {
	if s.home != nil {
		t, err := s.c.s.tableOf(s.home.slot, s.c.tables)
		if err != nil {
			return err
		}
		at, _ := s.home.find(block)
		if err := t.check(at, b); err != nil {
			return err
		}
	}
	if err := s.c.verify(s.segment, block, b); err != nil {
		return fail.Wrap(fail.Corrupt, err, "segment %d block %d is not copied", s.segment, block)
	}
	return nil
}

// aligned returns memory that the store below can write without copying.
func aligned(size int) []byte {
	b := make([]byte, size+blockSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (blockSize - 1)
	return b[skip:][:size]
}
