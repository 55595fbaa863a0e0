package engine

import (
	"errors"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// ID returns the dataset's number, which outlives its names.
func (h *Head) ID() uint64 { return h.d.id }

// Name returns what the dataset is called now.
func (h *Head) Name() string {
	h.e.gate.RLock()
	defer h.e.gate.RUnlock()
	return h.d.name
}

// Gone reports whether the dataset was destroyed. It may come back.
func (h *Head) Gone() bool {
	h.e.gate.RLock()
	defer h.e.gate.RUnlock()
	return h.d.destroyed.lsn != 0
}

// IsShare reports whether the dataset is a share; else it is a volume.
func (h *Head) IsShare() bool { return h.d.kind == shareKind }

// Seed returns what the share's names are hashed with. It never changes.
func (h *Head) Seed() uint64 { return h.d.head.seed }

// CreatedLSN returns the operation that made the dataset.
func (h *Head) CreatedLSN() uint64 { return h.d.created.lsn }

// NextIno returns the number for a new object. Only a judge may ask.
func (h *Head) NextIno() uint64 { return h.d.nextIno }

// ChangedLSN returns the last operation that changed the share: what somebody
// sees is durable when that is. Only a judge, or the function that Look runs, may
// ask.
func (h *Head) ChangedLSN() uint64 { return h.d.changed }

// Usage returns the payload that the share refers to, in bytes, and its
// inodes. Only a judge, or the function that Look runs, may ask.
func (h *Head) Usage() (bytes, inodes uint64) { return h.d.head.usage() }

// Floor returns the least ctime to show: Unix nanoseconds. Only a judge, or the
// function that Look runs, may ask.
func (h *Head) Floor() int64 { return h.d.head.floor }

func (f *figures) usage() (bytes, inodes uint64) {
	return uint64(max(f.mapped, 0)) * BlockSize, uint64(max(f.inodes, 0))
}

// Look runs fn on the share as it is now. No operation happens meanwhile, so fn
// must be brief; it only reads, returns the reader's errors as they are, and
// may be run several times: it must not keep anything from a run that failed.
func (h *Head) Look(fn func(inode.Reader) error) error {
	for {
		err := h.look(fn)
		if !h.e.loaded(&err) {
			return err
		}
	}
}

func (h *Head) look(fn func(inode.Reader) error) error {
	d := h.d
	d.mu.RLock()
	defer d.mu.RUnlock()
	return fn(d.head.tree)
}

// loaded loads the node that err misses, and reports whether to begin again.
func (e *Engine) loaded(err *error) bool {
	if *err == nil {
		return false
	}
	var miss *tree.Miss
	if !errors.As(*err, &miss) {
		return false
	}
	*err = e.cache.Load(miss)
	return *err == nil
}

// Change runs one operation on files: judge, log, Apply, after, all in one hold
// of the dataset's lock. judge may run several times: it fills op, from scratch
// each time, or refuses by an error; it only reads. after, which may be nil,
// sees the result. On return the operation has its LSN and time and is in
// memory; Commit makes it durable. Errors: judge's, NoSpace, FailStopped.
func (h *Head) Change(op *oplog.Op, judge func(inode.Reader) error, after func(inode.Reader)) error {
	if !h.IsShare() {
		return errNoFile
	}
	r := h.requestOf(op)
	defer r.put()
	r.judge, r.after = judge, after
	op.Dataset = h.d.id
	long := (len(op.Value) + BlockSize/2) / BlockSize // a long record takes blocks of its own, which Append does not count
	err := h.run(r, 1+long, op.Kind == oplog.Remove || op.Kind == oplog.Rmdir)
	if err == nil && long > 0 {
		h.e.log.Release(long)
	}
	return err
}

// Memory is memory of the log for the payload of one write, to spare a copy.
type Memory = segment.Memory

// Lend returns memory for one WriteFile: see segment.Memory. Whoever lends it
// bounds how much.
func (e *Engine) Lend() Memory { return e.log.Lend() }

// WriteFile is Change for a write of p, at most MaxWrite bytes, at op.Off of
// file op.Ino; its edges are merged with what is there. m is the memory that p
// came in, if the engine lent it, or nil; the log may take it over.
func (h *Head) WriteFile(op *oplog.Op, m *Memory, p []byte, judge func(inode.Reader) error, after func(inode.Reader)) error {
	if !h.IsShare() {
		return errNoFile
	}
	op.Kind, op.Dataset, op.Len = oplog.WriteFile, h.d.id, uint64(len(p))
	e := edgePool.Get().(*edges)
	defer edgePool.Put(e)
	return h.merged(op, m, judge, after, func() ([][]byte, []Expect, error) { return h.merge(e, op.Ino, p, op.Off) })
}

// Truncate is Change for a Setattr of a file's size.
func (h *Head) Truncate(op *oplog.Op, judge func(inode.Reader) error, after func(inode.Reader)) error {
	if !h.IsShare() {
		return errNoFile
	}
	op.Kind, op.Dataset = oplog.Setattr, h.d.id
	e := edgePool.Get().(*edges)
	defer edgePool.Put(e)
	size := op.Attr.Size
	return h.merged(op, nil, judge, after, func() ([][]byte, []Expect, error) { return h.cutEdge(e, op.Ino, size) })
}

// merged runs an operation with payload, anew each time that its edges changed
// under it.
func (h *Head) merged(op *oplog.Op, m *Memory, judge func(inode.Reader) error, after func(inode.Reader), blocks func() ([][]byte, []Expect, error)) error {
	for {
		bufs, expect, err := blocks()
		if err != nil {
			return err
		}
		r := h.requestOf(op)
		r.judge, r.after, r.expect, r.memory = judge, after, expect, m
		first := op.Off / BlockSize
		if op.Kind == oplog.Setattr {
			first = op.Attr.Size / BlockSize
		}
		room := max(1, int(r.cutPieces(first, bufs)))
		op.Extents = r.ext // Prepare must know whether there are any; the log says where
		err = h.run(r, room, op.Kind == oplog.Setattr)
		r.put()
		if err != errMerge {
			return err
		}
	}
}

// ReadFile fills p from byte off of file ino; holes, and what is beyond the
// end, read as zeros. Corrupt names damaged blocks, which are never served.
func (h *Head) ReadFile(ino uint64, p []byte, off uint64) error {
	_, err := h.e.read(h.d, ino, p, off, nil, true)
	return err
}

// ReadJudged is ReadFile of as many bytes as judge says, at most len(p), both of
// one state of the share. judge may run several times and only reads. Without
// wait ok is false where the disk would have to be waited for; p then holds
// nothing of use.
func (h *Head) ReadJudged(ino uint64, p []byte, off uint64, wait bool, judge func(inode.Reader) (int, error)) (n int, ok bool, err error) {
	return h.e.readJudged(h.d, ino, p, off, wait, judge)
}

// MapFile is Map for the bytes [off, off+n) of file ino.
func (h *Head) MapFile(ino, off, n uint64, fn func(Span) bool) error {
	v := h.now()
	defer v.Close()
	return mapVersion(v, ino, off, n, fn)
}

// Commit returns when operation lsn, and all before it, are durable.
func (h *Head) Commit(lsn uint64) error { return h.e.log.Commit(lsn) }

// ID returns the number of the view's dataset.
func (v *View) ID() uint64 { return v.key.dataset }

// LSN returns the view's moment.
func (v *View) LSN() uint64 { return v.key.lsn }

// Seed is Head.Seed.
func (v *View) Seed() uint64 { return v.seed }

// Usage is Head.Usage at the view's moment; anybody may ask.
func (v *View) Usage() (bytes, inodes uint64) { return v.usage() }

// Floor is Head.Floor at the view's moment; anybody may ask.
func (v *View) Floor() int64 { return v.floor }

// Look is Head.Look at the view's moment; nothing waits for fn.
func (v *View) Look(fn func(inode.Reader) error) error { return fn(v.vers.Blocking()) }

// ReadFile is Head.ReadFile at the view's moment.
func (v *View) ReadFile(ino uint64, p []byte, off uint64) error {
	_, err := v.e.read(v, ino, p, off, nil, true)
	return err
}

// ReadJudged is Head.ReadJudged at the view's moment.
func (v *View) ReadJudged(ino uint64, p []byte, off uint64, wait bool, judge func(inode.Reader) (int, error)) (n int, ok bool, err error) {
	return v.e.readJudged(v, ino, p, off, wait, judge)
}

// MapFile is Head.MapFile at the view's moment.
func (v *View) MapFile(ino, off, n uint64, fn func(Span) bool) error {
	return mapVersion(v.vers, ino, off, n, fn)
}

// OpenViewID is OpenView for a dataset by its number: for file handles, which
// carry resolved moments.
func (e *Engine) OpenViewID(id, lsn uint64) (*View, error) {
	e.gate.RLock()
	d := e.datasets[id]
	if d == nil || d.gone || lsn > e.log.LastLSN() || !d.kept(lsn) {
		e.gate.RUnlock()
		return nil, fail.New(fail.Stale, "moment lsn %d of dataset %d is not there", lsn, id)
	}
	e.gate.RUnlock()
	return e.openView(d, lsn)
}

// Capacity returns what payload the pool can hold in all, and how much more, in
// bytes. What it cannot tell is 0.
func (e *Engine) Capacity() (total, free uint64) {
	sp, err := e.store.Space()
	if err != nil {
		return 0, 0
	}
	return uint64(sp.Capacity), uint64(sp.Free)
}
