package engine

import (
	"context"
	"fmt"
	"math"
	"slices"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/tree"
)

// maxDamage bounds the report: past it, the count is what matters.
const maxDamage = 1000

// checker verifies a pool: every frame of the chain and its operations, every
// node of every kept root, and that each extent points at payload of the
// checksum it claims. With data, every payload block is read.
type checker struct {
	e        *Engine
	ctx      context.Context
	data     bool
	progress func(done, total uint64)
	report   CheckReport
	upTo     segment.Position      // frames of higher sequence numbers are being written
	crcs     map[uint64][]blockSum // per segment
	seen     map[uint64]bool       // nodes visited, by address
	acct     account
}

// blockSum is what the log says of one block.
type blockSum struct {
	crc  uint32
	kind segment.Kind
}

// rootToCheck names one tree for the report.
type rootToCheck struct {
	name        string
	vers        *tree.Version
	pool        bool // the pool tree
	d           *dataset
	size        uint64 // of a volume: bytes
	whole       bool   // a share's links and names are checked as well
	seed        uint64
	inodes      int64
	mapped, own int64
	rough       bool    // they count what a dying list still holds
	behind      bool    // history starts from it, but does not show its moment: what it leads to may be free
	dying       []dying // of that: what is still to be entered as dead
}

// Check verifies the pool while it is served, as of a checkpoint that it takes
// first. What dies meanwhile is not given back before it has ended. progress may
// be nil; it counts bytes of log. Busy: the pool became full, and writers needed
// what the check still looked at.
func (e *Engine) Check(ctx context.Context, data bool, progress func(done, total uint64)) (CheckReport, error) {
	if e.log.Err() == nil && e.writable() == nil {
		if err := e.Checkpoint(); err != nil {
			return CheckReport{}, err
		}
	}
	return e.newChecker(ctx, data, progress).check()
}

// CheckStore verifies a pool that nobody serves. It writes nothing. Damage
// that keeps the pool from opening is in the report, not an error.
func CheckStore(ctx context.Context, store segstore.Store, data bool, progress func(done, total uint64)) (CheckReport, error) {
	var passed []error
	e, tail, err := readRoots(Options{Store: store}, reading{passed: func(err error) { passed = append(passed, err) }})
	if fail.Is(err, fail.Corrupt) {
		e := newEngine(Options{Store: store})
		defer e.release()
		_, _, _ = e.readState(false, 0, 0) // as far as it goes: what pool the frames have to be of
		c := e.newChecker(ctx, data, progress)
		c.damage("opening the pool", err)
		if serr := c.segments(); serr != nil {
			return c.report, serr
		}
		return c.report, nil
	}
	if err != nil {
		return CheckReport{}, err
	}
	defer e.release()
	c := e.newChecker(ctx, data, progress)
	for _, err := range passed {
		c.damage("a checkpoint that opening passes over", err)
	}
	c.upTo.Seq = tail.Seq // opening discards what a crash left behind it
	return c.check()
}

func (e *Engine) newChecker(ctx context.Context, data bool, progress func(done, total uint64)) *checker {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	return &checker{
		e: e, ctx: ctx, data: data, progress: progress,
		upTo: segment.Position{Seq: math.MaxUint64, Addr: math.MaxUint64}, crcs: make(map[uint64][]blockSum), seen: make(map[uint64]bool),
		acct: account{need: blockSet{}, owed: blockSet{}, own: blockSet{}},
	}
}

func (c *checker) check() (CheckReport, error) {
	e := c.e
	var end context.CancelFunc
	c.ctx, end = context.WithCancel(c.ctx)
	defer end()
	roots := c.roots(end)
	defer func() {
		for _, r := range roots {
			r.vers.Close()
		}
	}()
	err := c.verify(roots)
	if !e.endCheck(c) {
		return CheckReport{}, fail.New(fail.Busy, "the pool became full: writers needed what the check still looked at").
			WithHint("check it when less is written, or when it is not served: varve check DIR")
	}
	return c.report, err
}

