package engine

import (
	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/oplog"
)

// Draft is a dataset that is being made where nobody sees it: a clone, into which
// operations are repeated. It ends in one of three ways, each one operation: it is
// published under a name, it takes the place of the dataset that it was cloned from,
// or it goes. One that a crash leaves goes when the pool is opened. Its operations
// are made by one goroutine; they show the client that was set last.
type Draft struct {
	*Head
	from    *dataset // what it was cloned from
	release func()   // lets that one's history go, which stays meanwhile
	over    bool
}

// isDraft reports whether d is one. The gate is held, or d.mu.
func (d *dataset) isDraft() bool { return d.destroyed.lsn == d.created.lsn }

// Draft begins one as m. While it is there the history of its origin stays from m
// on, and Ops can read it. name is for the log. NotFound, OutsideHistory.
func (e *Engine) Draft(c Caller, m Moment, name string) (*Draft, error) {
	e.gate.RLock()
	from, err := e.find(m.Dataset)
	e.gate.RUnlock()
	if err != nil {
		return nil, err
	}
	if m.LSN < from.created.lsn {
		return nil, fail.New(fail.Invalid, "lsn %d is before %s was cloned; that moment is its origin's", m.LSN, m.Dataset).
			WithHint("begin with a moment of the origin")
	}
	a := &Draft{from: from, release: from.keepFrom(m.LSN)}
	op := &oplog.Op{Kind: oplog.Clone, Client: e.client(c), Name: name, Now: true}
	if err := e.forkTo(op, m, func(*dataset) error { return nil }); err != nil {
		a.release()
		return nil, err
	}
	e.gate.RLock()
	a.Head = &Head{e: e, d: e.datasets[op.Dataset], write: true, caller: c, client: e.client(c), draft: true}
	e.gate.RUnlock()
	return a, nil
}

// keepFrom keeps the history of d from a moment on, until release is called.
func (d *dataset) keepFrom(lsn uint64) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.repeats.add(lsn)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.repeats.remove(lsn)
	}
}

// From returns the number of the dataset that it was cloned from.
func (a *Draft) From() uint64 { return a.from.id }

// KeepHistory keeps the history of a dataset from a moment on, as a Draft does,
// until release is called. NotFound.
func (e *Engine) KeepHistory(dataset string, lsn uint64) (release func(), err error) {
	e.gate.RLock()
	d, err := e.find(dataset)
	e.gate.RUnlock()
	if err != nil {
		return nil, err
	}
	return d.keepFrom(lsn), nil
}

// isRepeated reports whether somebody repeats operations of d from before lsn on:
// history may not begin there yet.
func (d *dataset) isRepeated(lsn uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.repeats.at) > 0 && d.repeats.at[0] < lsn
}

// As sets the client that the operations to come show: nil is the server itself.
func (a *Draft) As(c *oplog.Client) { a.client = c }

// Grow makes a volume longer, as Resize does. What is shorter or a share stays.
func (a *Draft) Grow(size uint64) error {
	if a.IsShare() || size <= a.Size() {
		return nil
	}
	if size%BlockSize != 0 || size > MaxVolumeSize {
		return fail.New(fail.Invalid, "a volume cannot have %s", bytesize.Exact(size)).WithHint("up to %s, in whole blocks of %s", bytesize.Exact(uint64(MaxVolumeSize)), bytesize.Exact(BlockSize))
	}
	op := &oplog.Op{Kind: oplog.Resize, Client: a.client, Dataset: a.d.id, Size: size}
	return a.e.begin(op, false, func() (*prepared, error) { return nil, nil })
}

// Publish makes it a dataset like others. Exists.
func (a *Draft) Publish(c Caller, name string) (Done, error) {
	op := &oplog.Op{Kind: oplog.Undestroy, Client: a.e.client(c), Dataset: a.d.id, Name: name}
	done, err := a.e.change(op, true, func() (*prepared, error) { return nil, a.e.free(name) })
	if err == nil {
		a.end()
	}
	return done, err
}

// Replace makes it the head of what it was cloned from, whose last change it knows:
// upTo. What that was stays, as a guard snapshot and in history. Busy where a client
// may write to a volume, or the head has changed since. Discard it then, too.
func (a *Draft) Replace(c Caller, upTo uint64) (Done, error) {
	e, d := a.e, a.from
	im, err := e.imageAt(a.d, e.log.LastLSN())
	if err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.Undo, Client: e.client(c), Dataset: d.id, Source: a.d.id, At: im.hold.lsn}
	done, err := e.turnTo(op, im, func() error {
		switch {
		case d.destroyed.lsn != 0:
			return fail.New(fail.NotFound, "%s is gone", d.name)
		case d.lastChange() > upTo:
			return fail.New(fail.Busy, "%s has changed meanwhile, at lsn %d", d.name, d.changed).WithHint("try again")
		}
		op.Name = d.guardName("before-undo-")
		return d.busy()
	})
	if err == nil {
		e.wakeDrain() // and count what is its own
	}
	return done, err
}

// Discard lets it go, if it has not ended otherwise.
func (a *Draft) Discard() {
	if a.over {
		return
	}
	a.end()
	if err := a.e.destroyDraft(a.d); err != nil {
		a.e.logger.Warn("a draft goes when the pool is opened next", "dataset", a.d.id, "err", err)
	}
}

func (a *Draft) end() {
	a.over = true
	a.release()
}

func (e *Engine) destroyDraft(d *dataset) error {
	defer e.mayGain()
	_, err := e.change(&oplog.Op{Kind: oplog.Destroy, Dataset: d.id, Now: true}, true, func() (*prepared, error) { return nil, nil })
	return err
}

// dropDrafts lets go what a crash left half made.
func (e *Engine) dropDrafts() {
	e.gate.RLock()
	var left []*dataset
	for _, d := range e.datasets {
		if d.isDraft() && !d.gone {
			left = append(left, d)
		}
	}
	e.gate.RUnlock()
	for _, d := range left {
		if err := e.destroyDraft(d); err != nil {
			e.logger.Warn("dropping what was half made", "dataset", d.id, "err", err)
		}
	}
}

// errPaused makes an operation wait until its dataset takes some again.
type errPaused struct{ over chan struct{} }

func (*errPaused) Error() string { return "the dataset is paused" }

// Pause lets operations on the data of what a was cloned from wait until resume is
// called, which must be soon. They hold no room of the log meanwhile. It returns the
// last of them. Busy where another draft has paused it.
func (a *Draft) Pause() (last uint64, resume func(), err error) {
	d := a.from
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused != nil {
		return 0, nil, fail.New(fail.Busy, "another undo of %s is about to take effect", d.name).WithHint("try again")
	}
	p := &errPaused{make(chan struct{})}
	d.paused = p
	return d.changed, func() {
		d.mu.Lock()
		d.paused = nil
		d.mu.Unlock()
		close(p.over)
	}, nil
}
