package engine

import (
	"slices"
	"sync"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// imageAt builds the state of d's line at lsn: the newest root before it, and
// Replay of the operations since into a scratch overlay. The caller owns the
// image's tree. No lock but dataset.mu is taken: usable in recovery, and
// under the gate where the moment is the present one (then it is a freeze).
func (e *Engine) imageAt(d *dataset, lsn uint64) (*image, error) {
	for lsn < d.created.lsn {
		p := d.origin
		if p == nil {
			return nil, fail.New(fail.OutsideHistory, "lsn %d is before %s was made", lsn, d.name).
				WithHint("oldest moment %s (lsn %d)", d.created.wall().Format(time.RFC3339), d.created.lsn)
		}
		d, lsn = p, min(lsn, d.fork)
	}
	im, start, err := e.startOf(d, lsn)
	if err != nil || start.lsn >= lsn {
		return im, err
	}
	im.tree.Blocking(true)
	if err := e.replay(im, d, start.pos, start.lsn, lsn); err != nil {
		im.tree.Close()
		return nil, err
	}
	im.tree.Blocking(false)
	return im, nil
}

// startOf opens the newest image of d's line at or before lsn that is at hand,
// and returns a copy of its root. Where nothing changed the head since lsn,
// that is the head.
func (e *Engine) startOf(d *dataset, lsn uint64) (*image, root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed <= lsn {
		r := d.freeze(e.lastLSN(), e.position())
		defer r.vers.Close()
		r.lsn = lsn
		return r.image(e.cache), *r, nil
	}
	r := d.rootBefore(lsn)
	if r == nil {
		return nil, root{}, fail.New(fail.Corrupt, "%s has no root at or before lsn %d", d.name, lsn)
	}
	return r.image(e.cache), *r, nil
}

// replay runs the data operations of d's line in (from, to] through Apply into
// im. pos is a frame at or before the first of them.
func (e *Engine) replay(im *image, d *dataset, pos segment.Position, from, to uint64) error {
	if err := e.storeHas(to); err != nil {
		return err
	}
	var dec oplog.Decoder
	var op oplog.Op
	return segment.Read(e.store, e.super.pool, pos, to, func(f *segment.Frame) error {
		dec.Reset()
		for lsn, rec := range f.Records() {
			if err := dec.Decode(rec, lsn, &op); err != nil {
				return err
			}
			if lsn <= from || lsn > to || op.Dataset != d.id {
				continue
			}
			if err := e.replayOne(im, d, &op); err != nil {
				return err
			}
		}
		return nil
	})
}

// storeHas makes sure that segment.Read finds the operations up to lsn. Those
// that are durable it finds in any case, also when the log has stopped.
func (e *Engine) storeHas(lsn uint64) error {
	if e.log == nil || lsn <= e.log.DurableLSN() {
		return nil
	}
	return e.log.Written(e.log.Cut().Seq)
}

// replayOne applies one operation of d's line to a scratch image. Most change
// only the catalog, and the image not at all.
func (e *Engine) replayOne(im *image, d *dataset, op *oplog.Op) error {
	switch op.Kind {
	case oplog.Write, oplog.Trim:
		b, end := blocks(op)
		if err := im.prepare(op.Kind, b, end); err != nil {
			return err
		}
		_, err := im.apply(op)
		return err
	case oplog.Resize:
		im.size = op.Size
	case oplog.Rollback:
		back, err := e.imageAt(d, op.At)
		if err != nil {
			return err
		}
		im.tree.Close()
		*im = *back
		im.tree.Blocking(true)
	}
	return nil
}

// View is a dataset at a past moment: read-only, unchanging. Safe for
// concurrent use.
type View struct {
	e    *Engine
	key  viewKey
	tree *tree.Tree
	vers *tree.Version
	size uint64
	refs int // under viewCache.mu
	once sync.Once
	err  error
}

type viewKey struct{ dataset, lsn uint64 }

// viewCache shares the open views of one moment.
type viewCache struct {
	mu    sync.Mutex
	e     *Engine
	views map[viewKey]*View
}

func (c *viewCache) init(e *Engine) { c.e, c.views = e, make(map[viewKey]*View) }

// OpenView opens the state of a dataset at a moment. Close it. OutsideHistory.
func (e *Engine) OpenView(m Moment) (*View, error) {
	e.gate.RLock()
	d := e.names[m.Dataset]
	e.gate.RUnlock()
	if d == nil {
		return nil, fail.New(fail.NotFound, "no dataset %s", m.Dataset)
	}
	key := viewKey{d.id, m.LSN}
	c := &e.views
	c.mu.Lock()
	v := c.views[key]
	if v == nil {
		v = &View{e: e, key: key}
		c.views[key] = v
	}
	v.refs++
	c.mu.Unlock()
	v.once.Do(func() { v.err = v.build(d) })
	if v.err != nil {
		v.Close()
		return nil, v.err
	}
	return v, nil
}

func (v *View) build(d *dataset) error {
	im, err := v.e.imageAt(d, v.key.lsn)
	if err != nil {
		return err
	}
	v.tree, v.vers, v.size = im.tree, im.tree.Freeze(v.key.lsn), im.size
	return nil
}

// Close gives the view back; the last user's frees it.
func (v *View) Close() {
	c := &v.e.views
	c.mu.Lock()
	v.refs--
	t := v.tree
	if v.refs > 0 {
		t = nil
	} else {
		delete(c.views, v.key)
	}
	c.mu.Unlock()
	if t != nil {
		v.vers.Close()
		t.Close()
	}
}

func (c *viewCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.views {
		if v.tree != nil {
			v.vers.Close()
			v.tree.Close()
			v.tree = nil // who closes it late finds nothing to do
		}
	}
	clear(c.views)
}

func (v *View) find(r *reader, lo, hi uint64) error { return r.find(v.vers, lo, hi) }

// ReadAt is Head.ReadAt at the view's moment.
func (v *View) ReadAt(p []byte, off uint64, spans *[]Span) error {
	_, err := v.e.read(v, p, off, spans, true)
	return err
}

// TryReadAt is Head.TryReadAt at the view's moment.
func (v *View) TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error) {
	return v.e.read(v, p, off, spans, false)
}

