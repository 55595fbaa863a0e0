package engine

import (
	"errors"
	"sync"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// MaxWrite bounds one write operation: bytes of whole blocks.
const MaxWrite = 1 << 20

// errMerge makes a write merge its edges anew.
var errMerge = fail.New(fail.Stale, "a block changed while it was merged")

// Expect says which payload a block had when an unaligned write merged it;
// the write is refused if that has changed since, as Stale.
type Expect struct {
	Block uint64
	Addr  uint64 // 0: a hole
}

// request is the memory of one data operation, pooled.
type request struct {
	rec    opRecord
	own    oplog.Op
	op     *oplog.Op // own, or the caller's
	pre    prepared
	pieces []segment.Piece
	crc    []uint32
	ext    []oplog.Extent
	expect []Expect
	memory *segment.Memory          // in which the payload may lie, or nil
	judge  func(inode.Reader) error // of an operation on files
	after  func(inode.Reader)
}

var requests = sync.Pool{New: func() any { return new(request) }}

func (h *Head) newRequest(kind oplog.Kind, off, n uint64) *request {
	r := h.requestOf(nil)
	r.own = oplog.Op{Kind: kind, Dataset: h.d.id, Client: h.client, Off: off, Len: n}
	return r
}

// requestOf is the memory for op, or for one in its own.
func (h *Head) requestOf(op *oplog.Op) *request {
	r := requests.Get().(*request)
	if r.op = op; op == nil {
		r.op = &r.own
	}
	r.rec = opRecord{e: h.e, op: r.op}
	r.pieces, r.crc, r.ext = r.pieces[:0], r.crc[:0], r.ext[:0]
	r.judge, r.after, r.expect, r.memory = nil, nil, nil, nil
	return r
}

// dropOld lets go of the tree that a trim named and did not need.
func (r *request) dropOld() {
	if r.pre.old != nil {
		r.pre.old.vers.Close()
		r.pre.old = nil
	}
}

func (r *request) put() {
	r.dropOld()
	clear(r.pieces[:cap(r.pieces)])
	r.op, r.judge, r.after, r.expect, r.memory = nil, nil, nil, nil, nil
	requests.Put(r)
}

// AppendRecord implements segment.Record: the pieces have their addresses now.
func (r *request) AppendRecord(dst []byte, lsn, frame uint64, now int64) []byte {
	r.op.Extents = r.ext
	for i := range r.pieces {
		r.ext[i].Addr = uint64(r.pieces[i].Addr)
	}
	return r.rec.AppendRecord(dst, lsn, frame, now)
}

// cutPieces divides the blocks in bufs, which begin at block b of the volume,
// into pieces that respect the border rule, and checksums them while they are
// hot in the processor's cache.
func (r *request) cutPieces(b uint64, bufs [][]byte) uint64 {
	total := uint64(0)
	for _, p := range bufs {
		total += uint64(len(p)) / BlockSize
	}
	if uint64(cap(r.crc)) < total {
		r.crc = make([]uint32, 0, total)
	}
	for _, p := range bufs {
		for len(p) > 0 {
			n := min(int(chunkBlocks-b%chunkBlocks), len(p)/BlockSize) // the log takes pieces of a whole chunk
			start := len(r.crc)
			for i := range n {
				r.crc = append(r.crc, segment.Checksum(p[i*BlockSize:(i+1)*BlockSize]))
			}
			crc := r.crc[start:len(r.crc):len(r.crc)]
			r.pieces = append(r.pieces, segment.Piece{Kind: segment.Data, Data: p[:n*BlockSize], CRC: crc})
			r.ext = append(r.ext, oplog.Extent{CRC: crc})
			p = p[n*BlockSize:]
			b += uint64(n)
		}
	}
	return total
}

// Write logs and applies one write of the exact bytes [off, off+n): bufs hold
// the whole blocks from off/4096 on, edges merged, at most MaxWrite. On return
// it is in memory and readable, and durable after Flush. expect lists the
// merged blocks. Errors: Stale (read the edges again and retry), NoSpace,
// FailStopped.
func (h *Head) Write(off, n uint64, bufs [][]byte, expect []Expect) error {
	r := h.newRequest(oplog.Write, off, n)
	defer r.put()
	r.expect = expect
	return h.run(r, int(r.cutPieces(off/BlockSize, bufs)), false)
}

// TryWriteAt is WriteAt of whole blocks for a caller that must not wait, neither for
// the disk nor for others' bytes to reach it. Where WriteAt would wait or fail it
// returns false, and nothing has happened.
func (h *Head) TryWriteAt(p []byte, off uint64) bool {
	e, room := h.e, len(p)/BlockSize
	if off%BlockSize != 0 || len(p)%BlockSize != 0 || len(p) > MaxWrite {
		return false
	}
	if e.writable() != nil || e.cache.DirtyBytes() > e.opt.CacheBytes || !e.log.TryAdmit(room) {
		return false
	}
	r := h.newRequest(oplog.Write, off, uint64(len(p)))
	defer r.put()
	r.cutPieces(off/BlockSize, [][]byte{p})
	if h.attempt(r) != nil {
		e.log.Release(room)
		return false
	}
	return true
}

// Trim makes a range of whole blocks a hole. As durable as Write. It works on a
// full pool too, since it will free space.
func (h *Head) Trim(off, n uint64) error {
	r := h.newRequest(oplog.Trim, off, n)
	defer r.put()
	return h.run(r, 1, true)
}

// run takes a data operation through Prepare, log and Apply. room is what
// Append will use: its blocks, or one. reserve lets it use the last space.
func (h *Head) run(r *request, room int, reserve bool) error {
	e := h.e
	if err := e.admit(room, reserve); err != nil {
		return err
	}
	for {
		err := h.attempt(r)
		if err == nil {
			return nil
		}
		var miss *tree.Miss
		if errors.As(err, &miss) {
			err = e.cache.Load(miss)
		}
		if err == nil {
			continue
		}
		e.log.Release(room)
		p, ok := err.(*errPaused)
		if !ok {
			return err
		}
		<-p.over // without room: who paused the dataset needs some
		if err := e.admit(room, reserve); err != nil {
			return err
		}
	}
}

// attempt runs the operation once; *tree.Miss asks for a node and changes
// nothing.
func (h *Head) attempt(r *request) error {
	e, d := h.e, h.d
	e.gate.RLock()
	defer e.gate.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := h.prepare(r); err != nil {
		return err
	}
	if _, err := e.log.AppendIn(r.memory, r.pieces, r); err != nil {
		return err
	}
	if err := e.applyData(d, r.op, &r.pre); err != nil {
		e.stop(err)
		return err
	}
	if r.after != nil {
		r.after(d.head.tree)
	}
	return nil
}

// prepare judges the operation and makes the tree ready for it.
func (h *Head) prepare(r *request) error {
	d := h.d
	switch {
	case d.destroyed.lsn != 0 && !h.draft:
		return fail.New(fail.NotFound, "%s was destroyed", d.name)
	case d.paused != nil:
		return d.paused
	}
	if r.judge != nil {
		if err := r.judge(d.head.tree); err != nil {
			return err
		}
		r.op.Dataset = d.id
	} else if size := d.head.size; r.op.Off > size || r.op.Len > size-r.op.Off {
		return fail.New(fail.Invalid, "%d bytes at %d reach beyond the end of %s, which has %d", r.op.Len, r.op.Off, d.name, size)
	}
	if err := h.e.withinLimits(d, r.op); err != nil {
		return err
	}
	if err := h.expected(r); err != nil {
		return err
	}
	dead, err := d.head.dies(r.op)
	if err != nil {
		return err
	}
	if !dead.empty() {
		// The dying list needs the tree as it was; name it before its pages
		// are made writable.
		r.dropOld()
		r.pre.old = d.freeze(h.e.lastLSN(), h.e.log.Position())
	}
	return d.head.prepare(r.op)
}

// expected says whether the merged blocks are still those.
func (h *Head) expected(r *request) error {
	for _, x := range r.expect {
		addr, err := h.d.head.addrOf(r.op.Ino, x.Block)
		if err != nil {
			return err
		}
		if addr != x.Addr {
			return errMerge
		}
	}
	return nil
}

// addrOf returns where a block's payload is, 0 for a hole.
func (im *image) addrOf(ino, block uint64) (uint64, error) {
	if err := im.collect(span{ino, block, block + 1}); err != nil {
		return 0, err
	}
	if len(im.found) == 0 {
		return 0, nil
	}
	x := im.found[0]
	return x.addr + block - x.block, nil
}

// admit waits until the log takes room blocks, and until tree nodes that a
// checkpoint must write leave room in memory.
func (e *Engine) admit(room int, reserve bool) error {
	if err := e.writable(); err != nil {
		return err
	}
	if e.cache.DirtyBytes() > e.opt.CacheBytes {
		if err := e.Checkpoint(); err != nil {
			return err
		}
	}
	return e.takeRoom(room, reserve)
}

// takeRoom waits until the log takes room blocks. On a full pool it makes room
// first, unless the last space may be used: who frees space, or makes room itself,
// must not wait for that.
func (e *Engine) takeRoom(room int, reserve bool) error {
	seen := e.room.rounds.Load()
	err := e.log.Admit(room, reserve)
	for tries := 0; fail.Is(err, fail.NoSpace) && !reserve && tries < roomTries; tries++ {
		if err = e.roomFor(seen, err); err == nil {
			seen = e.room.rounds.Load()
			err = e.log.Admit(room, reserve)
		}
	}
	return err
}
