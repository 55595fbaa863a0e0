package fs

import (
	"sync"
	"time"

	"varve/internal/engine"
	"varve/internal/inode"
)

// source is what can be read: the present of a share, or a moment of it.
type source interface {
	Look(fn func(inode.Reader) error) error
	ReadJudged(ino uint64, p []byte, off uint64, wait bool, judge func(inode.Reader) (int, error)) (n int, ok bool, err error)
	Seed() uint64
	Floor() int64
}

// place is where a handle leads. Close it.
type place struct {
	source
	f      *FS
	handle Handle
	share  *share
	view   *pastView // nil: the present
}

// place opens what a handle leads to. ErrStale; also for a moment before the
// share was made, which belongs to what it was cloned from.
func (f *FS) place(h Handle) (place, error) {
	s, err := f.share(h.Dataset)
	if err != nil {
		return place{}, err
	}
	p := place{source: s.head, f: f, handle: h, share: s}
	if h.Moment != 0 {
		if h.Moment < s.head.CreatedLSN() {
			return place{}, ErrStale
		}
		if p.view, err = f.past.take(h.Dataset, h.Moment); err != nil {
			return place{}, err
		}
		p.source = p.view.View
	}
	return p, nil
}

func (p *place) close() {
	if p.view != nil {
		p.f.past.give(p.view)
	}
}

// present opens the place of a handle for a change.
func (f *FS) present(c *Call, h Handle) (place, error) {
	if c.ReadOnly || h.Moment != 0 || h.SnapDir {
		return place{}, ErrReadOnly
	}
	return f.place(h)
}

// Views that no call uses stay open for a while: handles come in bursts.
const (
	maxIdleViews = 32
	idleView     = time.Minute
)

// pastView is an open moment, shared by all calls.
type pastView struct {
	*engine.View
	key   viewKey
	users int
	idle  time.Time // since when there are none
}

type viewKey struct{ dataset, lsn uint64 }

// pastViews are the open moments: those that calls are at work in, and a few
// more.
type pastViews struct {
	open func(dataset, lsn uint64) (*engine.View, error)

	mu    sync.Mutex
	views map[viewKey]*pastView
	timer *time.Timer // runs while views are open
}

func (v *pastViews) take(dataset, lsn uint64) (*pastView, error) {
	key := viewKey{dataset, lsn}
	if p := v.taken(key); p != nil {
		return p, nil
	}
	view, err := v.open(dataset, lsn)
	if err != nil {
		return nil, err
	}
	if p := v.taken(key); p != nil { // another call was faster
		view.Close()
		return p, nil
	}
	p := &pastView{View: view, key: key, users: 1}
	v.mu.Lock()
	defer v.mu.Unlock()
	if first := v.views[key]; first != nil {
		first.users++
		view.Close()
		return first, nil
	}
	if v.views == nil {
		v.views = make(map[viewKey]*pastView)
	}
	v.views[key] = p
	if v.timer == nil {
		v.timer = time.AfterFunc(idleView, v.sweep)
	}
	return p, nil
}

func (v *pastViews) taken(key viewKey) *pastView {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.views[key]
	if p != nil {
		p.users++
	}
	return p
}

func (v *pastViews) give(p *pastView) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p.users--; p.users > 0 {
		return
	}
	p.idle = time.Now()
	if len(v.views) > maxIdleViews {
		v.drop(v.oldest())
	}
}

// oldest returns the view that was idle longest. One is.
func (v *pastViews) oldest() (old *pastView) {
	for _, p := range v.views {
		if p.users == 0 && (old == nil || p.idle.Before(old.idle)) {
			old = p
		}
	}
	return old
}

func (v *pastViews) drop(p *pastView) {
	delete(v.views, p.key)
	p.Close()
}

// sweep closes what was not used for a while, so that it keeps nothing of the
// past from being freed.
func (v *pastViews) sweep() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.views {
		if p.users == 0 && time.Since(p.idle) >= idleView {
			v.drop(p)
		}
	}
	v.timer = nil
	if len(v.views) > 0 {
		v.timer = time.AfterFunc(idleView, v.sweep)
	}
}

// close closes all; no call uses one.
func (v *pastViews) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.timer != nil {
		v.timer.Stop()
	}
	for _, p := range v.views {
		v.drop(p)
	}
}
