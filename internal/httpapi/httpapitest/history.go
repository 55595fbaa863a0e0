package httpapitest

import (
	"context"
	"fmt"
	"io"
	"slices"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/opfile"
	"varve/internal/oplog"
	"varve/internal/when"
)

// History is what a Pool shows of its past and of its disk, whatever happened
// to it. Ranges of moments are not looked at.
type History struct {
	Changes     []engine.Change
	Entries     []files.Entry // of a share
	Differences []files.Difference
	Versions    []files.Version
	Operations  []engine.OpInfo
	Checkpoints []engine.CheckpointInfo
	Segments    []engine.SegmentInfo
	Frames      []engine.FrameInfo
	Details     []engine.OpDetail
	Nodes       []engine.NodeInfo
	Dump        string
}

// Resize grows a volume.
func (p *Pool) Resize(c engine.Caller, dataset string, size uint64) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		d, err := p.find(dataset)
		if err != nil {
			return err
		}
		if size < d.Size {
			return fail.New(fail.Invalid, "%s cannot shrink", dataset)
		}
		d.Size = size
		return nil
	})
}

// SnapshotAt names a past moment.
func (p *Pool) SnapshotAt(c engine.Caller, dataset, name string, w when.Spec, also ...engine.Also) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		m, err := p.resolve(dataset, w)
		if err != nil {
			return err
		}
		if err := when.ValidName(name); err != nil {
			return err
		}
		d.Moment = &m
		return p.addSnapshot(engine.SnapshotInfo{ID: d.LSN, Dataset: dataset, Name: name, LSN: m.LSN, Time: m.Time}, also)
	})
}

// SnapshotAll names the present moment of all datasets.
func (p *Pool) SnapshotAll(c engine.Caller, name string, also ...engine.Also) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		for _, set := range p.datasets {
			if err := p.addSnapshot(engine.SnapshotInfo{ID: d.LSN, Dataset: set.Name, Name: name, LSN: d.LSN, Time: d.Time}, also); err != nil {
				return err
			}
		}
		return when.ValidName(name)
	})
}

// Hold puts a tag on a snapshot.
func (p *Pool) Hold(c engine.Caller, dataset, name, tag string) (engine.Done, error) {
	return p.tag(c, dataset, name, func(holds []string) ([]string, error) { return append(holds, tag), when.ValidName(tag) })
}

// Release takes a tag off a snapshot.
func (p *Pool) Release(c engine.Caller, dataset, name, tag string) (engine.Done, error) {
	return p.tag(c, dataset, name, func(holds []string) ([]string, error) {
		i := slices.Index(holds, tag)
		if i < 0 {
			return nil, fail.New(fail.NotFound, "%s@%s is not held by %s", dataset, name, tag)
		}
		return slices.Delete(holds, i, i+1), nil
	})
}

func (p *Pool) tag(c engine.Caller, dataset, name string, change func([]string) ([]string, error)) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		for i := range p.snapshots {
			if s := &p.snapshots[i]; s.Dataset == dataset && s.Name == name {
				holds, err := change(slices.Clone(s.Holds))
				if err == nil {
					s.Holds = holds
				}
				return err
			}
		}
		return fail.New(fail.NotFound, "no snapshot %s@%s", dataset, name)
	})
}

// Diff visits History.Changes.
func (p *Pool) Diff(ctx context.Context, dataset string, from, to when.Spec, fn func(engine.Change) error) (a, b engine.Moment, err error) {
	if a, err = p.Resolve(dataset, from); err != nil {
		return a, b, err
	}
	if b, err = p.Resolve(dataset, to); err != nil {
		return a, b, err
	}
	return a, b, p.slowly(ctx, visit(p, p.History.Changes, fn))
}

