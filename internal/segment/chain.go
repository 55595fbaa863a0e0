package segment

import (
	"errors"
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// chain walks over frames in a store. It only reads. What a store says it
// cannot read is an error; what is no frame is a notFrame.
type chain struct {
	store     segstore.Store
	pool      [16]byte
	segBlocks int
	segs      []uint64 // that existed when the walk began, ascending
	cur       header   // where the walk is

	// Blocks read ahead: n from first of segment seg.
	seg      uint64
	first, n int
	ahead    int // blocks to read at a time
	window   []byte
	summary  []byte // of the frame in hand, if not inline
}

// windowBlocks is how much is read at a time: small frames come many to a
// read, and a frame of 1 MiB costs little more than its header.
const windowBlocks = 16

func newChain(s segstore.Store, pool [16]byte) (*chain, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	segs := make([]uint64, len(list))
	for i, seg := range list {
		segs[i] = seg.Number
	}
	return chainIn(s, pool, segs), nil
}

// chainIn is newChain where it is known which segments there are, ascending.
func chainIn(s segstore.Store, pool [16]byte, segs []uint64) *chain {
	return &chain{
		store: s, pool: pool, segBlocks: int(s.SegmentSize() / BlockSize), segs: segs,
		ahead: windowBlocks, window: make([]byte, windowBlocks*BlockSize),
	}
}

func isNotFrame(err error) bool {
	var n notFrame
	return errors.As(err, &n)
}

// block returns the block at a, valid until the next call.
func (c *chain) block(a Addr) ([]byte, error) {
	seg, b := a.Segment(), int(a.Block())
	if seg != c.seg || b < c.first || b >= c.first+c.n {
		c.n = 0
		if _, ok := slices.BinarySearch(c.segs, seg); !ok || b >= c.segBlocks {
			return nil, notFramef("there is no segment %d block %d", seg, b)
		}
		n := min(c.ahead, c.segBlocks-b)
		if err := c.store.ReadAt(seg, c.window[:n*BlockSize], a.offset()); err != nil {
			return nil, err
		}
		c.seg, c.first, c.n = seg, b, n
	}
	return c.window[(b-c.first)*BlockSize:][:BlockSize], nil
}

// header reads the header at a, which must be of this pool and say that it
// belongs there.
func (c *chain) header(a Addr) (header, error) {
	b, err := c.block(a)
	if err != nil {
		return header{}, err
	}
	h, err := decodeHeader(b)
	switch {
	case isNotFrame(err):
		return h, err
	case h.pool != c.pool:
		return h, notFrame("the frame belongs to another pool")
	case h.addr != a:
		return h, notFramef("the frame belongs to segment %d block %d", h.addr.Segment(), h.addr.Block())
	case err != nil:
		return h, err
	case int(a.Block())+h.blocks() > c.segBlocks:
		return h, notFrame("the frame is longer than the segment")
	}
	return h, nil
}

// frame reads and verifies the summary of h. The Frame is valid until the next
// call of any method.
func (c *chain) frame(h *header) (*Frame, error) {
	var sum []byte
	if extra := summaryBlocks(h.summary); extra == 0 {
		b, err := c.block(h.addr)
		if err != nil {
			return nil, err
		}
		sum = b[headerSize:][:h.summary]
	} else {
		c.summary = slices.Grow(c.summary[:0], extra*BlockSize)[:extra*BlockSize]
		at := h.addr + 1 + Addr(h.payload)
		if err := c.store.ReadAt(at.Segment(), c.summary, at.offset()); err != nil {
			return nil, err
		}
		sum = c.summary[:h.summary]
	}
	if Checksum(sum) != h.summaryCRC {
		return nil, notFramef("the summary of frame %d fails its checksum", h.seq)
	}
	return frameOf(c.store, h, sum)
}

// matches reports whether the frame that p names is there.
func (c *chain) matches(p Position) (bool, error) {
	h, err := c.header(p.Addr)
	if isNotFrame(err) {
		return false, nil
	}
	return h.position() == p, err
}

// start puts the walk at the frame that p names.
func (c *chain) start(p Position) error {
	h, err := c.header(p.Addr)
	if err == nil && h.position() != p {
		err = notFramef("frame %d is there instead", h.seq)
	}
	if isNotFrame(err) {
		return fail.Wrap(fail.Corrupt, err, "segment %d block %d, where reading starts, does not hold frame %d",
			p.Addr.Segment(), p.Addr.Block(), p.Seq)
	}
	c.cur = h
	return err
}

// next finds the header of the frame that follows the current one: right
// behind it, or else at the start of a later segment. With a notFrame the
// chain ends. It does not move.
func (c *chain) next() (header, error) {
	behind := int(c.cur.addr.Block()) + c.cur.blocks()
	verdict := error(notFrame("the segment is full"))
	if behind < c.segBlocks {
		h, err := c.candidate(c.cur.addr + Addr(c.cur.blocks()))
		if !isNotFrame(err) {
			return h, err
		}
		verdict = err
	}
	later, found := slices.BinarySearch(c.segs, c.cur.addr.Segment())
	if found {
		later++
	}
	for _, seg := range c.segs[later:] {
		h, err := c.candidate(MakeAddr(seg, 0))
		if !isNotFrame(err) {
			return h, err
		}
	}
	return header{}, verdict
}

func (c *chain) candidate(a Addr) (header, error) {
	h, err := c.header(a)
	if err == nil {
		err = h.follows(&c.cur)
	}
	return h, err
}

// survey shows every header of this pool in one segment from a block on,
// chained or not, going over the length of each.
func (c *chain) survey(seg uint64, block int, visit func(*header) error) error {
	for block < c.segBlocks {
		h, err := c.header(MakeAddr(seg, uint32(block)))
		switch {
		case isNotFrame(err):
			block++
		case err != nil:
			return err
		default:
			if err := visit(&h); err != nil {
				return err
			}
			block += h.blocks()
		}
	}
	return nil
}

// payload verifies the whole payload of h: a notFrame if it fails.
func (c *chain) payload(h *header) error {
	f, err := c.frame(h)
	if err != nil {
		return err
	}
	buf := make([]byte, min(f.Blocks, 64)*BlockSize)
	for i := 0; i < f.Blocks; {
		n := min(f.Blocks-i, 64)
		if err := f.ReadPayload(i, buf[:n*BlockSize]); fail.Is(err, fail.Corrupt) {
			return notFrame(err.Error())
		} else if err != nil {
			return err
		}
		i += n
	}
	return nil
}
