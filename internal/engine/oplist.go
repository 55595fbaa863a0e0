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
