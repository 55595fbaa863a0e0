package engine

import (
	"slices"
	"sync"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/tree"
)

// View is a dataset at a past moment: read-only, unchanging. Safe for
// concurrent use.
type View struct {
	e    *Engine
	key  viewKey
	tree *tree.Tree
	vers *tree.Version
	figures
	seed   uint64
	hold   *hold
	refs   int  // under viewCache.mu
	unused bool // the same: since dropIdle looked
	once   sync.Once
	err    error
}

type viewKey struct{ dataset, lsn uint64 }

// Limits of views. Views that nobody uses any more are kept for a while: who
// opened a moment once often does so again.
const (
	maxViews  = 4096
	idleViews = 16

	viewBuilds = 2 // rebuilt at a time
)

// viewCache shares the views of one moment.
type viewCache struct {
	mu    sync.Mutex
	views map[viewKey]*View
	idle  []*View // without users, the one idle longest first

	building chan struct{} // a place for each rebuild that runs
}

// OpenView opens the state of a dataset at a moment. Close it. OutsideHistory,
// TooBig where more views are open than the server allows.
func (e *Engine) OpenView(m Moment) (*View, error) {
	e.gate.RLock()
	d := e.names[m.Dataset]
	e.gate.RUnlock()
	if d == nil {
		return nil, fail.New(fail.NotFound, "no dataset %s", m.Dataset)
	}
	return e.openView(d, m.LSN)
}

func (e *Engine) openView(d *dataset, lsn uint64) (*View, error) {
	v, err := e.views.take(e, viewKey{d.id, lsn})
	if err != nil {
		return nil, err
	}
	v.once.Do(func() { v.err = v.build(d) })
	if v.err != nil {
		v.Close()
		return nil, v.err
	}
	return v, nil
}

func (c *viewCache) take(e *Engine, key viewKey) (*View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.views[key]
	if v == nil {
		if len(c.views) >= maxViews && len(c.idle) > 0 {
			c.drop(c.idle[0])
		}
		if len(c.views) >= maxViews {
			return nil, fail.New(fail.TooBig, "%d past moments are open already", maxViews).WithHint("close some")
		}
		v = &View{e: e, key: key}
		if c.views == nil {
			c.views = make(map[viewKey]*View)
		}
		c.views[key] = v
	}
	if i := slices.Index(c.idle, v); i >= 0 {
		c.idle = slices.Delete(c.idle, i, i+1)
	}
	v.refs++
	v.unused = false
	return v, nil
}

func (v *View) build(d *dataset) error {
	builds := v.e.views.builds()
	builds <- struct{}{}
	defer func() { <-builds }()
	im, err := v.e.replayTo(d, v.key.lsn, true)
	if err != nil {
		return err
	}
	if err := v.e.spill(im, v.key.lsn); err != nil {
		im.close()
		return err
	}
	v.tree, v.vers, v.figures, v.seed, v.hold = im.tree, im.tree.Freeze(v.key.lsn), im.figures, im.seed, im.hold
	return nil
}

// Close gives the view back. One that nobody uses stays for a while.
func (v *View) Close() {
	c := &v.e.views
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.refs--; v.refs > 0 || c.views[v.key] != v {
		return
	}
	if v.err != nil {
		delete(c.views, v.key)
		return
	}
	c.idle = append(c.idle, v)
	for len(c.idle) > idleViews || v.e.scratch.bytes() > maxScratch/2 && len(c.idle) > 0 {
		c.drop(c.idle[0])
	}
}

// builds is what bounds how many views are rebuilt at a time: each holds in
// memory what the operations that it replays touch, up to spillOps of them.
func (c *viewCache) builds() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.building == nil {
		c.building = make(chan struct{}, viewBuilds)
	}
	return c.building
}

// drop frees a view that nobody uses. c.mu is held.
func (c *viewCache) drop(v *View) {
	delete(c.views, v.key)
	if i := slices.Index(c.idle, v); i >= 0 {
		c.idle = slices.Delete(c.idle, i, i+1)
	}
	if v.tree != nil {
		v.vers.Close()
		v.tree.Close()
		v.tree = nil
		v.hold.release()
	}
	if len(c.views) == 0 {
		if err := v.e.scratch.reset(); err != nil {
			v.e.logger.Warn("emptying the scratch file", "err", err)
		}
	}
}

// close frees all views, used or not: the engine ends.
func (c *viewCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.views {
		c.drop(v)
	}
}

// ForgetViews closes the views of a dataset that are only kept in case somebody
// comes back to them, and returns how many are in use. What they show stays in the
// pool for as long, whatever history says.
func (e *Engine) ForgetViews(dataset uint64) (used int) {
	c := &e.views
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, v := range c.views {
		switch {
		case key.dataset != dataset:
		case v.refs > 0:
			used++
		default:
			c.drop(v)
		}
	}
	return used
}

// count returns how many views are open, and how many of them are in use.
func (c *viewCache) count() (open, used int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.views), len(c.views) - len(c.idle)
}

func (v *View) find(r *reader, ino, lo, hi uint64, judge func(inode.Reader) error) error {
	if judge != nil {
		if err := judge(v.vers); err != nil {
			return err
		}
	}
	return r.find(v.vers, ino, lo, hi)
}

// ReadAt is Head.ReadAt at the view's moment.
func (v *View) ReadAt(p []byte, off uint64, spans *[]Span) error {
	_, err := v.e.read(v, 0, p, off, spans, true)
	return err
}

// TryReadAt is Head.TryReadAt at the view's moment.
func (v *View) TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error) {
	return v.e.read(v, 0, p, off, spans, false)
}

// Size returns the volume's size at that moment, in bytes.
func (v *View) Size() uint64 { return v.size }
