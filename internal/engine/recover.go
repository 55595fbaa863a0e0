package engine

import (
	"fmt"
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

var emptyRef tree.Ref

// progressEvery is how often recovery says how far it is.
const progressEvery = 500 * time.Millisecond

func (e *Engine) segmentOptions() segment.Options {
	o := segment.Options{
		Store: e.store, PoolID: e.super.pool, Now: e.clock.Now, Rand: e.opt.Rand,
		Logger: e.logger, MaxFrame: e.opt.MaxFrame,
		ObserveCommit: e.timer(CommitTime), ObserveSync: e.timer(SyncTime),
		Entered: e.digests.entered,
	}
	sp, _ := e.store.Space() // if it cannot tell, the least
	o.Reserve, o.LastReserve = reserves(sp.Capacity, e.store.SegmentSize())
	if e.opt.Segment != nil {
		e.opt.Segment(&o)
	}
	return o
}

// Open recovers a pool and readies it for serving. Reading state and acting
// on it are two steps: only when all of it was read and replayed does it make
// the tail durable, go on in a fresh segment, and write a checkpoint.
func Open(o Options) (*Engine, error) {
	e, tail, err := readWhole(o)
	if err != nil {
		return nil, err
	}
	e.startClock()
	e.progress("making the end of the log durable")
	if e.log, err = segment.Resume(e.segmentOptions(), tail); err != nil {
		e.release()
		return nil, err
	}
	if err := e.openVerifier(); err != nil {
		e.log.Abort()
		e.release()
		return nil, err
	}
	if err := e.tellSlots(); err != nil { // nothing is lost by it but space
		e.logger.Warn("finishing what the cleaner began", "err", err)
	}
	e.progress("writing a checkpoint")
	switch err := e.firstCheckpoint(); {
	case fail.Is(err, fail.NoSpace) && !e.gaveUp: // a full pool can be read, and emptied
		e.logger.Warn("no checkpoint when opening", "err", err)
	case err != nil:
		e.log.Abort()
		e.release()
		return nil, err
	}
	e.dropDrafts()
	if e.opt.CheckpointEvery > 0 {
		e.background.Add(4)
		go e.checkpointer()
		go e.retainer()
		go e.cleaner()
		go e.drain()
		e.wakeDrain()
	}
	return e, nil
}

// firstCheckpoint writes the one with which opening ends. Where operations were given
// up, no super root from before may serve any more, for what comes would be given up
// with them.
func (e *Engine) firstCheckpoint() error {
	err := e.checkpoint(true)
	if !e.gaveUp {
		return err
	}
	for i := 0; i < olderRoots && err == nil; i++ {
		err = e.checkpoint(true)
	}
	if err != nil {
		return fail.Wrap(fail.Other, err, "making durable what was given up")
	}
	return nil
}

// readState loads a super root, the newest (0) or the one that is at from, and
// rolls forward. Frames up to attested are known to have been durable. It
// writes nothing.
func (e *Engine) readState(write bool, from segment.Addr, attested uint64) (tail segment.Tail, root segment.Position, err error) {
	began := time.Now()
	sb, err := e.store.Superblock()
	if err != nil {
		if fail.Is(err, fail.NotFound) {
			if segs, lerr := e.store.List(); lerr == nil && len(segs) > 1 {
				return tail, root, fail.New(fail.Corrupt, "the superblock is gone, but there is a log of %d segments", len(segs)).WithHint("restore the file named pool")
			}
			return tail, root, fail.New(fail.NotFound, "no pool here").WithHint("varve init makes one")
		}
		return tail, root, err
	}
	if e.super, err = parseSuperblock(sb, write); err != nil {
		return tail, root, err
	}
	e.progress("looking for the last checkpoint")
	root, payload, err := e.findSuperRoot(from)
	if err != nil {
		return tail, root, err
	}
	s, err := parseSuperRoot(payload)
	if err != nil {
		return tail, root, err
	}
	if err := e.loadPool(s); err != nil {
		return tail, root, fail.Wrap(fail.Other, err, "loading checkpoint %d", s.number)
	}
	e.freed = e.space.all()
	if err := e.dropMissing(); err != nil {
		return tail, root, err
	}
	e.progress("reading the log after checkpoint %d", s.number)
	tail, err = e.rollForward(s, root.Seq, max(attested, root.Seq))
	if err != nil {
		return tail, root, err
	}
	e.recovery.Took = time.Since(began)
	e.logger.Info("recovered", "checkpoint", s.number, "cut", s.cut, "lsn", tail.LastLSN, "ops", e.recovery.Ops,
		"frames", e.recovery.Frames, "took", e.recovery.Took, "discarded", e.recovery.Discarded)
	return tail, root, nil
}

// findSuperRoot reads the newest super root frame, or the one at an address.
func (e *Engine) findSuperRoot(at segment.Addr) (root segment.Position, payload []byte, err error) {
	if at == 0 {
		f, err := segment.FindSuperRoot(e.store, e.super.pool)
		return f.Position, f.Payload, err
	}
	err = segment.Inspect(e.store, e.super.pool, at.Segment(), func(f segment.Found) error {
		if f.Frame.Position.Addr != at || f.Err != nil || f.Frame.Kind != segment.FrameSuper {
			return nil
		}
		root, payload = f.Frame.Position, make([]byte, f.Frame.Blocks*BlockSize)
		return f.Frame.ReadPayload(0, payload)
	})
	if err == nil && payload == nil {
		err = fail.New(fail.Corrupt, "segment %d block %d holds no super root", at.Segment(), at.Block())
	}
	return root, payload, err
}

// rollForward replays every operation after the super root's cut.
func (e *Engine) rollForward(s *superRoot, super, attested uint64) (segment.Tail, error) {
	left := orphans{super: super, data: map[uint64]struct{}{}}
	for _, d := range e.datasets {
		d.head.tree.Blocking(true)
	}
	var dec oplog.Decoder
	var op oplog.Op
	prev, told := s.pos, time.Now()
	opt := segment.ScanOptions{Attested: attested, AcceptLoss: e.opt.AcceptLoss}
	tail, err := segment.Scan(e.store, e.super.pool, s.pos, opt, func(f *segment.Frame) error {
		dec.Reset()
		left.frame(f)
		for lsn, rec := range f.Records() {
			if err := dec.Decode(rec, lsn, &op); err != nil {
				return err
			}
			if lsn <= s.cut {
				left.op(&op)
				continue
			}
			e.replayed, e.replayPos = lsn-1, prev
			e.lastTime.Store(op.Time)
			if err := e.recoverOp(&op, prev); err != nil {
				return fail.Wrap(fail.Other, err, "replaying lsn %d", lsn)
			}
			if _, lost := e.unmade[op.Dataset]; !lost {
				left.op(&op)
			}
			e.recovery.Ops++
		}
		e.recovery.Frames++
		prev = f.Position
		if now := time.Now(); now.Sub(told) >= progressEvery {
			told = now
			e.progress("replayed %d operations", e.recovery.Ops)
		}
		return nil
	})
	for _, d := range e.datasets {
		d.head.tree.Blocking(false)
	}
	e.replayed = tail.LastLSN
	e.progress("replayed %d operations", e.recovery.Ops)
	e.recovery.Discarded = tail.Discarded
	if err == nil {
		e.keepGivenUp(tail.LastLSN, prev)
		err = left.free(&e.space)
	}
	if err == nil {
		err = e.recountUsage(s.pos, tail)
	}
	return tail, err
}

// recoverOp is Prepare and Apply for an operation that is in the log already.
func (e *Engine) recoverOp(op *oplog.Op, pos segment.Position) error {
	if e.givenUp(op) {
		return nil
	}
	if !changesData(op.Kind) {
		im, err := e.momentFor(op)
		if err != nil {
			return e.giveUp(op, err)
		}
		if im == nil {
			return e.apply(op, pos, nil)
		}
		if op.Kind == oplog.Snapshot { // the others go on from it
			defer im.close()
		}
		return e.apply(op, pos, &prepared{im: im})
	}
	d := e.datasets[op.Dataset]
	if d == nil {
		return fail.New(fail.Corrupt, "%v: no such dataset", op)
	}
	d.head.tree.Blocking(true)
	dead, err := d.head.dies(op)
	if err != nil {
		return e.giveUp(op, err)
	}
	pre := &prepared{}
	if !dead.empty() {
		pre.old = d.freeze(op.LSN-1, pos)
	}
	if err := d.head.prepare(op); err != nil {
		if pre.old != nil {
			pre.old.vers.Close()
		}
		return e.giveUp(op, err)
	}
	return e.apply(op, pos, pre)
}

// momentFor returns the state at the past moment that an operation needs, nil if it
// needs none.
func (e *Engine) momentFor(op *oplog.Op) (*overlay, error) {
	of := op.Dataset
	switch {
	case op.Kind == oplog.Clone || op.Kind == oplog.Undo:
		of = op.Source
	case op.Kind == oplog.Rollback || op.Kind == oplog.Snapshot && op.At > 0:
	default:
		return nil, nil
	}
	d := e.datasets[of]
	if d == nil {
		return nil, fail.New(fail.Corrupt, "%v: dataset %d, of which it needs a moment, is not there", op, of)
	}
	return e.imageAt(d, op.At)
}

// loadPool fills the catalog from a super root's pool tree.
func (e *Engine) loadPool(s *superRoot) error {
	e.pool = e.cache.Open(s.pool)
	e.pool.Blocking(true)
	e.nextDataset, e.died = s.nextDataset, s.drops
	l := loader{e: e}
	var bad error
	err := e.pool.Scan(tree.Key{}, tree.MaxKey, func(k tree.Key, v []byte) bool {
		bad = l.item(k, v)
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err == nil {
		err = l.finish()
	}
	if err != nil {
		return err
	}
	c := checkpointRecord{number: s.number, cut: s.cut, time: s.time, age: s.age, pos: s.pos}
	e.lastCkpt.Store(c)
	e.lastTime.Store(s.lastTime)
	e.opened = s.age
	if len(e.checkpoints) > 0 {
		e.firstRecords.Store(e.checkpoints[0].pos)
	}
	for _, c := range e.checkpoints {
		if c.base {
			e.lastBase = c
		}
	}
	return nil
}

// loader takes the pool tree's items in key order; those of a kind may come
// before the dataset they belong to, so they are tied together at the end.
type loader struct {
	e     *Engine
	items []func() error
	forks []func() error // of lines, from lines that may come later
	runs  []func()       // of deaths: filed by pins, when those are known
}

func (l *loader) item(k tree.Key, v []byte) error {
	tag, dataset, number := splitKey(k)
	switch tag {
	case tagDataset:
		d, ref, err := parseDataset(dataset, v)
		if err != nil {
			return err
		}
		d.head.tree = l.e.cache.Open(ref)
		l.e.datasets[d.id] = d
		if d.destroyed.lsn == 0 {
			l.e.names[d.name] = d
		}
		return nil
	case tagCheckpoint:
		c, err := parseCheckpoint(number, v)
		l.e.checkpoints = append(l.e.checkpoints, c)
		return err
	case tagSegment:
		u, err := parseUsage(number, v)
		l.e.space.setUsage(u)
		return err
	case tagFree:
		return l.e.space.load(number, v)
	case tagClock:
		return l.e.readClock(v)
	case tagVerifier:
		return l.e.readVerifier(v)
	case tagSnapshot, tagRoot, tagDying, tagLeft, tagLine, tagStretches, tagProperty, tagState, tagDeaths, tagLoss:
		v = append([]byte(nil), v...)
		l.items = append(l.items, func() error { return l.belongs(tag, dataset, number, v) })
		return nil
	}
	return fail.New(fail.Corrupt, "the pool tree holds an item of unknown kind %q", tag)
}

func (l *loader) belongs(tag byte, dataset, number uint64, v []byte) error {
	d := l.e.datasets[dataset]
	if d == nil {
		return fail.New(fail.Corrupt, "the pool tree holds an item %q of dataset %d, which is not there", tag, dataset)
	}
	switch tag {
	case tagSnapshot:
		s, err := parseSnapshot(number, v)
		d.snaps = append(d.snaps, s)
		return err
	case tagRoot:
		r, err := parseRoot(number, v)
		d.roots = append(d.roots, r)
		if r.plain {
			d.plain = append(d.plain, r)
		}
		return err
	case tagDying:
		y, err := parseDying(number, v)
		d.dying = append(d.dying, y)
		return err
	case tagLeft:
		h, err := parseLeft(number, v)
		d.left = append(d.left, h)
		return err
	case tagDeaths:
		x, err := parseDeathRun(number, v)
		l.runs = append(l.runs, func() {
			i := slices.IndexFunc(d.lines, func(n *line) bool { return n.id == x.line })
			es := &d.lines[max(0, i)].estate
			if moved, ok := es.adopt(x); moved || !ok {
				l.e.touch(d)
				es.renamed = append(es.renamed, x)
			}
		})
		return err
	case tagProperty:
		return d.readProperty(number, v)
	case tagState:
		return d.readState(number, v)
	case tagStretches:
		return d.readStretches(number, v)
	case tagLoss:
		return d.readLoss(number, v)
	}
	return l.line(d, number, v)
}

// finish ties items to their datasets, and dying lists to their roots.
func (l *loader) finish() error {
	for _, fn := range l.items {
		if err := fn(); err != nil {
			return err
		}
	}
	for _, d := range l.e.datasets {
		if d.parent != 0 {
			if d.origin = l.e.datasets[d.parent]; d.origin == nil {
				return fail.New(fail.Corrupt, "%s was cloned from dataset %d, which is not there", d.name, d.parent)
			}
		}
		if len(d.lines) == 0 {
			return fail.New(fail.Corrupt, "%s has no line", d.name)
		}
		d.head.led, d.head.since = &d.now().led, d.created.lsn
		for _, r := range d.roots {
			d.pinRoot(r)
		}
		for _, s := range d.snaps {
			d.pinSnapshot(s)
		}
		d.pinReset(1)
		for _, y := range d.dying {
			if y.root = l.root(d, y.root.lsn); y.root == nil {
				return fail.New(fail.Corrupt, "dying list %d of %s has no root", y.id, d.name)
			}
		}
		for _, h := range d.left {
			if h.root = l.root(d, h.root.lsn); h.root == nil {
				return fail.New(fail.Corrupt, "what was left at %d of %s has no root", h.at, d.name)
			}
		}
	}
	for _, tie := range l.forks {
		if err := tie(); err != nil {
			return err
		}
	}
	for _, d := range l.e.datasets {
		for _, r := range slices.Clone(d.roots) { // of a snapshot destroyed at the very end
			if l.e.discard(l.e.records, d, r) {
				l.e.touch(d)
			}
		}
		for _, x := range d.lines {
			x.estate.data.pins, x.estate.nodes.pins = slices.Clone(x.dataPins.at), slices.Clone(x.nodePins.at)
			x.estate.asides.pins = slices.Clone(x.asidePins.at)
			if x.over() {
				l.e.ends[x] = struct{}{}
				l.e.touch(d)
			}
		}
	}
	for _, adopt := range l.runs {
		adopt()
	}
	return nil
}

// line takes a line of d.
func (l *loader) line(d *dataset, id uint64, v []byte) error {
	x, dataset, parent, err := parseLine(d, id, v)
	d.lines = append(d.lines, x)
	if dataset == 0 || err != nil {
		return err
	}
	l.forks = append(l.forks, func() error {
		if p := l.e.datasets[dataset]; p != nil {
			if i := slices.IndexFunc(p.lines, func(n *line) bool { return n.id == parent }); i >= 0 {
				if x.parent = p.lines[i]; x.fromAside && p.rootAt(x.fork) == nil {
					return fail.New(fail.Corrupt, "line %d of %s began with the snapshot of lsn %d of dataset %d, which is not there", id, d.name, x.fork, dataset)
				}
				x.parent.addFork(x, 1)
				return nil
			}
		}
		return fail.New(fail.Corrupt, "line %d of %s forked from line %d of dataset %d, which is not there", id, d.name, parent, dataset)
	})
	return nil
}

// root returns d's root at a moment, which one more walks; nil if there is none.
func (l *loader) root(d *dataset, lsn uint64) *root {
	r := d.rootAt(lsn)
	if r != nil {
		r.walks++
	}
	return r
}

// Identity returns what distinguishes this pool to clients, as text.
func (e *Engine) Identity() string { return e.super.name() }

// Status describes the pool now.
func (e *Engine) Status() Status {
	st := e.log.Stats()
	cs := e.cache.Stats()
	s := Status{
		PoolID: e.super.name(), State: "online", LastLSN: st.LastLSN, DurableLSN: st.DurableLSN,
		DirtyBytes: e.cache.DirtyBytes(), CacheBytes: cs.Bytes,
		LogBytes: st.Data + st.Node + st.Deaths + st.Super + st.Record, PayloadBytes: st.Data, NodeBytes: st.Node,
		Recovery: e.recovery, Started: e.started, QuarantinedBlocks: int(e.quarantined.Load()),
	}
	last := e.lastCkpt.Load().(checkpointRecord)
	s.Checkpoint, s.CheckpointLSN, s.CheckpointTime = last.number, last.cut, time.Unix(0, last.time).UTC()
	s.CheckpointedTime, s.CheckpointLate = e.lastOutcome().good.UTC(), e.lateCheckpoint()
	err := e.writable()
	if err == nil {
		err = e.log.Err()
	}
	if err != nil {
		s.State, s.Reason = "fail-stopped", fmt.Sprint(err)
	}
	if sp, err := e.store.Space(); err == nil {
		s.UsedBytes, s.FreeBytes, s.CapacityBytes = sp.Used, sp.Free, sp.Capacity
	}
	if segs, err := e.store.List(); err == nil {
		s.Segments, s.SegmentBytes = len(segs), e.store.SegmentSize()
	}
	dead := e.unreturned()
	e.gate.RLock()
	defer e.gate.RUnlock()
	s.Datasets = len(e.names)
	s.Space, s.Cleaner = e.poolSpace(dead), e.cleanerState()
	s.Clock.Jump, s.Clock.Suspect = e.clock.Suspect()
	s.Clock.Pool = time.Unix(0, e.poolTime()).UTC()
	s.Warnings = e.warnings(&s)
	for _, d := range e.names {
		s.Snapshots += len(d.snaps)
	}
	if len(e.checkpoints) > 0 {
		first := e.checkpoints[0]
		s.OldestLSN, s.OldestTime = first.cut, time.Unix(0, first.time).UTC()
	}
	return s
}
