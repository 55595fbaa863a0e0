package nfs3

import (
	"sync"

	"varve/internal/fs"
)

// gate is a place where calls can be made to wait.
type gate struct {
	mu      sync.Mutex
	closed  chan struct{} // nil: open
	entered chan struct{} // told of each that comes while it is closed
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
	for len(g.entered) > 0 {
		<-g.entered
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		g.entered <- struct{}{}
		<-closed
	}
}

// hooks are files of which some calls can be made to wait, or to fail.
type hooks struct {
	files
	read, write, mkdir, commit gate

	mu        sync.Mutex
	commitErr error
	commits   int
	flushes   int
	done      map[uint32]uint64 // the operation of each MKDIR, by XID
	durable   uint64            // all operations up to it
}

func newHooks(f files) *hooks {
	h := &hooks{files: f, done: map[uint32]uint64{}}
	for _, g := range []*gate{&h.read, &h.write, &h.mkdir, &h.commit} {
		g.entered = make(chan struct{}, 1000)
	}
	return h
}

func (h *hooks) Read(c *fs.Call, f fs.Handle, p []byte, off uint64) (int, bool, fs.Attr, error) {
	h.read.pass()
	return h.files.Read(c, f, p, off)
}

func (h *hooks) TryRead(c *fs.Call, f fs.Handle, p []byte, off uint64) (bool, int, bool, fs.Attr, error) {
	h.read.pass()
	return h.files.TryRead(c, f, p, off)
}

func (h *hooks) Write(c *fs.Call, f fs.Handle, p []byte, off uint64) (fs.Wcc, uint64, error) {
	h.write.pass()
	return h.files.Write(c, f, p, off)
}

func (h *hooks) Mkdir(c *fs.Call, dir fs.Handle, name string, set fs.SetAttr) (fs.Made, error) {
	h.mkdir.pass()
	m, err := h.files.Mkdir(c, dir, name, set)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Req != nil {
		h.done[c.Req.XID] = m.LSN
	}
	return m, err
}

// durability returns the operation of a MKDIR, and up to which all are durable.
func (h *hooks) durability(xid uint32) (done, durable uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done[xid], h.durable
}

func (h *hooks) Commit(lsn uint64, f fs.Handle) error {
	if err := h.committing(); err != nil {
		return err
	}
	err := h.files.Commit(lsn, f)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.durable = max(h.durable, lsn)
	}
	return err
}

func (h *hooks) Flush(f fs.Handle) error {
	if err := h.committing(); err != nil {
		return err
	}
	h.mu.Lock()
	all := uint64(0)
	for _, lsn := range h.done {
		all = max(all, lsn)
	}
	h.mu.Unlock()
	err := h.files.Flush(f)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.flushes++
		h.durable = max(h.durable, all)
	}
	return err
}

func (h *hooks) flushed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.flushes
}

func (h *hooks) committing() error {
	h.commit.pass()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits++
	return h.commitErr
}

func (h *hooks) failCommits(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commitErr = err
}

func (h *hooks) committed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits
}