// verify takes all steps of a check.
func (c *checker) verify(roots []rootToCheck) error {
	if c.e.log != nil {
		if err := c.e.log.Written(c.upTo.Seq); err != nil {
			return err
		}
	}
	for _, step := range []func() error{c.chain, c.segments} {
		if err := step(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(roots, func(a, b rootToCheck) int { // a node is looked at once
		switch {
		case a.behind == b.behind:
			return 0
		case a.behind:
			return 1
		}
		return -1
	})
	for _, r := range roots {
		if err := c.tree(r); err != nil {
			return err
		}
		if err := c.share(r); err != nil {
			return err
		}
		if err := c.figures(r); err != nil {
			return err
		}
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.account()
}

func (c *checker) damage(where string, err error) {
	if len(c.report.Damage) < maxDamage {
		c.report.Damage = append(c.report.Damage, Damage{Where: where, What: err.Error()})
	}
}

// roots opens every kept tree: heads, snapshots, bases, and the pool tree. From
// then on nothing of them is given back, unless end is called.
func (c *checker) roots(end func()) []rootToCheck {
	e := c.e
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	e.gate.Lock()
	defer e.gate.Unlock()
	e.checks.begin(c, end)
	last := e.lastCkpt.Load().(checkpointRecord)
	out := []rootToCheck{{name: "the pool tree", pool: true, vers: e.pool.Freeze(last.number)}}
	for _, d := range e.datasets {
		c.report.Datasets++
		c.report.Snapshots += len(d.snaps)
		d.mu.Lock()
		for _, r := range d.roots {
			out = append(out, rootToCheck{name: fmt.Sprintf("%s@lsn:%d", d.name, r.lsn), vers: r.version(e.cache), d: d, size: r.size, behind: !d.holdsMoment(r.lsn), dying: d.dyingOf(r)})
		}
		c.acct.take(d)
		head := d.freeze(e.lastLSN(), segment.Position{})
		out = append(out, rootToCheck{name: d.name, vers: head.vers, d: d, size: d.head.size, whole: !d.gone, seed: d.head.seed, inodes: d.head.inodes,
			mapped: d.head.mapped, own: d.head.own, rough: d.head.rough || slices.ContainsFunc(d.dying, func(y *dying) bool { return y.counts })})
		d.mu.Unlock()
	}
	if e.log != nil {
		c.upTo = e.log.Cut()
	}
	c.acct.free, c.acct.died = e.space.all(), e.died
	c.acct.payload = e.space.payloads(last.pos.Addr.Segment())
	return out
}

// chain follows the log from the first checkpoint to the last operation.
func (c *checker) chain() error {
	c.e.gate.RLock()
	cs := c.e.checkpoints
	if len(cs) == 0 {
		c.e.gate.RUnlock()
		return nil
	}
	defer c.e.reads.begin(cs[0].pos)()
	c.e.gate.RUnlock()
	last := c.e.lastCkpt.Load().(checkpointRecord)
	var dec oplog.Decoder
	var op oplog.Op
	err := segment.Read(c.e.store, c.e.super.pool, cs[0].pos, last.cut, func(f *segment.Frame) error {
		dec.Reset()
		for lsn, rec := range f.Records() {
			c.report.Ops++
			if err := dec.Decode(rec, lsn, &op); err != nil {
				c.damage(fmt.Sprintf("segment %d block %d", f.Position.Addr.Segment(), f.Position.Addr.Block()), err)
			}
		}
		return c.ctx.Err()
	})
	if unreadable(err) {
		c.damage("the log", err)
		return nil
	}
	return err
}

// segments looks at every frame of every segment and notes the checksum of
// each payload block.
func (c *checker) segments() error {
	segs, err := c.e.store.List()
	if err != nil {
		return err
	}
	size := uint64(c.e.store.SegmentSize())
	buf := make([]byte, oplog.MaxExtentBlocks*BlockSize)
	for i, s := range segs {
		sums := make([]blockSum, size/BlockSize)
		err := segment.Inspect(c.e.store, c.e.super.pool, s.Number, func(f segment.Found) error {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if f.Beyond || f.Frame.Position.Seq > c.upTo.Seq {
				return nil // left by a crash, or being written
			}
			if f.Err != nil && c.moved(s.Number) {
				return errMoved
			}
			if f.Err != nil {
				c.damage(fmt.Sprintf("segment %d block %d", s.Number, f.Frame.Position.Addr.Block()), f.Err)
				return nil
			}
			c.report.Frames++
			return c.frame(f.Frame, sums, buf)
		})
		switch {
		case err != nil && c.ctx.Err() == nil && c.moved(s.Number):
			continue
		case unreadable(err):
			c.damage(fmt.Sprintf("segment %d", s.Number), err)
		case err != nil:
			return err
		}
		c.crcs[s.Number] = sums
		c.progress(uint64(i+1)*size, uint64(len(segs))*size)
	}
	return c.slots(size)
}

// errMoved ends the look at a segment that has no file any more.
var errMoved = fail.New(fail.NotFound, "the segment was moved")

// moved reports whether a segment was moved into a slot meanwhile, where slots
// finds it, or was dead as a whole and is gone.
func (c *checker) moved(seg uint64) bool {
	segs, err := c.e.store.List()
	return err == nil && !slices.ContainsFunc(segs, func(s segstore.Segment) bool { return s.Number == seg })
}

// anyKind is what is known of a block that was moved: a slot does not say what
// is in it.
const anyKind segment.Kind = 0xff

// slots reads the tables of slots, and the blocks that were moved together with
// others: what the trees say of them is compared with what is there.
func (c *checker) slots(size uint64) error {
	store, ok := c.e.store.(compactor)
	if !ok {
		return nil
	}
	store.CheckTables(func(slot uint64, err error) { c.damage(fmt.Sprintf("slot %d", slot), err) })
	block := make([]byte, BlockSize)
	for _, seg := range store.Relocated() {
		if !c.e.space.knows(seg) {
			continue // given up, and only its slot is still there
		}
		sums := make([]blockSum, size/BlockSize)
		_, ranges := store.Held(seg)
		for _, r := range ranges {
			for b := r.Block; b < r.Block+r.Blocks; b++ {
				if err := c.ctx.Err(); err != nil {
					return err
				}
				a := segment.MakeAddr(seg, uint32(b))
				if c.acct.free.has(uint64(a)) {
					sums[b].kind = anyKind
					continue
				}
				if err := store.ReadAt(seg, block, int64(b)*BlockSize); err != nil && c.e.space.knows(seg) {
					c.damage(fmt.Sprintf("segment %d block %d", seg, b), err)
					continue
				}
				sums[b] = blockSum{segment.Checksum(block), anyKind}
			}
		}
		c.crcs[seg] = sums
		delete(c.acct.payload, seg) // only what was alive when it was moved is there
	}
	return nil
}

// frame notes the checksums of one frame's payload and, if asked to, reads it.
func (c *checker) frame(f *segment.Frame, sums []blockSum, buf []byte) error {
	base := int(f.PayloadAddr(0).Block())
	for r := range f.Runs() {
		for i := r.First; i < r.First+r.N; i++ {
			sums[base+i] = blockSum{f.CRC(i), r.Kind}
		}
		for i := r.First; c.data && i < r.First+r.N; {
			n := c.stretch(f, i, min(r.First+r.N-i, len(buf)/BlockSize))
			if n == 0 {
				i++ // freed: what is there may be gone
				continue
			}
			if err := f.ReadPayload(i, buf[:n*BlockSize]); err != nil {
				if !unreadable(err) {
					return err
				}
				c.damage(fmt.Sprintf("segment %d", f.Position.Addr.Segment()), err)
			}
			c.report.Bytes += uint64(n) * BlockSize
			i += n
		}
	}
	return nil
}

// stretch returns how many payload blocks from i on, n at the most, are not
// free.
func (c *checker) stretch(f *segment.Frame, i, n int) (m int) {
	for m < n && !c.acct.free.has(uint64(f.PayloadAddr(i+m))) {
		m++
	}
	return m
}

// tree walks one tree, leaving out what another root showed already, and what is
// below nodes that cannot be read.
func (c *checker) tree(r rootToCheck) error {
	lost := func(err error) bool {
		if !unreadable(err) {
			return false
		}
		c.damage(r.name, err)
		c.acct.blind = true
		return true
	}
	return tree.Walk(r.vers, tree.Key{}, tree.MaxKey, func(n tree.Node) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if n.Ref.Addr != 0 && !c.later(segment.Addr(n.Ref.Addr)) {
			if c.seen[n.Ref.Addr] && !(r.behind && len(r.dying) > 0) { // else its own lists say what of it counts
				return tree.SkipNode
			}
			c.seen[n.Ref.Addr] = true
			c.checkSum(r.name, segment.Addr(n.Ref.Addr), n.Ref.CRC, segment.Node)
			c.acct.need.mark(n.Ref.Addr, 1)
		}
		if n.Count == 0 { // it is lost
			return tree.SkipNode
		}
		c.report.Nodes++
		if n.Level > 0 || r.pool || r.behind && len(r.dying) == 0 {
			return nil
		}
		leaf, from := r.vers, n.First
		if n.Ref.Addr != 0 { // else it is in memory only: as the log says since the last checkpoint
			leaf, from = c.e.cache.OpenVersion(n.Ref), tree.Key{}
			defer leaf.Close()
		}
		if err := c.leaf(r, leaf, from, n.Count); err != nil && !lost(err) {
			return err
		}
		return nil
	}, lost)
}

// leaf verifies the extents of one leaf: n items of a tree, from a key on.
func (c *checker) leaf(r rootToCheck, leaf *tree.Version, from tree.Key, n int) error {
	ino, end := uint64(0), uint64(0)
	return leaf.Blocking().Scan(from, tree.MaxKey, func(k tree.Key, v []byte) bool {
		n--
		more := n > 0 // behind them is another leaf
		if !isExtent(k) {
			return more
		}
		x, err := parseExtent(k, v)
		if err == nil && r.behind && !slices.ContainsFunc(r.dying, func(y dying) bool { return y.has(k, x) }) {
			return more
		}
		if x.ino != ino {
			ino, end = x.ino, 0
		}
		switch {
		case err != nil:
			c.damage(r.name, err)
			return more
		case x.block < end:
			c.damage(r.name, fail.New(fail.Corrupt, "%s block %d is mapped twice", owner(ino), x.block))
		case r.d.kind == volumeKind && x.end()*BlockSize > (r.size+BlockSize-1)/BlockSize*BlockSize:
			c.damage(r.name, fail.New(fail.Corrupt, "block %d is beyond the volume's end", x.end()-1))
		}
		end = x.end()
		c.report.Extents++
		c.acct.need.mark(x.addr, x.count)
		for i := uint64(0); i < x.count; i++ {
			crc := uint32(x.crc[4*i]) | uint32(x.crc[4*i+1])<<8 | uint32(x.crc[4*i+2])<<16 | uint32(x.crc[4*i+3])<<24
			c.checkSum(fmt.Sprintf("%s block %d", r.name, x.block+i), segment.Addr(x.addr+i), crc, segment.Data)
		}
		return more
	})
}

// dyingOf returns the dying lists that are still to be read from a root. d.mu is
// held.
func (d *dataset) dyingOf(r *root) (out []dying) {
	for _, y := range d.dying {
		if y.root == r {
			out = append(out, *y)
		}
	}
	return out
}

// has reports whether an extent of the old tree is still to be entered.
func (y *dying) has(k tree.Key, x extent) bool {
	return !k.Less(y.next) && k.Less(y.end) && x.birth > y.born
}

// later reports whether a node was in memory only when the check began: a
// checkpoint has written it since.
func (c *checker) later(a segment.Addr) bool {
	sums := c.crcs[a.Segment()]
	return a > c.upTo.Addr && (int(a.Block()) >= len(sums) || sums[a.Block()] == blockSum{})
}

// checkSum compares what a tree says of a block with what its frame says.
func (c *checker) checkSum(where string, a segment.Addr, crc uint32, kind segment.Kind) {
	sums := c.crcs[a.Segment()]
	switch {
	case int(a.Block()) >= len(sums):
		c.damage(where, fail.New(fail.Corrupt, "points at segment %d block %d, which is not there", a.Segment(), a.Block()))
	case sums[a.Block()] != blockSum{crc, kind} && sums[a.Block()] != blockSum{crc, anyKind}:
		c.damage(where, fail.New(fail.Corrupt, "points at segment %d block %d, which is not the %s it claims", a.Segment(), a.Block(), kind))
	}
}
