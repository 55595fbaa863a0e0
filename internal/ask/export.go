package ask

import (
	"context"
	"io"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/opfile"
	"varve/internal/oplog"
)

// Exported says what a file of operations has.
type Exported struct {
	Ops   uint64 `json:"ops"`
	Bytes uint64 `json:"bytes" doc:"Of data"`
	From  uint64 `json:"from_lsn"`
	To    uint64 `json:"to_lsn"`
}

// maxKnown bounds how many objects an export is about.
const maxKnown = 4 << 20

// Export writes the operations on the data of a dataset that are wanted, with their
// data, as a file of package opfile. Invalid where the dataset was rolled back in
// between: what came after does not follow from what was before. Corrupt where data
// fails its checksum. What was written before an error is of no use.
func (a *Asker) Export(ctx context.Context, q Query, out io.Writer) (Exported, error) {
	info, err := a.e.Dataset(q.Dataset)
	if err != nil {
		return Exported{}, err
	}
	x := exporter{e: a.e, known: map[uint64]struct{}{inode.Root: {}}, v: newVisitor(a.e, &q.Filter)}
	defer x.v.close()
	q.Follow = false
	lq := engine.LogQuery{
		Dataset: q.Dataset, Since: q.Since, Until: q.Until, Filter: q.Filter, Progress: q.Progress,
		Names: true, Extents: true, Left: x.v.skip,
	}
	from, to, err := a.e.LogRange(lq)
	if err != nil {
		return Exported{}, err
	}
	release, err := a.e.KeepHistory(q.Dataset, from)
	if err != nil {
		return Exported{}, err
	}
	defer release()
	lq.Since, lq.Until = lsnSpec(from), lsnSpec(to)
	if from < info.CreatedLSN {
		lq.Since = nil
	}
	x.w, err = opfile.NewWriter(out, opfile.Header{
		Pool: a.e.PoolID(), Dataset: info.ID, Share: info.Kind == "share", Name: info.Name, From: from, To: to,
	})
	if err != nil {
		return Exported{}, err
	}
	err = a.e.Log(ctx, lq, func(op *oplog.Op, wanted bool) error {
		if op.Dataset == info.ID && op.Kind.TurnsBack() {
			return fail.New(fail.Invalid, "lsn %d (%s) is in the way: what follows does not come from what is before", op.LSN, op.Kind).
				WithHint("export up to lsn:%d, or since lsn:%d", op.LSN-1, op.LSN)
		}
		return x.v.op(op, wanted && op.Kind.OnData(), x.add)
	})
	if err == nil {
		err = x.w.Close()
	}
	ops, bytes := x.w.Ops()
	return Exported{Ops: ops, Bytes: bytes, From: from, To: to}, err
}

// exporter writes operations with their data.
type exporter struct {
	e     *engine.Engine
	w     *opfile.Writer
	v     *visitor
	known map[uint64]struct{} // objects that the file makes, or has told the path of
	buf   []byte
}

func (x *exporter) add(op *oplog.Op, _, _ string) error {
	if op.Kind.OnFile() {
		if err := x.tell(op); err != nil {
			return err
		}
	}
	var data []byte
	if op.Kind.Writes() {
		n := engine.PayloadLen(op)
		if cap(x.buf) < n {
			x.buf = make([]byte, n)
		}
		if err := x.e.Payload(op, x.buf[:n]); err != nil {
			return err
		}
		data = x.buf[op.Off%engine.BlockSize:][:op.Len]
	}
	return x.w.Op(op, data)
}

// tell tells the paths of what an operation is about and the file did not make.
func (x *exporter) tell(op *oplog.Op) error {
	f := x.v.follower(op.Dataset)
	for i, ino := range []uint64{op.Ino, op.Dir, op.Dir2, op.Ino2} {
		if _, ok := x.known[ino]; ok || ino == 0 {
			continue
		}
		if len(x.known) >= maxKnown {
			return fail.New(fail.TooBig, "the operations are about more than %d objects", maxKnown).WithHint("export shorter ranges")
		}
		x.known[ino] = struct{}{}
		if i == 0 && op.Kind.Makes() {
			continue
		}
		path, err := f.Path(ino, op.LSN)
		if err == nil {
			err = x.w.Path(ino, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
