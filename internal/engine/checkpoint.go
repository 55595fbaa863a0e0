package engine

import (
	"math"
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/tree"
)

// When the background takes checkpoints.
const (
	checkpointLog  = 256 << 20 // bytes of log since the last one, at the least
	checkpointMost = 1 << 30   // bytes of log that force one
	smallLog       = 4 << 20   // below this the timer backs off
	worthwhile     = 4         // and while the log, which got the last one's nodes too, grew less than this many times the dirty nodes
	backOff        = 12        // times the interval
)

// cut is what the short pause of a checkpoint takes along: everything that
// the state as of one LSN consists of.
type cut struct {
	checkpointRecord
	sets        []*setCut
	records     map[tree.Key][]byte
	nextDataset uint64
	lastTime    int64 // of the last operation before the cut
	logBytes    int64
	floor       segment.Position    // no replay of history starts before it
	freed       map[uint64][]uint64 // segments whose map of free blocks is written: the bits
}

// setCut is a dataset that changed since the last cut.
type setCut struct {
	d       *dataset
	rec     datasetFields
	root    *root   // the head as of the cut
	fresh   []*root // roots that are not on disk yet
	retired []retiredHead
	left    []*leftHead
	lines   []*lineCut
	more    bool // there is more to do than this checkpoint did
}

// lineCut is what a cut takes of one line.
type lineCut struct {
	l                  *line
	fork, horizon      uint64 // where history begins: behind everything, where all of the line is out of it
	deaths             []death
	dataPins, nodePins []uint64
	asidePins          []uint64
	absorbed           []ancestor // that it takes over
	returned           []ancestor // that gave back what they had of it
}

// Checkpoint writes everything as of now and the super root that names it.
// When nothing was logged since the last one it does nothing.
func (e *Engine) Checkpoint() error { return e.checkpoint(false) }

// checkpoint is Checkpoint; always writes one in any case, as opening does: so
// that the newest segment holds a super root, which the hint attests.
func (e *Engine) checkpoint(always bool) error {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	full := e.digests.full()
	err := e.takeCheckpoint(always)
	if e.noteCheckpoint(err); err == nil {
		e.digests.keep(e, full) // its super root is behind them
	}
	return err
}

func (e *Engine) takeCheckpoint(always bool) error {
	if err := e.writable(); err != nil {
		return err
	}
	began := time.Now()
	c := e.flip(always)
	if c == nil {
		return nil
	}
	e.observe(PauseTime, began)
	err := e.writeCheckpoint(c)
	if err != nil {
		e.takeBack(c)
	} else {
		e.observe(CheckpointTime, began)
	}
	return err
}

// flip is the pause: it freezes every touched tree and takes what changed.
// nil: nothing was logged since the last cut, and it is not wanted always.
func (e *Engine) flip(always bool) *cut {
	last := e.lastCkpt.Load().(checkpointRecord)
	e.gate.Lock()
	defer e.gate.Unlock()
	lsn := e.log.LastLSN()
	more := e.moreToDo.Swap(false)
	if lsn == last.cut && !always && !more {
		return nil
	}
	c := &cut{
		checkpointRecord: checkpointRecord{number: last.number + 1, cut: lsn, time: e.poolTime(), pos: e.log.Cut()},
		nextDataset:      e.nextDataset, lastTime: e.lastTime.Load(), logBytes: e.log.Appended(),
	}
	c.age = e.age()
	c.base = lsn-e.lastBase.cut >= e.opt.BaseOps || c.time-e.lastBase.time >= int64(e.opt.BaseAge)
	c.records = e.records
	e.records = make(map[tree.Key][]byte)
	e.bury(c)
	e.touchMu.Lock() // who lets go of a view does not hold the gate
	sets := e.touchedSets
	e.touchedSets = nil
	e.touchMu.Unlock()
	for _, d := range sets {
		if e.datasets[d.id] != d {
			continue // it is buried
		}
		c.sets = append(c.sets, d.cut(c, e))
	}
	c.floor = e.recordFloor(c)
	e.thinCheckpoints(c)
	return c
}

// cut takes d's part of a checkpoint. The gate is held exclusively.
func (d *dataset) cut(c *cut, e *Engine) *setCut {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.touched.Store(false)
	s := &setCut{d: d, retired: append(d.retired, retiredHead{d.head.tree, d.now()}), left: slices.Clone(d.left)}
	if d.gone {
		for _, r := range d.plain {
			r.plain = false
			e.discard(c.records, d, r)
		}
		d.plain = nil
	} else {
		s.root = d.addRoot(d.freeze(c.cut, c.pos))
		s.root.base = s.root.base || c.base
		for _, gone := range d.thin(s.root) {
			c.records[itemKey(tagRoot, d.id, gone.lsn)] = nil
		}
	}
	s.fresh, d.fresh = d.fresh, nil
	d.retired = nil
	for _, y := range d.dying {
		c.records[itemKey(tagDying, d.id, y.id)] = dyingRecord(y)
	}
	for _, l := range d.left {
		c.records[itemKey(tagLeft, d.id, l.at)] = leftRecord(l)
	}
	s.rec = d.fields()
	for _, l := range d.lines {
		s.lines = append(s.lines, l.cut(c))
	}
	d.recordStretches(c.records)
	return s
}

