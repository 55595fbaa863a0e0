package engine

import (
	"context"
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
	Value   string    `json:"value,omitempty"` // of a property
	File    *FileInfo `json:"file,omitempty"`  // of operations on the files of a share
}

// FileInfo is what an operation on a file says about it. The name in the
// operation is the one that the file gets, has or loses in directory Dir.
type FileInfo struct {
	Ino    uint64   `json:"ino"`
	Dir    uint64   `json:"dir,omitempty"`
	Dir2   uint64   `json:"dir2,omitempty"`   // rename: the directory of the new name,
	Name2  string   `json:"name2,omitempty"`  // and the new name
	Ino2   uint64   `json:"ino2,omitempty"`   // rename: the file that had the new name
	Set    []string `json:"set,omitempty"`    // the attributes that are set: "mode", "size"
	Target string   `json:"target,omitempty"` // where a symlink leads
	UID    uint32   `json:"uid"`              // who asked
	GID    uint32   `json:"gid"`
}

// LogQuery says which operations of the log are wanted. With Names those that
// bind names are visited too, wanted or not (oplog.NameKinds): whoever follows
// paths has to see them.
type LogQuery struct {
	Dataset      string     // whose line; "" = of the whole pool
	Since, Until *when.Spec // operations of (Since, Until]; nil = from the oldest reachable moment, up to now
	Filter       oplog.Filter
	Names        bool
	Extents      bool // with the extents of writes; else operations come without
	Follow       bool // go on with what happens from now on, until ctx ends; without Since nothing before that

	Progress func(done, total uint64) // LSNs; may be nil
	Left     func()                   // with Names: operations that bind names were left out before the next visit

	visit func(op *oplog.Op, wanted bool) error
}

// followEvery is how often a query that follows looks for more.
const followEvery = 250 * time.Millisecond

// Log visits the operations that a query wants, oldest first, without their requests.
// op is valid during the call only; its strings are parts of longer ones, so who keeps
// one clones it. fn's error ends it. OutsideHistory where the log does not
// reach back that far.
func (e *Engine) Log(ctx context.Context, q LogQuery, fn func(op *oplog.Op, wanted bool) error) error {
	id, from, to, err := e.logRange(&q)
	if err != nil {
		return err
	}
	pos, end, err := e.opsAfter(id, from)
	if err != nil {
		return err
	}
	defer func() { end() }()
	q.visit = fn
	if q.Left == nil {
		q.Left = func() {}
	}
	e.digests.load(e)
	e.digests.forget(e.recordsFrom())
	lost := e.losses()
	for {
		s := &logScan{e: e, q: &q, id: id, from: from, to: to, lost: lost, end: pos}
		if to > from {
			err = s.run(ctx, pos)
		}
		if err != nil || !q.Follow {
			e.digests.save(e)
			return err
		}
		next := e.reads.begin(s.end)
		end()
		pos, from, end = s.end, to, next
		if to, err = e.nextOps(ctx, to); err != nil {
			return err
		}
	}
}

// nextOps waits for operations after lsn and returns the last one.
func (e *Engine) nextOps(ctx context.Context, lsn uint64) (uint64, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		if last := e.log.LastLSN(); last > lsn {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// LogRange says which operations a query looks at: those of (from, to].
func (e *Engine) LogRange(q LogQuery) (from, to uint64, err error) {
	_, from, to, err = e.logRange(&q)
	return from, to, err
}

// logRange resolves what a query is about.
func (e *Engine) logRange(q *LogQuery) (id, from, to uint64, err error) {
	to = e.log.LastLSN()
	if q.Follow && q.Since == nil {
		defer func() { from = max(from, to) }()
	}
	if q.Dataset == "" {
		if q.Since != nil || q.Until != nil {
			return 0, 0, 0, fail.New(fail.Invalid, "a moment needs a dataset")
		}
		e.gate.RLock()
		from = e.checkpoints[0].cut
		e.gate.RUnlock()
		return 0, from, to, nil
	}
	i, err := e.Dataset(q.Dataset)
	if err != nil {
		return 0, 0, 0, err
	}
	e.gate.RLock()
	if d := e.datasets[i.ID]; d != nil {
		from = d.opsFrom()
	}
	e.gate.RUnlock()
	for _, x := range []struct {
		spec *when.Spec
		lsn  *uint64
	}{{q.Since, &from}, {q.Until, &to}} {
		if x.spec == nil {
			continue
		}
		m, err := e.Resolve(q.Dataset, *x.spec)
		if err != nil {
			return 0, 0, 0, err
		}
		*x.lsn = m.LSN
	}
	return i.ID, from, to, nil
}

// Describe tells people about an operation.
func Describe(op *oplog.Op) OpInfo {
	i := OpInfo{
		LSN: op.LSN, Time: time.Unix(0, op.Time).UTC(), Kind: op.Kind.String(), Dataset: op.Dataset,
		Off: op.Off, Len: op.Len, Name: op.Name, At: op.At, Size: op.Size,
	}
	if op.Client != nil {
		i.Client = op.Client.Name
	}
	if op.Kind == oplog.Set {
		i.Value = op.Value
		if isSecret(op.Name) && op.Value != "" {
			i.Value = hidden
		}
	}
	if op.Kind.OnFile() {
		i.File = fileInfo(op)
		if op.Attr.Mask&oplog.SetSize != 0 {
			i.Size = op.Attr.Size
		}
	}
	return i
}

// attrNames are the words for the fields of an oplog.Attr that people know.
var attrNames = []struct {
	mask oplog.AttrMask
	name string
}{
	{oplog.SetMode, "mode"}, {oplog.SetUID, "uid"}, {oplog.SetGID, "gid"}, {oplog.SetSize, "size"},
	{oplog.SetAtime | oplog.SetAtimeNow, "atime"}, {oplog.SetMtime | oplog.SetMtimeNow, "mtime"},
	{oplog.SetFlags, "flags"},
}

func fileInfo(op *oplog.Op) *FileInfo {
	f := &FileInfo{Ino: op.Ino, Dir: op.Dir, Dir2: op.Dir2, Name2: op.Name2, Ino2: op.Ino2, UID: op.UID, GID: op.GID}
	if op.Kind == oplog.Symlink {
		f.Target = op.Value
	}
	if op.Kind != oplog.Setattr {
		return f
	}
	for _, a := range attrNames {
		if op.Attr.Mask&a.mask != 0 {
			f.Set = append(f.Set, a.name)
		}
	}
	return f
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
