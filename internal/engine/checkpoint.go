package engine

import (
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
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
	logBytes    int64
}

// setCut is a dataset that changed since the last cut.
type setCut struct {
	d       *dataset
	rec     datasetFields
	root    *root   // the head as of the cut
	fresh   []*root // roots that are not on disk yet
	deaths  []death
	retired []*tree.Tree
	left    []leftHead
	head    *tree.Tree
}

// Checkpoint writes everything as of now and the super root that names it.
// When nothing was logged since the last one it does nothing.
func (e *Engine) Checkpoint() error { return e.checkpoint(false) }

// checkpoint is Checkpoint; always writes one in any case, as opening does: so
// that the newest segment holds a super root, which the hint attests.
func (e *Engine) checkpoint(always bool) error {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	err := e.takeCheckpoint(always)
	e.noteCheckpoint(err)
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
	if lsn == last.cut && !always {
		return nil
	}
	c := &cut{
		checkpointRecord: checkpointRecord{number: last.number + 1, cut: lsn, time: e.poolTime(), pos: e.log.Cut()},
		records:          e.records, nextDataset: e.nextDataset, logBytes: e.log.Appended(),
	}
	c.base = lsn-e.lastBase.cut >= e.opt.BaseOps || c.time-e.lastBase.time >= int64(e.opt.BaseAge)
	e.records = make(map[tree.Key][]byte)
	for _, d := range e.touchedSets {
		c.sets = append(c.sets, d.cut(c, e))
	}
	e.touchedSets = e.touchedSets[:0]
	return c
}

// cut takes d's part of a checkpoint. The gate is held exclusively.
func (d *dataset) cut(c *cut, e *Engine) *setCut {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.touched = false
	r := d.freeze(c.cut, c.pos)
	s := &setCut{d: d, root: d.addRoot(r), deaths: d.led.deaths, retired: d.retired, left: d.left, head: d.head.tree}
	s.root.base = s.root.base || c.base
	s.fresh, d.fresh = d.fresh, nil
	d.led.deaths, d.retired, d.left = nil, nil, nil
	for _, y := range d.dying {
		c.records[itemKey(tagDying, d.id, y.id)] = dyingRecord(y)
	}
	for _, gone := range d.thin(s.root) {
		c.records[itemKey(tagRoot, d.id, gone.lsn)] = nil
	}
	s.rec = d.fields()
	return s
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
	for _, s := range c.sets {
		d := s.d
		d.mu.Lock()
		d.led.deaths = append(s.deaths, d.led.deaths...)
		d.retired = append(s.retired, d.retired...)
		d.left = append(s.left, d.left...)
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
	for _, s := range c.sets {
		if err := e.writeSet(c, s); err != nil {
			return err
		}
	}
	c.records[itemKey(tagCheckpoint, 0, c.number)] = checkpointValue(c.checkpointRecord)
	last := e.lastCkpt.Load().(checkpointRecord)
	for _, u := range e.log.Usage(last.pos.Addr.Segment()) {
		c.records[itemKey(tagSegment, 0, u.Segment)] = usageRecord(u)
	}
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
						s.deaths = append(s.deaths, death{kind: nodeDeath, count: 1, addr: addr + i, birth: r.lsn, death: r.lsn + 1})
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

// leave enters the deaths of the nodes that only the left head had. They are
// on disk now.
func (e *Engine) leave(d *dataset, led *ledger, l leftHead) error {
	d.mu.Lock()
	v := l.root.version(e.cache)
	d.mu.Unlock()
	defer v.Close()
	return tree.Walk(v, tree.Key{}, tree.MaxKey, func(n tree.Node) error {
		if n.Ref.Birth <= l.born {
			return tree.SkipNode // so is all below it
		}
		led.dropNode(tree.Drop{Addr: n.Ref.Addr, Birth: n.Ref.Birth, Death: l.at})
		return nil
	})
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
	if err := e.log.Admit(n, true); err != nil {
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
	for _, t := range append(s.retired, s.head) {
		drops, err := t.TakeDrops()
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.drops = append(d.drops, drops...)
		d.mu.Unlock()
	}
	d.mu.Lock()
	led := ledger{fork: d.led.fork, deaths: s.deaths}
	late := d.drops[:0]
	for _, x := range d.drops {
		if x.Death > c.cut {
			late = append(late, x) // of a freeze after this cut: the next checkpoint's
			continue
		}
		led.dropNode(x)
	}
	d.drops = late
	d.mu.Unlock()
	for _, l := range s.left {
		if err := e.leave(d, &led, l); err != nil {
			return err
		}
	}
	s.deaths, s.left = led.deaths, nil
	if err := e.writeDeaths(c, s); err != nil {
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
		c.records[itemKey(tagRoot, d.id, r.lsn)] = rootRecord(r)
	}
	if len(s.fresh) == 0 || s.fresh[len(s.fresh)-1] != s.root {
		c.records[itemKey(tagRoot, d.id, s.root.lsn)] = rootRecord(s.root)
	}
	c.records[itemKey(tagDataset, d.id, 0)] = s.rec.record(d.deathSeq, s.root.ref)
	return nil
}

// writeDeaths writes s.deaths as runs of death pages; what was written leaves
// s.deaths, so that a checkpoint that fails half-way keeps the rest.
func (e *Engine) writeDeaths(c *cut, s *setCut) error {
	for len(s.deaths) > 0 {
		var data []byte
		var page [BlockSize]byte
		x := deathRun{seq: s.d.deathSeq, first: s.deaths[0].death, last: s.deaths[0].death}
		rest := s.deaths
		for len(rest) > 0 && len(x.crc) < oplog.MaxExtentBlocks {
			n := encodeDeaths(page[:], s.d.id, rest)
			data = append(data, page[:]...)
			x.crc = append(x.crc, segment.Checksum(page[:]))
			x.count += uint64(n)
			for _, died := range rest[:n] { // a drain's are older than those around them
				x.first, x.last = min(x.first, died.death), max(x.last, died.death)
			}
			rest = rest[n:]
		}
		var err error
		if x.addr, err = e.putBlocks(segment.Deaths, data, x.crc); err != nil {
			return err
		}
		c.records[itemKey(tagDeaths, s.d.id, x.seq)] = deathRunRecord(x)
		s.d.deathSeq++
		s.deaths = rest
	}
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
	drops, err := e.pool.TakeDrops()
	if err != nil {
		return err
	}
	e.drops = append(e.drops, drops...)
	s := superRoot{number: c.number, cut: c.cut, time: c.time, nextDataset: c.nextDataset, pos: c.pos, pool: ref, drops: e.drops}
	if _, err = e.log.SuperRoot(s.encode()); err == nil {
		e.drops = nil
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
			if s.d.discard(r) { // a dying list needed it, and is empty
				e.record(itemKey(tagRoot, s.d.id, r.lsn), nil)
				e.touch(s.d)
			}
		}
		trees = append(trees, s.d.head.tree)
		for _, t := range s.retired {
			t.Close()
		}
		s.d.mu.Unlock()
	}
	e.cache.Settle(append(trees, e.pool))
	e.lastCkpt.Store(c.checkpointRecord)
	e.checkpoints = append(e.checkpoints, c.checkpointRecord)
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
	select {
	case e.ckptWake <- struct{}{}:
	default:
	}
}