// Size returns the volume's size at that moment, in bytes.
func (v *View) Size() uint64 { return v.size }

// cloneAt makes a new dataset whose line forks from moment m.
func (e *Engine) cloneAt(c Caller, m Moment, name string) (Done, error) {
	e.gate.RLock()
	src, err := e.find(m.Dataset)
	e.gate.RUnlock()
	if err != nil {
		return Done{}, err
	}
	im, err := e.imageAt(src, m.LSN)
	if err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.Clone, Client: e.client(c), Name: name, Source: src.id, At: m.LSN, Size: im.size}
	done, err := e.change(op, false, func() (*prepared, error) {
		if len(e.datasets) >= maxDatasets {
			return nil, fail.New(fail.TooBig, "the pool has its %d datasets", maxDatasets)
		}
		op.Dataset = e.nextDataset
		return &prepared{im: im}, e.free(name)
	})
	if err != nil && op.LSN == 0 {
		im.tree.Close()
	}
	return done, err
}

// rollbackTo makes moment m the present of its dataset again. Busy while a
// client may write.
func (e *Engine) rollbackTo(c Caller, m Moment) (Done, error) {
	e.gate.RLock()
	d, err := e.find(m.Dataset)
	e.gate.RUnlock()
	if err != nil {
		return Done{}, err
	}
	im, err := e.imageAt(d, m.LSN)
	if err != nil {
		return Done{}, err
	}
	e.clients.Lock()
	op := &oplog.Op{Kind: oplog.Rollback, Client: e.client(c), Dataset: d.id, At: m.LSN}
	done, err := e.change(op, true, func() (*prepared, error) {
		if e.names[m.Dataset] != d {
			return nil, fail.New(fail.NotFound, "%s is gone", m.Dataset)
		}
		if err := d.busy(); err != nil {
			return nil, err
		}
		op.Name = d.guardName()
		return &prepared{im: im}, nil
	})
	e.clients.Unlock()
	if err != nil {
		if op.LSN == 0 {
			im.tree.Close()
		}
		return Done{}, err
	}
	done.Guard = op.Name
	e.wakeCheckpoint()
	return done, nil
}

// guardName returns a free name for the snapshot of what a rollback leaves.
func (d *dataset) guardName() string {
	n := len(d.rollbacks) + 1
	for {
		name := "before-rollback-" + itoa(n)
		if !slices.ContainsFunc(d.snaps, func(s *snapshot) bool { return s.name == name }) {
			return name
		}
		n++
	}
}
