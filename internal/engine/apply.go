package engine

import (
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// prepared is what Prepare found for an operation that needs more than its
// record: Replay finds it again.
type prepared struct {
	im     *overlay // Clone, Rollback, Snapshot of the past: the state at the moment
	deaths []death  // Drain
	next   tree.Key // Drain: where the next step begins
	old    *root    // a large Trim: the head before it
}

// apply is the one Apply: it changes heads and catalog by one logged
// operation, whether it comes from a request or from the log. pos is the last
// frame before the operation's. pre is nil in a replay, where loading nodes is
// allowed; for a live request it holds what Prepare read, and apply only
// touches memory. Callers hold the gate exclusively, or, for data operations,
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
		return e.applyCreate(op, pos, &image{figures: figures{size: op.Size}, tree: e.cache.Open(tree.Ref{})})
	case oplog.CreateShare:
		im, err := e.emptyShare(op)
		if err != nil {
			return err
		}
		return e.applyCreate(op, pos, im)
	case oplog.Clone:
		return e.applyClone(op, pos, pre)
	case oplog.Rollback:
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
	case oplog.DestroySnapshot:
		return e.removeSnapshot(d, op)
	case oplog.Destroy:
		d.destroyed, d.gone = stamp{op.LSN, op.Time}, op.Now
		delete(e.names, d.name)
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
	mapped := d.head.mapped
	dead, err := d.head.apply(op)
	if err != nil {
		return err
	}
	if !dead.empty() {
		old := pre.old
		old.mapped, pre.old = mapped, nil
		e.addDying(d, &dying{id: op.LSN, root: d.addRoot(old), next: blockKey(dead.ino, dead.from), end: blockKey(dead.ino, dead.to), counts: true})
	}
	d.nextIno = max(d.nextIno, op.Ino+1)
	d.thaw()
	d.changed = op.LSN
	e.touch(d)
	return nil
}

func (e *Engine) applyCreate(op *oplog.Op, pos segment.Position, im *image) error {
	if e.datasets[op.Dataset] != nil || e.names[op.Name] != nil {
		return fail.New(fail.Corrupt, "%v: the dataset exists already", op)
	}
	d := &dataset{
		id: op.Dataset, name: op.Name, created: stamp{op.LSN, op.Time},
		parent: op.Source, origin: e.datasets[op.Source], fork: op.At, head: *im, changed: op.LSN,
	}
	if d.origin != nil {
		d.kind, d.nextIno = d.origin.kind, d.origin.nextIno
	} else if op.Kind == oplog.CreateShare {
		d.kind, d.nextIno = shareKind, inode.Root+1
	}
	d.led.fork = op.At
	d.head.led = &d.led
	e.datasets[d.id], e.names[d.name] = d, d
	e.nextDataset = max(e.nextDataset, d.id+1)
	e.keep(d, d.addRoot(d.freeze(op.LSN, pos)))
	e.touch(d)
	return nil
}

func (e *Engine) applyClone(op *oplog.Op, pos segment.Position, pre *prepared) error {
	parent := e.datasets[op.Source]
	if parent == nil {
		return fail.New(fail.Corrupt, "%v: no dataset %d to clone", op, op.Source)
	}
	if pre == nil {
		im, err := e.imageAt(parent, op.At)
		if err != nil {
			return err
		}
		pre = &prepared{im: im}
	}
	return e.applyCreate(op, pos, &pre.im.image)
}

// applyRollback makes the head the state at op.At. What it leaves stays: as a
// guard snapshot, and its extents born since die with a dying list. The root
// right after it is a base, so that no view replays across a rollback.
func (e *Engine) applyRollback(d *dataset, op *oplog.Op, pos segment.Position, pre *prepared) error {
	if pre == nil {
		im, err := e.imageAt(d, op.At)
		if err != nil {
			return err
		}
		pre = &prepared{im: im}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.addRoot(d.freeze(op.LSN-1, pos))
	e.keep(d, old)
	e.addSnapshot(d, &snapshot{id: op.LSN, name: op.Name, lsn: op.LSN - 1, time: op.Time, guard: true})
	e.addDying(d, &dying{id: op.LSN, root: old, end: tree.MaxKey, born: op.At})
	d.rollbacks = append(d.rollbacks, rollback{at: op.LSN, to: op.At, from: pre.im.from})
	e.record(itemKey(tagRollback, d.id, op.LSN), putUvarints(nil, op.At, pre.im.from))
	for _, y := range d.dying {
		y.counts = false // the new head never counted them
	}
	d.retired = append(d.retired, d.head.tree)
	d.left = append(d.left, leftHead{root: old, born: pre.im.from, at: op.LSN})
	pre.im.led = &d.led
	d.thaw()
	d.head = pre.im.image
	d.head.floor = op.Time
	d.changed = op.LSN
	e.keep(d, d.addRoot(d.freeze(op.LSN, pos)))
	e.touch(d)
	return nil
}

// keep makes r a base: views and pins need it. The gate is held exclusively.
func (e *Engine) keep(d *dataset, r *root) {
	r.base = true
	if r.vers == nil { // on disk already, as something less
		e.record(itemKey(tagRoot, d.id, r.lsn), rootRecord(r))
	}
}

func (e *Engine) addDying(d *dataset, y *dying) {
	y.root.dying++
	d.dying = append(d.dying, y)
	e.wakeDrain()
}

// noBlock is beyond every block number of a file or volume.
const noBlock = 1 << 52

// record notes a change of the pool tree for the next checkpoint; nil deletes.
// The gate is held exclusively.
func (e *Engine) record(k tree.Key, v []byte) { e.records[k] = v }

// touch marks d as changed since the last cut.
func (e *Engine) touch(d *dataset) {
	if d.touched {
		return
	}
	d.touched = true
	e.touchMu.Lock()
	e.touchedSets = append(e.touchedSets, d)
	e.touchMu.Unlock()
}
