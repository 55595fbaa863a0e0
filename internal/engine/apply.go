package engine

import (
	"slices"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// prepared is what Prepare found for an operation that needs more than its
// record: Replay finds it again.
type prepared struct {
	im   *overlay  // Clone, Rollback, Snapshot of the past: the state at the moment
	step drainStep // Drain
	old  *root     // a large Trim: the head before it
}

// apply is the one Apply: it changes heads and catalog by one logged
// operation, whether it comes from a request or from the log. pos is the last
// frame before the operation's. pre has what Prepare read, so that apply for a live
// request only touches memory; in a replay, where loading nodes is allowed, it has
// the past moment that the operation needs, if any, and may be nil. Callers hold the gate exclusively, or, for data operations,
// shared and the dataset's lock. An error is corruption.
func (e *Engine) apply(op *oplog.Op, pos segment.Position, pre *prepared) error {
	d := e.datasets[op.Dataset]
	if d == nil && op.Kind != oplog.CreateVolume && op.Kind != oplog.CreateShare && op.Kind != oplog.Clone && !(op.Kind == oplog.Snapshot && op.Dataset == 0) {
		return fail.New(fail.Corrupt, "%v: no such dataset", op)
	}
	if changesData(op.Kind) {
		return e.applyData(d, op, pre)
	}
	switch op.Kind {
	case oplog.CreateVolume:
		return e.applyCreate(op, pos, &overlay{image: image{figures: figures{size: op.Size}, tree: e.cache.Open(tree.Ref{})}})
	case oplog.CreateShare:
		im, err := e.emptyShare(op)
		if err != nil {
			return err
		}
		return e.applyCreate(op, pos, &overlay{image: *im})
	case oplog.Clone:
		return e.applyClone(op, pos, pre)
	case oplog.Rollback, oplog.Undo:
		return e.applyRollback(d, op, pos, pre)
	case oplog.Snapshot:
		return e.applySnapshot(d, op, pos, pre)
	case oplog.Hold, oplog.Release:
		return e.applyHold(d, op)
	case oplog.Resize:
		d.mu.Lock()
		d.head.size, d.changed = op.Size, op.LSN
		d.mu.Unlock()
	case oplog.Set:
		e.setProperty(d, op)
	case oplog.SetState:
		e.setState(d, op.Value)
	case oplog.DestroySnapshot:
		return e.removeSnapshot(d, op)
	case oplog.Destroy:
		e.applyDestroy(d, op, pos)
	case oplog.Horizon:
		d.mu.Lock()
		if op.At > d.horizon.lsn {
			d.horizon = stamp{op.At, int64(op.Size)}
			if !d.gone && d.changed <= op.At { // nothing of it keeps records: they may go before it changes again
				e.keep(d, d.addRoot(d.freeze(op.At, pos)))
			}
			e.dropBases(d)
		}
		d.mu.Unlock()
	case oplog.Expire:
		return e.changeSnapshot(d, op, func(s *snapshot) { s.expires = int64(op.Size) })
	case oplog.Undestroy:
		d.destroyed, d.name = stamp{}, op.Name
		e.names[d.name] = d
	case oplog.Rename:
		delete(e.names, d.name)
		d.name = op.Name
		e.names[d.name] = d
	case oplog.Drain:
		return e.applyDrain(d, op, pre)
	default:
		return fail.New(fail.Corrupt, "%v: unknown kind", op)
	}
	e.touch(d)
	return nil
}

// changesData reports whether an operation of kind k changes a dataset's tree
// and nothing else: a Head makes those.
func changesData(k oplog.Kind) bool { return k == oplog.Write || k == oplog.Trim || k.OnFile() }

// applyData changes a head by an operation on its data. The caller has prepared
// the head's tree, and where a range goes to a dying list named the tree as it
// was: pre.old.
func (e *Engine) applyData(d *dataset, op *oplog.Op, pre *prepared) error {
	mapped, own := d.head.mapped, d.head.own
	dead, err := d.head.apply(op)
	if err != nil {
		return err
	}
	if !dead.empty() {
		old := pre.old
		old.mapped, old.own, pre.old = mapped, own, nil
		e.addDying(d, &dying{id: op.LSN, root: d.addRoot(old), next: blockKey(dead.ino, dead.from), end: blockKey(dead.ino, dead.to), counts: true})
	}
	d.nextIno = max(d.nextIno, op.Ino+1)
	d.thaw()
	d.changed = op.LSN
	e.touch(d)
	return nil
}

// applyCreate adds a dataset that begins as im.
func (e *Engine) applyCreate(op *oplog.Op, pos segment.Position, im *overlay) error {
	if e.datasets[op.Dataset] != nil || !op.Now && e.names[op.Name] != nil {
		return fail.New(fail.Corrupt, "%v: the dataset exists already", op)
	}
	d := &dataset{
		id: op.Dataset, name: op.Name, created: stamp{op.LSN, op.Time},
		parent: op.Source, origin: e.datasets[op.Source], fork: op.At, head: im.image, changed: op.LSN, horizon: stamp{op.LSN, op.Time},
	}

	if d.origin != nil {
		d.kind, d.nextIno = d.origin.kind, d.origin.nextIno
	} else if op.Kind == oplog.CreateShare {
		d.kind, d.nextIno = shareKind, inode.Root+1
	}
	var parent *line
	if d.origin != nil {
		parent = d.origin.lineAt(op.At)
	}
	d.head.since, d.head.own = op.LSN, 0
	d.head.led = &d.begin(op.LSN, parent, op.At, im).led
	e.datasets[d.id] = d
	if op.Now { // a draft: nobody sees it until it is published
		d.destroyed = d.created
	} else {
		e.names[d.name] = d
	}
	e.nextDataset = max(e.nextDataset, d.id+1)
	e.keep(d, d.addRoot(d.freeze(op.LSN, pos)))
	e.touch(d)
	return nil
}

func (e *Engine) applyClone(op *oplog.Op, pos segment.Position, pre *prepared) error {
	defer pre.im.hold.release()
	if err := e.applyCreate(op, pos, pre.im); err != nil {
		return err
	}
	return e.makeWith(e.datasets[op.Dataset], op)
}

// applyRollback makes the head the state at op.At, or for an Undo what another
// dataset was then: a draft. What it leaves stays: as a guard snapshot, and its
// extents born since die with a dying list. The root right after it is a base, so
// that no view replays across a rollback.
func (e *Engine) applyRollback(d *dataset, op *oplog.Op, pos segment.Position, pre *prepared) error {
	of := d // whose moment it becomes
	if op.Kind == oplog.Undo {
		if of = e.datasets[op.Source]; of == nil {
			return fail.New(fail.Corrupt, "%v: no dataset %d to take the place", op, op.Source)
		}
	}
	parent, nextIno := of.lineOf(op.At), of.inoAfter()
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.addRoot(d.freeze(op.LSN-1, pos))
	e.addSnapshot(d, &snapshot{id: op.LSN, name: op.Name, lsn: op.LSN - 1, time: op.Time, at: op.Time, guard: true})
	// What was born by the moment gone back to lives on, where that is on this line, and
	// not on a branch that it left.
	born, from := op.At, pre.im.from
	goesOn := parent == d.now() && !d.now().inGap(op.At, from)
	if !goesOn {
		born, from = 0, 0
	}
	e.addDying(d, &dying{id: op.LSN, root: old, end: tree.MaxKey, born: born})
	for _, y := range d.dying {
		y.counts = false // the new head never counted them
	}
	d.retired = append(d.retired, retiredHead{d.head.tree, d.now()})
	d.addLeft(&leftHead{root: old, born: from, at: op.LSN})
	d.now().spans[len(d.now().spans)-1].to = op.LSN
	e.ends[d.now()] = struct{}{}
	next := d.begin(op.LSN, parent, op.At, pre.im)
	next.goesOn, pre.im.led = goesOn, &next.led
	d.thaw()
	if of == d {
		pre.im.hold.drop()
	} else {
		pre.im.hold.release()
		pre.im.since, pre.im.own = d.head.since, pre.im.mapped
		pre.im.rough = pre.im.rough || d.origin != nil || d.absorbed // some of it may be its origin's: to be counted
	}
	d.head = pre.im.image
	d.nextIno = max(d.nextIno, nextIno)
	d.head.floor = op.Time
	d.changed = op.LSN
	e.keep(d, d.addRoot(d.freeze(op.LSN, pos)))
	e.touch(d)
	return nil
}

// keep makes r a base: views of history start there. The gate is held
// exclusively.
func (e *Engine) keep(d *dataset, r *root) {
	r.base = true
	if r.vers == nil { // on disk already, as something less
		e.record(itemKey(tagRoot, d.id, r.lsn), rootRecord(r))
	}
}

func (e *Engine) addDying(d *dataset, y *dying) {
	y.root.walks++
	d.dying = append(d.dying, y)
	e.wakeDrain()
}

// addLeft notes what a head was that is replaced as a whole.
func (d *dataset) addLeft(l *leftHead) {
	l.root.walks++
	d.left = append(d.left, l)
}

// applyDestroy takes a dataset away: for good, or so that it can come back. What
// is gone for good keeps nothing but what clones and open views need.
func (e *Engine) applyDestroy(d *dataset, op *oplog.Op, pos segment.Position) {
	if d.destroyed.lsn == 0 {
		d.destroyed = stamp{op.LSN, op.Time}
		delete(e.names, d.name)
	}
	if !op.Now || d.gone {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.addRoot(d.freeze(op.LSN-1, pos))
	e.addDying(d, &dying{id: op.LSN, root: old, end: tree.MaxKey})
	d.addLeft(&leftHead{root: old, at: op.LSN})
	d.retired = append(d.retired, retiredHead{d.head.tree, d.now()})
	d.thaw()
	d.head = image{tree: e.cache.Open(tree.Ref{}), seed: d.head.seed, since: d.head.since, led: &d.now().led}
	d.gone, d.changed = true, op.LSN
	for _, l := range d.lines {
		e.ends[l] = struct{}{}
	}
	for _, s := range slices.Clone(d.snaps) {
		e.dropSnapshot(d, s)
	}
	d.pinReset(-1)
	for _, p := range d.props {
		e.record(itemKey(tagProperty, d.id, p.item), nil)
	}
	d.props = nil
	for _, x := range d.losses {
		e.record(itemKey(tagLoss, d.id, x.to), nil)
	}
	d.losses = nil
	e.setState(d, "")
	e.dropBases(d)
}

// dropBases lets bases go that history does not start from any more. The root
// that it starts from now is one: whatever else kept that may end. d.mu and the
// gate are held.
func (e *Engine) dropBases(d *dataset) {
	first := d.rootBefore(d.horizon.lsn, true)
	if first != nil && !first.base && !d.gone {
		if first.base = true; first.vers == nil {
			e.record(itemKey(tagRoot, d.id, first.lsn), rootRecord(first))
		}
	}
	for _, r := range slices.Clone(d.roots) {
		if !d.gone && (first == nil || r.lsn >= first.lsn) {
			return
		}
		if !r.base {
			continue
		}
		if r.base = false; !e.discard(e.records, d, r) && r.vers == nil {
			e.record(itemKey(tagRoot, d.id, r.lsn), rootRecord(r))
		}
	}
}

// discard removes a root that nothing keeps, and its record. d.mu is held, and
// the gate unless records are a cut's.
func (e *Engine) discard(records map[tree.Key][]byte, d *dataset, r *root) bool {
	if !d.discard(r) {
		return false
	}
	records[itemKey(tagRoot, d.id, r.lsn)] = nil
	return true
}

// noBlock is beyond every block number of a file or volume.
const noBlock = 1 << 52

// record notes a change of the pool tree for the next checkpoint; nil deletes.
// The gate is held exclusively.
func (e *Engine) record(k tree.Key, v []byte) { e.records[k] = v }

// touch marks d as changed since the last cut.
func (e *Engine) touch(d *dataset) {
	if !d.touched.CompareAndSwap(false, true) {
		return
	}
	e.touchMu.Lock()
	e.touchedSets = append(e.touchedSets, d)
	e.touchMu.Unlock()
}
