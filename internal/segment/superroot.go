package segment

import (
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// SuperRoot makes everything appended before it durable, then writes payload
// as a super root frame, durably, and points the hint at it. It must fit one
// frame: TooBig. It admits its own blocks, with reserve: NoSpace leaves the log
// as it was. Two of them do not run at the same time.
func (l *Log) SuperRoot(payload []byte) (Addr, error) {
	blocks := max(1, (len(payload)+BlockSize-1)/BlockSize)
	if 1+blocks+summaryBlocks(maxRun+4*blocks) > l.opts.MaxFrame {
		return 0, fail.New(fail.TooBig, "a super root of %d bytes does not fit a frame of %d blocks", len(payload), l.opts.MaxFrame)
	}
	if err := l.CommitAll(); err != nil { // so that little is left to do while others wait below
		return 0, err
	}
	if err := l.AdmitLast(blocks); err != nil {
		return 0, err
	}
	l.mu.Lock()
	for l.syncing && l.err == nil {
		l.rounds[(l.round+1)%2].Wait()
	}
	if l.err != nil {
		defer l.mu.Unlock()
		return 0, l.err
	}
	l.takeToken()
	p, err := l.superRoot(payload, blocks)
	l.passToken()
	l.room.held = max(0, l.room.held-blocks)
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if err := setHint(l.store, l.opts.PoolID, l.incarnation, p); err != nil {
		l.opts.Logger.Warn("hint not written", "err", err)
	}
	return p.Addr, nil
}

// superRoot seals a super root frame and makes it durable after all before
// it. mu and the token are held.
func (l *Log) superRoot(payload []byte, blocks int) (Position, error) {
	for !l.empty() || !l.fits(blocks, -1) {
		if err := l.advance(); err != nil {
			return Position{}, err
		}
	}
	l.fill()
	b := l.openBuf[BlockSize : (1+blocks)*BlockSize]
	clear(b[copy(b, payload):])
	for i := range blocks {
		crc := [1]uint32{Checksum(b[i*BlockSize:][:BlockSize])}
		l.sum.addBlocks(Super, crc[:])
	}
	l.payload = blocks
	l.grow(int64(len(b)))
	l.seal(FrameSuper, [16]byte{})
	p := l.last
	l.goal = p.Seq
	// Its header says that all before it is durable: nobody else may write it.
	l.queue.at(p.Seq).state = writing
	if l.makeDurable(p.Seq - 1); l.err != nil {
		return p, l.err
	}
	start := time.Now()
	if l.write(p.Seq, true); l.err != nil {
		return p, l.err
	}
	l.settle(p.Seq, start)
	l.lastSuper = p.Addr
	return p, nil
}

// SuperRootFrame is a super root frame that has been verified whole.
type SuperRootFrame struct {
	Position
	Time    int64  // of sealing: Unix nanoseconds
	Payload []byte // whole blocks: what SuperRoot was given, padded with zeros
}

// rootTries is how many of the newest super roots are tried: one that a crash
// may have torn, and the two durable ones that are kept with all they need.
const rootTries = 3

// FindSuperRoot returns the newest super root of a pool that verifies. It looks
// at every frame of the highest segment that has any: each header names the
// last super root that was durable when it was sealed. From there it follows
// the chain, for one that became durable while later frames were on their way.
// The hint only says where in the segment to begin. Errors: NotFound if the log
// has none yet; Corrupt if it should have one; those of the store.
func FindSuperRoot(s segstore.Store, pool [16]byte) (SuperRootFrame, error) {
	c, err := newChain(s, pool)
	if err != nil {
		return SuperRootFrame{}, err
	}
	roots, named, err := c.namedRoots()
	if err != nil {
		return SuperRootFrame{}, err
	}
	r, err := c.firstWhole(roots, named)
	if err != nil {
		return r, err
	}
	later, err := c.rootsAfter(r.Position)
	if err != nil || len(later) == 0 {
		return r, err
	}
	return c.firstWhole(append([]Addr{r.Addr}, later...), true)
}

// namedRoots returns the newest super roots, ascending, that the highest
// segment with frames holds or names; named, if any of them is named by a later
// frame and so was durable once.
func (c *chain) namedRoots() (roots []Addr, named bool, err error) {
	hint, hinted := readHint(c.store, c.pool)
	add := func(a Addr) {
		if i, dup := slices.BinarySearch(roots, a); !dup {
			roots = slices.Insert(roots, i, a)
		}
		roots = roots[max(0, len(roots)-rootTries):]
	}
	for i := len(c.segs) - 1; i >= 0; i-- {
		start, frames := 0, 0
		if hinted && hint.Addr.Segment() == c.segs[i] {
			ok, err := c.matches(hint.Position)
			if err != nil {
				return nil, false, err
			}
			if ok {
				start = int(hint.Addr.Block())
			}
		}
		err := c.survey(c.segs[i], start, func(h *header) error {
			frames++
			if h.lastSuper != 0 {
				named = true
				add(h.lastSuper)
			}
			if h.kind == FrameSuper {
				add(h.addr)
			}
			return nil
		})
		if err != nil || frames > 0 {
			return roots, named, err
		}
	}
	return nil, false, nil
}

// rootsAfter returns the super root frames that follow p in the chain.
func (c *chain) rootsAfter(p Position) (roots []Addr, err error) {
	if err := c.start(p); err != nil {
		return nil, err
	}
	for {
		h, err := c.next()
		if isNotFrame(err) {
			return roots, nil
		}
		if err != nil {
			return nil, err
		}
		if h.kind == FrameSuper {
			roots = append(roots, h.addr)
		}
		c.cur = h
	}
}

// firstWhole returns the last of some super roots that verifies.
func (c *chain) firstWhole(roots []Addr, named bool) (SuperRootFrame, error) {
	var damage error
	for _, a := range slices.Backward(roots) {
		f, err := c.rootAt(a)
		if err == nil {
			return f, nil
		}
		if !isNotFrame(err) && !fail.Is(err, fail.Corrupt) {
			return SuperRootFrame{}, err
		}
		if damage == nil {
			damage = fail.Wrap(fail.Corrupt, err, "super root at segment %d block %d", a.Segment(), a.Block())
		}
	}
	if named {
		return SuperRootFrame{}, fail.Wrap(fail.Corrupt, damage, "none of the last %d super roots is whole", len(roots)).
			WithHint("see what is left with varve debug frames")
	}
	return SuperRootFrame{}, fail.New(fail.NotFound, "the log has no super root")
}

// rootAt reads and verifies the super root frame at a.
func (c *chain) rootAt(a Addr) (SuperRootFrame, error) {
	h, err := c.header(a)
	if err != nil {
		return SuperRootFrame{}, err
	}
	if h.kind != FrameSuper {
		return SuperRootFrame{}, notFramef("this is a %s frame", h.kind)
	}
	f, err := c.frame(&h)
	if err != nil {
		return SuperRootFrame{}, err
	}
	r := SuperRootFrame{Position: f.Position, Time: f.Time, Payload: make([]byte, f.Blocks*BlockSize)}
	return r, f.ReadPayload(0, r.Payload)
}
