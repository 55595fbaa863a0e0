package engine

import (
	"context"
	"sort"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// OpInfo is one operation of the log, for people.
type OpInfo struct {
	LSN     uint64    `json:"lsn"`
	Time    time.Time `json:"time"`
	Client  string    `json:"client,omitempty"` // "" = the server itself
	Kind    string    `json:"op"`
	Dataset uint64    `json:"dataset_id"`
	Off     uint64    `json:"off"` // bytes; of write and trim
	Len     uint64    `json:"len"`
	Name    string    `json:"name,omitempty"`
	At      uint64    `json:"at,omitempty"` // the moment that a clone, rollback or snapshot refers to
	Size    uint64    `json:"size,omitempty"`
}

// Log visits the operations on a dataset's line (of the whole pool: "") in
// (since, until], oldest first. A zero Spec kind of since, nil, means from the
// oldest reachable moment; nil until, up to now. fn's error ends it.
func (e *Engine) Log(ctx context.Context, dataset string, since, until *when.Spec, fn func(OpInfo) error) error {
	id := uint64(0)
	from, to := uint64(0), e.log.LastLSN()
	if dataset != "" {
		i, err := e.Dataset(dataset)
		if err != nil {
			return err
		}
		id, from = i.ID, i.CreatedLSN-1
	} else if since != nil || until != nil {
		return fail.New(fail.Invalid, "a moment needs a dataset")
	}
	for _, x := range []struct {
		spec *when.Spec
		lsn  *uint64
	}{{since, &from}, {until, &to}} {
		if x.spec == nil {
			continue
		}
		m, err := e.Resolve(dataset, *x.spec)
		if err != nil {
			return err
		}
		*x.lsn = m.LSN
	}
	e.gate.RLock()
	cs := e.checkpoints
	e.gate.RUnlock()
	i := sort.Search(len(cs), func(i int) bool { return cs[i].cut > from })
	if i == 0 {
		return fail.New(fail.OutsideHistory, "the log does not reach back to lsn %d", from)
	}
	var stop error
	err := e.scanFrom(cs[i-1], to, func(op *oplog.Op) bool {
		if stop = ctx.Err(); stop != nil {
			return false
		}
		mine := id == 0 || op.Dataset == id || op.Source == id || op.Kind == oplog.Snapshot && op.Dataset == 0
		if op.LSN <= from || !mine || op.Kind == oplog.Drain && id != 0 {
			return true
		}
		stop = fn(opInfo(op))
		return stop == nil
	})
	if stop != nil {
		return stop
	}
	return err
}

func opInfo(op *oplog.Op) OpInfo {
	i := OpInfo{
		LSN: op.LSN, Time: time.Unix(0, op.Time).UTC(), Kind: op.Kind.String(), Dataset: op.Dataset,
		Off: op.Off, Len: op.Len, Name: op.Name, At: op.At, Size: op.Size,
	}
	if op.Client != nil {
		i.Client = op.Client.Name
	}
	return i
}

// CheckpointInfo describes a checkpoint.
type CheckpointInfo struct {
	Number uint64    `json:"number"`
	LSN    uint64    `json:"lsn"` // its cut
	Time   time.Time `json:"time"`
	Base   bool      `json:"base"` // views of history start there
}

// Checkpoints lists the checkpoints, oldest first.
func (e *Engine) Checkpoints() []CheckpointInfo {
	e.gate.RLock()
	cs := e.checkpoints
	e.gate.RUnlock()
	out := make([]CheckpointInfo, 0, len(cs))
	for _, c := range cs {
		out = append(out, CheckpointInfo{Number: c.number, LSN: c.cut, Time: time.Unix(0, c.time).UTC(), Base: c.base})
	}
	return out
}