// cut takes l's part. d.mu is held.
func (l *line) cut(c *cut) *lineCut {
	x := &lineCut{
		l: l, fork: l.fork, horizon: l.d.horizon.lsn, deaths: l.led.deaths,
		dataPins: slices.Clone(l.dataPins.at), nodePins: slices.Clone(l.nodePins.at), asidePins: slices.Clone(l.asidePins.at),
		absorbed: l.estate.absorbing, returned: l.estate.returning,
	}
	if l.d.gone || l.end() != 0 && l.end() <= x.horizon {
		x.horizon = math.MaxUint64
	}
	l.estate.mu.Lock()
	l.estate.unfiled += l.led.blocks
	l.estate.mu.Unlock()
	l.led.deaths, l.led.blocks, l.estate.absorbing, l.estate.returning = nil, 0, nil, nil
	c.records[itemKey(tagLine, l.d.id, l.id)] = lineRecord(l)
	return x
}

// takeBack undoes a flip whose checkpoint could not be written, so that the
// next one carries it all.
func (e *Engine) takeBack(c *cut) {
	e.gate.Lock()
	defer e.gate.Unlock()
	for k, v := range c.records {
		if _, newer := e.records[k]; !newer {
			e.records[k] = v
		}
	}
	e.moreToDo.Store(true)
	e.space.redo(c.freed)
	for _, s := range c.sets {
		d := s.d
		d.mu.Lock()
		for _, x := range s.lines {
			x.l.estate.absorbing = append(x.absorbed, x.l.estate.absorbing...)
			x.l.estate.returning = append(x.returned, x.l.estate.returning...)
			x.l.led.deaths = append(x.deaths, x.l.led.deaths...)
		}
		d.retired = append(s.retired[:len(s.retired)-1], d.retired...) // the last one is the head's
		d.fresh = append(s.fresh, d.fresh...)
		d.mu.Unlock()
		e.touch(d)
	}
}

// writeCheckpoint writes what a flip took: tree nodes bottom-up, death pages,
// the pool tree, the super root. New operations go on meanwhile.
func (e *Engine) writeCheckpoint(c *cut) error {
	if err := e.writeNodes(c); err != nil {
		return err
	}
	if err := e.freeDrops(); err != nil {
		return err
	}
	for _, s := range c.sets {
		if err := e.writeSet(c, s); err != nil {
			if fail.Is(err, fail.Corrupt) {
				e.stop(err) // what is needed and what is free contradict each other
			}
			return err
		}
	}
	c.records[itemKey(tagCheckpoint, 0, c.number)] = checkpointValue(c.checkpointRecord)
	last := e.lastCkpt.Load().(checkpointRecord)
	for _, u := range e.log.Usage(last.pos.Addr.Segment()) {
		e.space.setUsage(u)
		c.records[itemKey(tagSegment, 0, u.Segment)] = usageRecord(u)
	}
	c.freed = e.space.flush(c.records)
	if err := e.writePool(c); err != nil {
		return err
	}
	e.settle(c)
	return nil
}

