package httpapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// LogQuery says which operations of the log are wanted.
type LogQuery struct {
	Dataset string     // "" = of the whole pool
	Since   *when.Spec // operations after this moment; nil = from the oldest
	Until   *when.Spec // up to and with this moment; nil = now
	Ops     []string   // of these kinds; none = of all
	Client  string     // a part of the client's name, in any case; "" = of all
}

// OpKinds returns the names of all kinds of operation.
func OpKinds() []string {
	var names []string
	for k := range 256 {
		if name := oplog.Kind(k).String(); !strings.HasPrefix(name, "kind-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// check refuses kinds that no operation has.
func (q *LogQuery) check() error {
	known := OpKinds()
	for _, op := range q.Ops {
		if !slices.Contains(known, op) {
			return fail.New(fail.Invalid, "no operation is of the kind %.40q", op).WithHint("there are %s", strings.Join(known, ", "))
		}
	}
	return nil
}

func (q *LogQuery) wants(op *engine.OpInfo) bool {
	return (len(q.Ops) == 0 || slices.Contains(q.Ops, op.Kind)) &&
		(q.Client == "" || strings.Contains(strings.ToLower(op.Client), strings.ToLower(q.Client)))
}

func (s *Server) history() {
	add(s, "GET", "/v1/checkpoints", "list-checkpoints", "The checkpoints, oldest first",
		func(context.Context, *none) ([]engine.CheckpointInfo, error) {
			return orEmpty(s.pool.Checkpoints()), nil
		})
	type diffInput struct {
		ByName
		From string `query:"from" required:"true" example:"@10m-ago"`
		To   string `query:"to" default:"@now"`
	}
	addItems(s, "/v1/datasets/{name}/diff", "diff", "The ranges of a volume that differ between two moments",
		func(ctx context.Context, in *diffInput, item func(engine.Change) error) ([]engine.Moment, error) {
			from, err := when.Parse(in.From, time.Local)
			if err != nil {
				return nil, err
			}
			to, err := when.Parse(in.To, time.Local)
			if err != nil {
				return nil, err
			}
			if d, err := s.pool.Dataset(in.Name); err == nil && d.Kind == "share" {
				return nil, fail.New(fail.Invalid, "%s is a share: its files differ, not its blocks", in.Name).
					WithHint("ask for /v1/datasets/%s/files/diff", in.Name)
			}
			a, b, err := s.pool.Diff(ctx, in.Name, from, to, item)
			return []engine.Moment{a, b}, err
		})
	type logInput struct {
		Dataset string   `query:"dataset" doc:"Empty for the whole pool"`
		Since   string   `query:"since" doc:"A WHEN; empty for the oldest"`
		Until   string   `query:"until" doc:"A WHEN; empty for now"`
		Ops     []string `query:"op" doc:"Kinds of operation; none for all"`
		Client  string   `query:"client" doc:"A part of the client's name"`
	}
	addItems(s, "/v1/log", "log", "Operations of one dataset or of all, oldest first",
		func(ctx context.Context, in *logInput, item func(engine.OpInfo) error) ([]engine.Moment, error) {
			q := LogQuery{Dataset: in.Dataset, Ops: in.Ops, Client: in.Client}
			var moments []engine.Moment
			for _, x := range []struct {
				text string
				spec **when.Spec
			}{{in.Since, &q.Since}, {in.Until, &q.Until}} {
				if x.text == "" {
					continue
				}
				w, m, err := s.resolve(in.Dataset, x.text)
				if err != nil {
					return nil, err
				}
				*x.spec = &w
				moments = append(moments, m)
			}
			return moments, s.visitLog(ctx, q, item)
		})
}

// resolve finds the moment that text names, and a WHEN that goes on naming it
// while time passes.
func (s *Server) resolve(dataset, text string) (when.Spec, engine.Moment, error) {
	w, err := when.Parse(text, time.Local)
	if err != nil {
		return w, engine.Moment{}, err
	}
	if dataset == "" {
		return w, engine.Moment{}, fail.New(fail.Invalid, "%s needs a dataset whose moment it is", w)
	}
	m, err := s.pool.Resolve(dataset, w)
	if w.Kind == when.Ago || w.Kind == when.Now {
		w = when.Spec{Kind: when.LSN, LSN: m.LSN}
	}
	return w, m, err
}

// visitLog leaves out what the query does not want, before it is sent.
func (s *Server) visitLog(ctx context.Context, q LogQuery, item func(engine.OpInfo) error) error {
	if err := q.check(); err != nil {
		return err
	}
	return s.pool.Log(ctx, q.Dataset, q.Since, q.Until, func(op engine.OpInfo) error {
		if !q.wants(&op) {
			return nil
		}
		return item(op)
	})
}
