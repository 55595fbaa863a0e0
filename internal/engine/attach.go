package engine

import (
	"fmt"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// Head is a front end's hold on the present of a dataset. It goes through
// renames; a destroy or a rollback is refused while a writing Head is
// attached. Safe for concurrent use.
type Head struct {
	e      *Engine
	d      *dataset
	write  bool
	caller Caller
	client *oplog.Client
	since  time.Time
	kick   func()
	gone   chan struct{} // closed by Detach
	draft  bool          // of a dataset that is being made
}

// Attach takes hold of a dataset's head. kick is called, from any goroutine,
// when a forced operation wants the client to go; it must make the client
// Detach soon. NotFound, Busy.
func (e *Engine) Attach(name string, c Caller, write bool, kick func()) (*Head, error) {
	e.clients.Lock()
	defer e.clients.Unlock()
	e.gate.RLock()
	defer e.gate.RUnlock()
	d, err := e.find(name)
	if err != nil {
		return nil, err
	}
	if e.fenced[d] {
		return nil, fail.New(fail.Busy, "%s is being rolled back", name).WithHint("try again in a moment")
	}
	h := &Head{
		e: e, d: d, write: write, caller: c, client: e.client(c), since: e.opt.Now(),
		kick: kick, gone: make(chan struct{}),
	}
	if d.clients == nil {
		d.clients = make(map[*Head]struct{})
	}
	d.clients[h] = struct{}{}
	return h, nil
}

// AttachID is Attach, for reading, to the dataset with an id, also after it
// was renamed. NotFound where it is destroyed.
func (e *Engine) AttachID(id uint64, c Caller, kick func()) (*Head, error) {
	e.gate.RLock()
	d := e.datasets[id]
	if d == nil || d.destroyed.lsn != 0 {
		e.gate.RUnlock()
		return nil, fail.New(fail.NotFound, "no dataset with number %d", id)
	}
	name := d.name
	e.gate.RUnlock()
	h, err := e.Attach(name, c, false, kick)
	if err == nil && h.d != d { // renamed, and the name given away, in between
		h.Detach()
		return nil, fail.New(fail.Busy, "%s is being renamed", name)
	}
	return h, err
}

// Detach ends the hold. The Head must not be used any more.
func (h *Head) Detach() {
	h.e.clients.Lock()
	defer h.e.clients.Unlock()
	if _, ok := h.d.clients[h]; ok {
		delete(h.d.clients, h)
		close(h.gone)
	}
}

// describe names the client: "127.0.0.1:40112 (NBD, 40 min)".
func (h *Head) describe() string {
	age := h.e.opt.Now().Sub(h.since).Round(time.Second)
	return fmt.Sprintf("%s (%s, %s)", h.caller.Addr, h.caller.Proto, age)
}

// busy returns who writes to d, or nil. Engine.clients is held.
func (d *dataset) busy() error {
	for h := range d.clients {
		if h.write {
			return fail.New(fail.Busy, "%s has a writer: %s", d.name, h.describe())
		}
	}
	return nil
}

// expel disconnects the writers of d and waits until they are gone. The
// dataset is fenced until the returned function is called.
func (e *Engine) expel(name string) (unfence func(), err error) {
	e.clients.Lock()
	e.gate.RLock()
	d, err := e.find(name)
	e.gate.RUnlock()
	if err != nil {
		e.clients.Unlock()
		return nil, err
	}
	if e.fenced[d] {
		e.clients.Unlock()
		return nil, fail.New(fail.Busy, "%s is being rolled back already", name)
	}
	e.fenced[d] = true
	var writers []*Head
	for h := range d.clients {
		if h.write {
			writers = append(writers, h)
		}
	}
	e.clients.Unlock()
	unfence = func() {
		e.clients.Lock()
		delete(e.fenced, d)
		e.clients.Unlock()
	}
	deadline := time.After(e.opt.KickTimeout)
	for _, h := range writers {
		h.kick()
	}
	for _, h := range writers {
		select {
		case <-h.gone:
		case <-deadline:
			unfence()
			return nil, fail.New(fail.Busy, "%s does not go: %s", name, h.describe())
		}
	}
	return unfence, nil
}

// Exclude makes sure that nobody may write to a volume until the returned function
// is called: Busy where a client may, unless force disconnects it first.
func (e *Engine) Exclude(name string, force bool) (done func(), err error) {
	if !force {
		e.clients.Lock()
		defer e.clients.Unlock()
		e.gate.RLock()
		defer e.gate.RUnlock()
		d, err := e.find(name)
		if err == nil {
			err = d.busy()
		}
		if f, ok := err.(*fail.Error); ok && f.Kind == fail.Busy {
			err = f.WithHint("--force disconnects it")
		}
		return func() {}, err
	}
	return e.expel(name)
}
