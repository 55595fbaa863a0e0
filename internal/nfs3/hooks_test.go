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
}

func newHooks(f files) *hooks {
	h := &hooks{files: f}
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
	return h.files.Mkdir(c, dir, name, set)
}

func (h *hooks) Commit(lsn uint64, f fs.Handle) error {
	if err := h.committing(); err != nil {
		return err
	}
	return h.files.Commit(lsn, f)
}

func (h *hooks) Flush(f fs.Handle) error {
	if err := h.committing(); err != nil {
		return err
	}
	return h.files.Flush(f)
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
