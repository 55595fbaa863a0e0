package engine

import (
	"context"
	"sort"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// OpReader reads the operations of the log with all that they have, in order, and
// goes on where it stopped. Not safe for concurrent use.
type OpReader struct {
	e    *Engine
	pos  segment.Position // a frame before the next operation's
	last uint64           // the operation read last
	lost losses
	end  func()
}

// ReadOps begins after lsn, for the operations on one dataset. Close it: what it
// may still read is kept until then. OutsideHistory; Invalid for a moment among
// operations that were given up, from which none goes on.
func (e *Engine) ReadOps(dataset, lsn uint64) (*OpReader, error) {
	pos, end, err := e.opsAfter(dataset, lsn)
	if err != nil {
		return nil, err
	}
	r := &OpReader{e: e, pos: pos, last: lsn, lost: e.losses(), end: end}
	if err := r.lost.outside(dataset, lsn); err != nil {
		end()
		return nil, err
	}
	return r, nil
}

// opsAfter is where the operations after lsn are read from, on a dataset or, with
// 0, on all. They are kept until end is called. What the log forgot of before its
// first checkpoint was of other datasets, where lsn is in this one's history:
// see replayFrom.
func (e *Engine) opsAfter(dataset, lsn uint64) (pos segment.Position, end func(), err error) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	cs := e.checkpoints
	i := sort.Search(len(cs), func(i int) bool { return cs[i].cut > lsn })
	if i == 0 {
		if d := e.datasets[dataset]; d != nil && lsn < d.opsFrom() {
			return pos, nil, fail.New(fail.OutsideHistory, "the log does not reach back to lsn %d; it begins after lsn %d", lsn, cs[0].cut)
		}
		i = 1
	}
	pos = cs[i-1].pos
	return pos, e.reads.begin(pos), nil
}

// opsFrom is the moment after which history has all operations on d. The gate is
// held.
func (d *dataset) opsFrom() uint64 {
	if d.horizon.lsn > d.created.lsn {
		return d.horizon.lsn // what was before is forgotten
	}
	return d.created.lsn - 1
}

// Close ends the reading.
func (r *OpReader) Close() { r.end() }

// Last returns the last LSN that was read, of whichever dataset.
func (r *OpReader) Last() uint64 { return r.last }

// To visits the operations on a dataset up to and with lsn, at most the last one, but
// not those that were given up. An operation is valid during the call only. fn's error
// ends it.
func (r *OpReader) To(ctx context.Context, dataset, lsn uint64, fn func(*oplog.Op) error) error {
	if err := r.lost.outside(dataset, lsn); err != nil {
		return err
	}
	if err := r.e.storeHas(lsn); err != nil {
		return err
	}
	var dec oplog.Decoder
	var op oplog.Op
	from, before := r.last, r.pos
	return segment.Read(r.e.store, r.e.super.pool, r.pos, lsn, func(f *segment.Frame) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.pos, before = before, f.Position
		dec.Reset()
		for n, rec := range f.Records() {
			if err := dec.Decode(rec, n, &op); err != nil {
				return err
			}
			if n <= from || n > lsn {
				continue
			}
			if op.Dataset == dataset && !r.lost.has(&op) {
				if err := fn(&op); err != nil {
					return err
				}
			}
			r.last = n
		}
		return nil
	})
}

// PayloadLen is how many bytes Payload needs.
func PayloadLen(op *oplog.Op) int {
	n := 0
	for _, x := range op.Extents {
		n += len(x.CRC)
	}
	return n * BlockSize
}

// Payload reads the whole blocks that an operation has, its edges merged, into p,
// and verifies them.
func (e *Engine) Payload(op *oplog.Op, p []byte) error {
	block := op.Off / BlockSize
	for _, x := range op.Extents {
		n := len(x.CRC) * BlockSize
		a := segment.Addr(x.Addr)
		if err := e.readBlocks(a, p[:n]); err != nil {
			return err
		}
		if err := e.verify(a, p[:n], x.CRC, op.Ino, block); err != nil {
			return err
		}
		p = p[n:]
		block += uint64(len(x.CRC))
	}
	return nil
}