// writeNodes writes the fresh roots' nodes. Those that are a snapshot's of the
// past alone die with its moment: no later root has them.
func (e *Engine) writeNodes(c *cut) error {
	var vs []*tree.Version
	for _, s := range c.sets {
		for _, r := range s.fresh {
			if !r.aside {
				vs = append(vs, r.vers)
			}
		}
	}
	if err := e.cache.WriteOut(vs, e.putNodes); err != nil {
		return err
	}
	for _, s := range c.sets {
		for _, r := range s.fresh {
			if !r.aside {
				continue
			}
			err := e.cache.WriteOut([]*tree.Version{r.vers}, func(pages [][]byte, crcs []uint32) (uint64, error) {
				addr, err := e.putNodes(pages, crcs)
				for i := range uint64(len(pages)) {
					if err == nil {
						x := s.line(s.d.lineOf(r.lsn))
						x.deaths = append(x.deaths, death{kind: asideNode, count: 1, addr: addr + i, birth: r.lsn, death: r.lsn + 1})
					}
				}
				return addr, err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveNodes bounds the nodes of a left head that one checkpoint enters.
const leaveNodes = 16384

var errStepDone = fail.New(fail.Other, "one step is done")

// leave enters the deaths of nodes that only a left head had: one step. They are
// on disk now. It tells where the next step begins.
func (e *Engine) leave(d *dataset, x *lineCut, l *leftHead) (next tree.Key, done bool, err error) {
	d.mu.Lock()
	v := l.root.version(e.cache)
	d.mu.Unlock()
	defer v.Close()
	nodes, last := 0, l.next
	led := ledger{deaths: x.deaths}
	err = tree.Nodes(v, l.next, func(n tree.Node) error {
		if n.Ref.Birth <= l.born {
			return tree.SkipNode // so is all below it
		}
		if n.First.Less(l.next) {
			return nil // entered by an earlier step
		}
		if nodes >= leaveNodes && last.Less(n.First) {
			next = n.First
			return errStepDone
		}
		nodes, last = nodes+1, n.First
		led.dropNode(tree.Drop{Addr: n.Ref.Addr, Birth: n.Ref.Birth, Death: l.at})
		return nil
	}, e.keepBelow(d))
	if err == nil || err == errStepDone {
		x.deaths = led.deaths
	}
	if err == errStepDone {
		return next, false, nil
	}
	return next, true, err
}

// keepBelow says that a node of a tree which d gave up cannot be read: what is
// below it is never freed, and nothing else is held up by that.
func (e *Engine) keepBelow(d *dataset) func(error) bool {
	return func(err error) bool {
		if !unreadable(err) {
			return false
		}
		e.quarantined.Add(1)
		e.logger.Error("a node that was given up cannot be read; what is below it stays", "dataset", d.name, "err", err)
		return true
	}
}

// enterLeft makes a step with each left head.
func (e *Engine) enterLeft(c *cut, s *setCut) error {
	for _, l := range s.left {
		next, done, err := e.leave(s.d, s.line(s.d.lineOf(l.root.lsn)), l)
		if err != nil {
			return err
		}
		if s.more = s.more || !done; !done {
			l.next = next
			c.records[itemKey(tagLeft, s.d.id, l.at)] = leftRecord(l)
			continue
		}
		c.records[itemKey(tagLeft, s.d.id, l.at)] = nil
		s.d.mu.Lock()
		s.d.left = slices.DeleteFunc(s.d.left, func(x *leftHead) bool { return x == l })
		l.root.walks--
		s.d.mu.Unlock()
		s.more = true // its root may go
	}
	return nil
}

// takeDrops moves the nodes that trees of the line stopped using up to the cut
// to the deaths.
func (x *lineCut) takeDrops(cut uint64) {
	l := x.l
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	led := ledger{deaths: x.deaths}
	late := l.drops[:0]
	for _, n := range l.drops {
		if n.Death > cut {
			late = append(late, n) // of a freeze after this cut: the next checkpoint's
			continue
		}
		led.dropNode(n)
	}
	l.drops, x.deaths = late, led.deaths
}

// line returns what the cut took of a line.
func (s *setCut) line(l *line) *lineCut {
	i := slices.IndexFunc(s.lines, func(x *lineCut) bool { return x.l == l })
	return s.lines[i]
}

// putNodes appends tree nodes to the log.
func (e *Engine) putNodes(pages [][]byte, crcs []uint32) (uint64, error) {
	data := make([]byte, 0, len(pages)*BlockSize)
	for _, p := range pages {
		data = append(data, p...)
	}
	return e.putBlocks(segment.Node, data, crcs)
}

// putBlocks appends blocks that no operation refers to: nodes, death pages.
func (e *Engine) putBlocks(kind segment.Kind, data []byte, crcs []uint32) (uint64, error) {
	n := len(data) / BlockSize
	if err := e.log.AdmitLast(n); err != nil {
		return 0, err
	}
	p := []segment.Piece{{Kind: kind, Data: data, CRC: crcs}}
	if _, err := e.log.Append(p, nil); err != nil {
		e.log.Release(n)
		return 0, err
	}
	return uint64(p[0].Addr), nil
}

// writeSet writes one dataset's death pages and its items of the pool tree.
func (e *Engine) writeSet(c *cut, s *setCut) error {
	d := s.d
	for _, t := range s.retired {
		drops, err := t.tree.TakeDrops(e.keepBelow(d))
		if err != nil {
			return err
		}
		d.mu.Lock()
		t.line.drops = append(t.line.drops, drops...)
		d.mu.Unlock()
	}
	for _, x := range s.lines {
		x.takeDrops(c.cut)
		if err := e.enterBegan(x); err != nil {
			return err
		}
	}
	if err := e.enterLeft(c, s); err != nil {
		return err
	}
	if err := e.fileDeaths(c, s); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range s.fresh {
		ref, ok := r.vers.Ref()
		if !ok || ref.Addr&scratchBit != 0 {
			return fail.New(fail.Other, "root of %s at lsn %d was not written to the log", d.name, r.lsn)
		}
		r.ref = ref
	}
	for _, r := range s.fresh {
		c.records[itemKey(tagRoot, d.id, r.lsn)] = rootRecord(r)
	}
	var ref tree.Ref
	if s.root != nil {
		ref = s.root.ref
		c.records[itemKey(tagRoot, d.id, s.root.lsn)] = rootRecord(s.root)
	}
	c.records[itemKey(tagDataset, d.id, 0)] = s.rec.record(d.deathSeq, ref)
	return nil
}

// writePool brings the pool tree up to date and writes it and the super root.
func (e *Engine) writePool(c *cut) error {
	e.pool.Blocking(true)
	for k, v := range c.records {
		if err := e.pool.Prepare(k, k); err != nil {
			return err
		}
		if v == nil {
			e.pool.Delete(k)
		} else {
			e.pool.Put(k, v)
		}
	}
	v := e.pool.Freeze(c.number)
	defer v.Close()
	if err := e.cache.WriteOut([]*tree.Version{v}, e.putNodes); err != nil {
		return err
	}
	ref, ok := v.Ref()
	if !ok {
		return fail.New(fail.Other, "the pool tree was not written")
	}
	drops, err := e.pool.TakeDrops(nil)
	if err != nil {
		return err
	}
	e.drops = append(e.drops, drops...)
	s := superRoot{number: c.number, cut: c.cut, time: c.time, age: c.age, lastTime: c.lastTime, nextDataset: c.nextDataset, pos: c.pos, pool: ref, drops: e.drops}
	if _, err = e.log.SuperRoot(s.encode()); err == nil {
		e.died, e.drops = e.drops, nil
	}
	return err
}

// settle makes the written state the one to start from: references to memory
// become references to disk, and the versions let go.
func (e *Engine) settle(c *cut) {
	e.gate.Lock()
	defer e.gate.Unlock()
	var trees []*tree.Tree
	for _, s := range c.sets {
		s.d.mu.Lock()
		for _, r := range s.fresh {
			r.vers.Close()
			r.vers = nil
			if e.discard(e.records, s.d, r) { // what needed it is gone
				e.touch(s.d)
			}
			if !r.aside {
				continue
			}
			if r.from.shared--; e.discard(e.records, s.d, r.from) {
				e.touch(s.d)
			}
		}
		for _, r := range slices.Clone(s.d.roots) { // a step of the checkpoint may have been the last that needed one, or a view
			if (len(s.left) > 0 || r.aside) && e.discard(e.records, s.d, r) {
				e.touch(s.d)
			}
		}
		if s.more {
			e.touch(s.d)
			e.moreToDo.Store(true)
		}
		trees = append(trees, s.d.head.tree)
		for _, t := range s.retired[:len(s.retired)-1] { // the last one is the head's
			t.tree.Close()
		}
		s.d.mu.Unlock()
	}
	e.cache.Settle(append(trees, e.pool))
	e.lastCkpt.Store(c.checkpointRecord)
	e.checkpoints = append(e.checkpoints, c.checkpointRecord)
	e.handOver(c)
	e.wakeBurial()
	e.ckptLog.Store(c.logBytes)
	if c.base {
		e.lastBase = c.checkpointRecord
	}
}

// checkpointer takes checkpoints: by time, by bytes of log, by dirty memory,
// and when woken.
func (e *Engine) checkpointer() {
	defer e.background.Done()
	tick := time.NewTicker(min(e.opt.CheckpointEvery, time.Second))
	defer tick.Stop()
	last := time.Now()
	for {
		now := time.Now()
		select {
		case <-e.closing:
			return
		case <-e.ckptWake:
		case now = <-tick.C:
			if !e.opt.checkpointDue(now.Sub(last), e.log.Appended()-e.ckptLog.Load(), e.cache.DirtyBytes()) {
				continue
			}
		}
		last = now
		if err := e.Checkpoint(); err != nil {
			e.logger.Error("checkpoint", "err", err)
		} else if e.short() {
			e.wakeRetain() // it may give back what this one freed
		}
	}
}

// checkpointDue decides by what a checkpoint would save and what it costs: by the
// time since the last one, and the bytes of log and of dirty nodes since.
func (o *Options) checkpointDue(since time.Duration, grown, dirty int64) bool {
	switch {
	case grown >= checkpointMost, dirty >= o.CacheBytes/2:
		return true
	case grown >= checkpointLog && grown >= 5*dirty:
		return true
	case grown < smallLog, grown < worthwhile*dirty:
		return since >= backOff*o.CheckpointEvery
	}
	return since >= o.CheckpointEvery
}

func (e *Engine) wakeCheckpoint() {
	wake(e.ckptWake)
}
