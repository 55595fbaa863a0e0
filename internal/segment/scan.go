package segment

import (
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// ScanOptions of Scan.
type ScanOptions struct {
	Attested   uint64 // frames up to this sequence number are known to have been durable: the super root's
	AcceptLoss bool   // damage inside the log ends it, instead of failing
}

// Tail is where the log ends and what Resume has to do about it.
type Tail struct {
	Position    // of the last frame that counts
	Incarnation [16]byte
	Epoch       uint32
	LastTime    int64    // Unix nanoseconds
	LastSuper   Addr     // the last super root frame that counts; 0 if none
	Leftover    []uint64 // segments without any frame that counts, which Resume removes
	Discarded   string   // why the log ends here, if anything lies beyond; else ""

	unsynced []uint64 // segments that may hold accepted frames that are not durable
	highest  uint64   // the highest segment number seen
	lost     bool     // a witness of frames beyond was overruled: AcceptLoss
	free     Addr     // the first block behind the last frame, if its segment has more and nothing lies there
	void     []Addr   // blocks where a header could continue the chain that must not count
}

// NextLSN is the LSN that the next operation gets.
func (t Tail) NextLSN() uint64 { return t.LastLSN + 1 }

// Scan visits every frame after from, in order, to the end of the log, and
// says where that is. It writes nothing. A frame counts if it is whole and
// continues the chain; what lies beyond the last such frame is a tail that a
// crash tore, and is given up, unless some frame attests that it was durable:
// then Scan fails with Corrupt, or with AcceptLoss ends there.
//
// The payload is verified only where no frame attests that it was durable.
// Errors: Corrupt; Unsupported; those of the store; those of visit. Frames are
// visited only when all of that is known.
func Scan(s segstore.Store, pool [16]byte, from Position, o ScanOptions, visit func(*Frame) error) (Tail, error) {
	c, err := newChain(s, pool)
	if err != nil {
		return Tail{}, err
	}
	if err := c.start(from); err != nil {
		return Tail{}, err
	}
	e, err := c.extent(o)
	if err != nil {
		return Tail{}, err
	}
	if err := c.start(from); err != nil {
		return Tail{}, err
	}
	for c.cur.seq < e.last().seq {
		f, err := c.step()
		if err != nil {
			return Tail{}, err
		}
		if err := visit(f); err != nil {
			return Tail{}, err
		}
	}
	return c.tail(from, e), nil
}

// Read visits the frames after from up to the one that holds untilLSN, which
// must have been written (Log.Written): history, also while the log is live.
// Corrupt if the chain breaks before; other errors as of Scan.
func Read(s segstore.Store, pool [16]byte, from Position, untilLSN uint64, visit func(*Frame) error) error {
	return ReadPast(s, pool, from, untilLSN, func(uint64) (Position, bool) { return Position{}, false }, visit)
}

// ReadPast is Read that asks, at the first frame of each segment, whether to
// leave it out: past returns the position of the last frame there. What was
// left out is not read but for that frame, which commits, by the checksums in
// the headers, to all before it: a position that does not fit is not believed,
// and the segment read; so is one after which the chain does not go on.
func ReadPast(s segstore.Store, pool [16]byte, from Position, untilLSN uint64, past func(seg uint64) (Position, bool), visit func(*Frame) error) error {
	c, err := newChain(s, pool)
	if err != nil {
		return err
	}
	if err := c.start(from); err != nil {
		return err
	}
	for c.cur.lastLSN() < untilLSN {
		if ok, err := c.leap(past, untilLSN); err != nil {
			return err
		} else if ok {
			continue
		}
		f, err := c.step()
		if err != nil {
			return err
		}
		c.ahead = windowBlocks
		if f.Length > windowBlocks {
			c.ahead = 1 // the next is likely to be as long, and its payload is not wanted
		}
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// leap goes over the segment that the walk is about to enter, to its last frame, if
// that is before untilLSN and where past says it is.
func (c *chain) leap(past func(seg uint64) (Position, bool), untilLSN uint64) (bool, error) {
	next, err := c.next()
	if isNotFrame(err) {
		return false, nil // step says what is wrong
	}
	if err != nil || next.addr.Block() != 0 {
		return false, err
	}
	p, ok := past(next.addr.Segment())
	if !ok || p.Addr.Segment() != next.addr.Segment() || p.LastLSN >= untilLSN || p.Seq < next.seq {
		return false, nil
	}
	was := c.cur
	c.ahead = 1 // nothing more of this segment is wanted
	if err = c.start(p); err == nil {
		_, err = c.next()
	}
	c.ahead = windowBlocks
	if err != nil { // a crash may leave the last frame of a segment, and not all before it
		c.cur = was
	}
	if isNotFrame(err) {
		return false, nil
	}
	return err == nil, err
}

// step goes to the next frame, which must be there.
func (c *chain) step() (*Frame, error) {
	h, err := c.next()
	var f *Frame
	if err == nil {
		f, err = c.frame(&h)
	}
	if isNotFrame(err) {
		return nil, fail.Wrap(fail.Corrupt, err, "segment %d: the log breaks after frame %d at block %d, lsn %d",
			c.cur.addr.Segment(), c.cur.seq, c.cur.addr.Block(), c.cur.lastLSN())
	}
	if err == nil {
		c.cur = h
	}
	return f, err
}

// extent is how far the chain reaches from where a walk began.
type extent struct {
	through   uint64 // the highest sequence number known durable
	unsure    []link // the last frame known durable, or else the first of all; then all after it
	segs      []uint64
	void      Addr // of a header that continues the chain, but whose frame is not whole
	discarded string
	lost      bool // frames that a witness knows were given up
}

// link is a frame of the chain, with the last super root up to it.
type link struct {
	header
	super Addr
}

func (e *extent) last() *link { return &e.unsure[len(e.unsure)-1] }

// add takes one more frame of the chain.
func (e *extent) add(h *header) {
	l := link{header: *h, super: h.lastSuper}
	if len(e.unsure) > 0 {
		l.super = max(l.super, e.last().super)
	}
	if h.kind == FrameSuper {
		l.super = h.addr
	}
	e.unsure = append(e.unsure, l)
	if n := len(e.segs); n == 0 || e.segs[n-1] != h.addr.Segment() {
		e.segs = append(e.segs, h.addr.Segment())
	}
	e.attest(h.through)
}

// attest learns that all frames up to through were durable.
func (e *extent) attest(through uint64) {
	e.through = max(e.through, through)
	for len(e.unsure) > 1 && e.unsure[1].seq <= e.through {
		e.unsure = e.unsure[1:]
	}
}

// end cuts the chain before frame i of unsure, which must not continue it.
func (e *extent) end(i int, why error) {
	e.void, e.discarded = e.unsure[i].addr, why.Error()
	e.unsure = e.unsure[:i]
}

// extent walks from the current frame to the end of the chain, judges whether
// it may end there, and verifies what nothing attests.
func (c *chain) extent(o ScanOptions) (*extent, error) {
	e := &extent{}
	e.add(&c.cur)
	// A super root that was found whole attests all before it. It may not be
	// durable itself: a process that was killed while writing it leaves that.
	e.attest(max(o.Attested, 1) - 1)
	var void Addr
	var why error
	for {
		h, err := c.next()
		if err == nil {
			void = h.addr
			_, err = c.frame(&h)
		}
		if isNotFrame(err) {
			why = err
			break
		}
		if err != nil {
			return nil, err
		}
		c.cur, void = h, 0
		e.add(&h)
	}
	if void != 0 {
		e.void, e.discarded = void, why.Error()
	}
	if err := c.mayEnd(e, o, why); err != nil {
		return nil, err
	}
	for i := 1; i < len(e.unsure); i++ {
		err := c.payload(&e.unsure[i].header)
		if isNotFrame(err) {
			e.end(i, err)
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

// mayEnd looks for a witness that the frame after the last one of the chain was
// durable. What it finds about earlier ones goes to e.
func (c *chain) mayEnd(e *extent, o ScanOptions, why error) error {
	missing := c.cur.seq + 1
	through, witness := uint64(0), ""
	if h, ok := readHint(c.store, c.pool); ok { // of whatever incarnation: a lost segment may be all that one had
		through, witness = h.Seq, "the hint"
	}
	if o.Attested >= missing {
		through, witness = o.Attested, "the super root that recovery starts from"
	}
	if through < missing {
		h, beyond, err := c.hunt(missing)
		if err != nil {
			return err
		}
		if h.through > through {
			through, witness = h.through, "frame "+h.addr.String()
		}
		if beyond > 0 && e.discarded == "" {
			e.discarded = notFramef("frame %d is missing; %d frames beyond it do not count", missing, beyond).Error()
		}
	}
	if through >= missing && !o.AcceptLoss {
		at := c.cur.addr + Addr(c.cur.blocks())
		return fail.Wrap(fail.Corrupt, why, "segment %d: frame %d, expected at block %d with lsn %d, is damaged or gone, though %s attests that it was durable",
			at.Segment(), missing, at.Block(), c.cur.lastLSN()+1, witness).
			WithHint("--accept-loss gives up what follows lsn %d", c.cur.lastLSN())
	}
	if through >= missing {
		e.lost = true
		e.discarded = notFramef("frame %d is damaged or gone; what follows lsn %d was given up", missing, c.cur.lastLSN()).Error()
	}
	e.attest(through)
	return nil
}

// hunt looks at all that lies behind the end of the chain for the frame that
// knows most to be durable, and stops at one that knows the missing frame.
// beyond counts the frames it saw.
func (c *chain) hunt(missing uint64) (best header, beyond int, err error) {
	found := notFrame("found")
	look := func(h *header) error {
		if h.seq < missing {
			return nil
		}
		beyond++
		if h.through > best.through {
			best = *h
		}
		if best.through >= missing {
			return found
		}
		return nil
	}
	seg, block := c.cur.addr.Segment(), int(c.cur.addr.Block())+c.cur.blocks()
	for _, n := range c.segs {
		if n < seg {
			continue
		}
		if n > seg {
			block = 0
		}
		if err := c.survey(n, block, look); err == error(found) {
			return best, beyond, nil
		} else if err != nil {
			return best, beyond, err
		}
	}
	return best, beyond, nil
}

// tail says what Resume needs to know.
func (c *chain) tail(from Position, e *extent) Tail {
	last := e.last()
	t := Tail{
		Position: last.position(), Incarnation: last.incarnation, Epoch: last.epoch, LastTime: last.time,
		LastSuper: last.super, Discarded: e.discarded, lost: e.lost,
	}
	if behind := last.addr + Addr(last.blocks()); int(last.addr.Block())+last.blocks() < c.segBlocks {
		t.void = append(t.void, behind)
		if t.Discarded == "" {
			t.free = behind
		}
	}
	if e.void != 0 && !slices.Contains(t.void, e.void) {
		t.void = append(t.void, e.void)
	}
	t.highest = last.addr.Segment()
	for _, n := range c.segs {
		_, used := slices.BinarySearch(e.segs, n)
		if n > from.Addr.Segment() && (!used || n > last.addr.Segment()) {
			t.Leftover = append(t.Leftover, n)
		}
		t.highest = max(t.highest, n)
	}
	for _, l := range e.unsure {
		n := l.addr.Segment()
		if l.seq > e.through && !slices.Contains(t.unsynced, n) {
			t.unsynced = append(t.unsynced, n)
		}
	}
	return t
}
