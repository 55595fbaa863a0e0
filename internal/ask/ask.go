// Package ask answers what happened: it selects operations of the log, says
// which paths they were about, and groups them.
package ask

import (
	"context"
	"slices"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/oplog"
	"varve/internal/when"
)

// Query says which operations are wanted. Filter.Paths is matched against the
// paths of that time: those that Follower tells, of a rename both.
type Query struct {
	Dataset      string     // "" = of the whole pool
	Since, Until *when.Spec // operations of (Since, Until]; nil = from the oldest moment, up to now
	Filter       oplog.Filter
	Follow       bool                     // go on with what happens from now on, until ctx ends; without Since nothing before that
	Progress     func(done, total uint64) // operations looked at; nil: nobody wants to know
}

// Item is one operation with the paths it was about.
type Item struct {
	engine.OpInfo
	Path  files.Text `json:"path,omitempty" doc:"As it was then; of what was renamed, the old one"`
	Path2 files.Text `json:"path2,omitempty" doc:"Rename: the new one"`
}

// Asker answers queries about one pool. Safe for concurrent use.
type Asker struct{ e *engine.Engine }

// New makes an Asker of a pool.
func New(e *engine.Engine) *Asker { return &Asker{e} }

// maxFollowers bounds of how many shares a query of the whole pool knows the
// names at a time.
const maxFollowers = 16

// Ask visits the operations that are wanted, oldest first, until fn fails. It
// holds no lock; what it holds of the past goes when it returns. OutsideHistory
// where the log does not reach back that far.
func (a *Asker) Ask(ctx context.Context, q Query, fn func(*Item) error) error {
	return a.visit(ctx, q, false, func(op *oplog.Op, path, path2 string) error {
		return fn(&Item{OpInfo: engine.Describe(op), Path: files.Text(path), Path2: files.Text(path2)})
	})
}

func (a *Asker) visit(ctx context.Context, q Query, extents bool, fn func(op *oplog.Op, path, path2 string) error) error {
	v := newVisitor(a.e, &q.Filter)
	defer v.close()
	lq := engine.LogQuery{
		Dataset: q.Dataset, Since: q.Since, Until: q.Until, Filter: q.Filter, Follow: q.Follow, Progress: q.Progress,
		Names: true, Extents: extents, Left: v.skip,
	}
	return a.e.Log(ctx, lq, func(op *oplog.Op, wanted bool) error { return v.op(op, wanted, fn) })
}

// visitor gives operations their paths.
type visitor struct {
	only      []oplog.Literal // of the filter's patterns
	e         *engine.Engine
	filter    *oplog.Filter
	followers []*Follower // the one used last at the end
}

func newVisitor(e *engine.Engine, f *oplog.Filter) *visitor {
	v := &visitor{e: e, filter: f}
	for _, p := range f.Paths {
		v.only = append(v.only, oplog.LiteralOf(p))
	}
	return v
}

func (v *visitor) op(op *oplog.Op, wanted bool, fn func(op *oplog.Op, path, path2 string) error) error {
	var err error
	if wanted {
		var path, path2 string
		if path, path2, wanted, err = v.paths(op); err == nil && wanted {
			err = fn(op, path, path2)
		}
	}
	if err != nil || !oplog.NameKinds.Has(op.Kind) {
		return err
	}
	for _, f := range v.followers {
		if f.dataset == op.Dataset {
			return f.Apply(op)
		}
	}
	return nil
}

// paths returns the paths that an operation is about, and whether they are wanted.
func (v *visitor) paths(op *oplog.Op) (path, path2 string, wanted bool, err error) {
	if op.Kind.OnFile() {
		f := v.follower(op.Dataset)
		path, path2, err = f.BeforeOnly(op, v.only)
		if v.only != nil && (path == "") != (path2 == "") && op.Dir2 != 0 {
			path, path2, err = f.Before(op) // one is wanted: both are shown
		}
		if fail.Is(err, fail.Stale) { // history has moved on meanwhile, and takes the operation along
			path, path2, err = "", "", nil
		}
	}
	return path, path2, v.filter.MatchPath(path, path2), err
}

func (v *visitor) follower(dataset uint64) *Follower {
	n := len(v.followers)
	for i := n - 1; i >= 0; i-- {
		if f := v.followers[i]; f.dataset == dataset {
			if i < n-1 {
				v.followers = append(slices.Delete(v.followers, i, i+1), f)
			}
			return f
		}
	}
	if n == maxFollowers {
		v.followers[0].Close()
		v.followers = slices.Delete(v.followers, 0, 1)
	}
	f := Follow(v.e, dataset)
	v.followers = append(v.followers, f)
	return f
}

func (v *visitor) skip() {
	for _, f := range v.followers {
		f.Skip()
	}
}

func (v *visitor) close() {
	for _, f := range v.followers {
		f.Close()
	}
}

func lsnSpec(lsn uint64) *when.Spec { return &when.Spec{Kind: when.LSN, LSN: lsn} }