// Ask visits those of History.Operations that a dataset, or anybody, has and
// whose kind and client are wanted.
func (p *Pool) Ask(ctx context.Context, q ask.Query, fn func(*ask.Item) error) error {
	id := uint64(0)
	if q.Dataset != "" {
		d, err := p.Dataset(q.Dataset)
		if err != nil {
			return err
		}
		id = d.ID
	}
	return p.slowly(ctx, visit(p, p.History.Operations, func(op engine.OpInfo) error {
		kind, err := oplog.KindOf(op.Kind)
		if err != nil {
			return err
		}
		if id != 0 && op.Dataset != id || !q.Filter.Match(&oplog.Op{Kind: kind, Client: &oplog.Client{Name: op.Client}, Len: op.Len}) {
			return nil
		}
		if q.Progress != nil {
			q.Progress(op.LSN, op.LSN)
		}
		return fn(&ask.Item{OpInfo: op})
	}))
}

// Groups has one group for each of History.Operations that Ask visits.
func (p *Pool) Groups(ctx context.Context, q ask.Query, by string) (out []ask.Group, err error) {
	return out, p.Ask(ctx, q, func(i *ask.Item) error {
		out = append(out, ask.Group{Key: files.Text(by), Ops: 1, Bytes: i.Len})
		return nil
	})
}

func visit[T any](p *Pool, list []T, fn func(T) error) error {
	for _, v := range list {
		if err := fn(v); err != nil {
			return err
		}
	}
	return p.Refuse
}

// slowly takes as long as Block does, after something that ended with err.
func (p *Pool) slowly(ctx context.Context, err error) error {
	if err == nil && p.Block != nil {
		p.Block(ctx)
		err = ctx.Err()
	}
	return err
}

// Checkpoints returns those of History.
func (p *Pool) Checkpoints() []engine.CheckpointInfo { return p.History.Checkpoints }

// Segments returns those of History.
func (p *Pool) Segments() ([]engine.SegmentInfo, error) { return p.History.Segments, nil }

// Frames visits those of History that are of the segment.
func (p *Pool) Frames(segment uint64, fn func(engine.FrameInfo) error) error {
	return visit(p, p.History.Frames, func(f engine.FrameInfo) error {
		if f.Segment != segment {
			return nil
		}
		return fn(f)
	})
}

// Ops visits History.Details.
func (p *Pool) Ops(_ uint64, fn func(engine.OpDetail) error) error {
	return visit(p, p.History.Details, fn)
}

// Tree visits History.Nodes.
func (p *Pool) Tree(dataset string, w when.Spec, fn func(engine.NodeInfo) error) error {
	if _, err := p.Resolve(dataset, w); err != nil {
		return err
	}
	return visit(p, p.History.Nodes, fn)
}

// Node returns History.Dump if there is a node of that address.
func (p *Pool) Node(segment uint64, block uint32) (string, error) {
	addr := fmt.Sprintf("%d/%d", segment, block)
	if !slices.ContainsFunc(p.History.Nodes, func(n engine.NodeInfo) bool { return n.Addr == addr }) {
		return "", fail.New(fail.NotFound, "%s is no tree node", addr)
	}
	return p.History.Dump, nil
}

// Export writes an operation for each of History.Operations that Ask visits.
func (p *Pool) Export(ctx context.Context, q ask.Query, out io.Writer) (ask.Exported, error) {
	w, err := opfile.NewWriter(out, opfile.Header{Name: q.Dataset, To: 1 << 60})
	if err != nil {
		return ask.Exported{}, err
	}
	err = p.Ask(ctx, q, func(i *ask.Item) error {
		return w.Op(&oplog.Op{LSN: i.LSN, Kind: oplog.Trim, Len: oplog.BlockSize}, nil)
	})
	if err != nil {
		return ask.Exported{}, err
	}
	return ask.Exported{}, w.Close()
}

// Deleted has the path itself.
func (p *Pool) Deleted(_ context.Context, share, path string, fn func(*ask.Deleted) error) error {
	if _, err := p.Dataset(share); err != nil {
		return err
	}
	return fn(&ask.Deleted{Name: files.Text(path), LSN: 2, Before: 1, Time: Start, What: "removed"})
}
