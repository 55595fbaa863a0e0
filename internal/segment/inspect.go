package segment

import (
	"varve/internal/fail"
	"varve/internal/segstore"
)

// Found is one plausible frame that Inspect came across.
type Found struct {
	Frame *Frame // only its Position.Addr is set if the header cannot be read
	Err   error  // what is wrong with its header or summary, or nil

	// Beyond says that the frame lies behind the last one that continues the
	// chain from the start of the segment, and that no frame of the segment
	// attests that anything there was durable: the tail that a crash left,
	// which does not count and may well be damaged.
	Beyond bool
}

// Inspect shows everything in one segment that is or claims to be a frame of
// this pool written there, in order. Each is verified by itself, without its
// payload, which may be gone by right (Frame.ReadPayload). It writes nothing.
// Errors: those of the store and of visit.
func Inspect(s segstore.Store, pool [16]byte, seg uint64, visit func(Found) error) error {
	c, err := newChain(s, pool)
	if err != nil {
		return err
	}
	beyond, err := c.beyond(seg)
	if err != nil {
		return err
	}
	for block := 0; block < c.segBlocks; {
		a := MakeAddr(seg, uint32(block))
		found := Found{Frame: &Frame{Position: Position{Addr: a}}, Beyond: a >= beyond}
		h, err := c.header(a)
		block++
		switch {
		case err == nil:
			block += h.blocks() - 1
			f, err := c.frame(&h)
			if err != nil && !isNotFrame(err) {
				return err
			}
			if found.Err = err; err != nil {
				f = viewOf(s, &h)
			}
			found.Frame = f
		case h.addr != a && isNotFrame(err):
			continue // any block, or a frame from before the file was recycled
		case isNotFrame(err) || fail.Is(err, fail.Unsupported):
			found.Err = err
		default:
			return err
		}
		if err := visit(found); err != nil {
			return err
		}
	}
	return nil
}

// beyond returns where the frames of a segment end that follow each other from
// its start. If a later frame in it attests that there must be more, what lies
// behind is damage: then it is beyond the segment.
func (c *chain) beyond(seg uint64) (Addr, error) {
	first, none := MakeAddr(seg, 0), MakeAddr(seg+1, 0)
	h, err := c.header(first)
	if isNotFrame(err) || fail.Is(err, fail.Unsupported) {
		return none, nil
	}
	end := first
	for err == nil {
		c.cur = h
		if end = h.addr + Addr(h.blocks()); int(end-first) >= c.segBlocks {
			return none, nil
		}
		if _, err = c.frame(&h); err == nil {
			h, err = c.candidate(end)
		} else {
			end = h.addr
			c.cur.seq--
		}
	}
	if !isNotFrame(err) && !fail.Is(err, fail.Unsupported) {
		return 0, err
	}
	attested := false
	err = c.survey(seg, int(end-first), func(h *header) error {
		attested = attested || h.through > c.cur.seq
		return nil
	})
	if attested {
		return none, err
	}
	return end, err
}
