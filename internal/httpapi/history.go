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

// Range is a range of moments, (From, To].
type Range struct {
	From engine.Moment `json:"from"`
	To   engine.Moment `json:"to"`
}

// LogQuery says which operations of the log are wanted.
type LogQuery struct {
	Dataset string     // "" = of the whole pool
	Since   *when.Spec // operations after this moment; nil = from the oldest
	Until   *when.Spec // up to and with this moment; nil = now
	Ops     []string   // of these kinds; none = of all
	Client  string     // a part of the client's name; "" = of all
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
	return (len(q.Ops) == 0 || slices.Contains(q.Ops, op.Kind)) && strings.Contains(op.Client, q.Client)
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
		func(ctx context.Context, in *diffInput, item func(engine.Change) error) (*Range, error) {
			from, err := when.Parse(in.From, time.Local)
			if err != nil {
				return nil, err
			}
			to, err := when.Parse(in.To, time.Local)
			if err != nil {
				return nil, err
			}
			a, b, err := s.pool.Diff(ctx, in.Name, from, to, item)
			return &Range{From: a, To: b}, err
		})
	type logInput struct {
		Dataset string   `query:"dataset" doc:"Empty for the whole pool"`
		Since   string   `query:"since" doc:"A WHEN; empty for the oldest"`
		Until   string   `query:"until" doc:"A WHEN; empty for now"`
		Ops     []string `query:"op" doc:"Kinds of operation; none for all"`
		Client  string   `query:"client" doc:"A part of the client's name"`
	}
	addItems(s, "/v1/log", "log", "Operations of one dataset or of all, oldest first",
		func(ctx context.Context, in *logInput, item func(engine.OpInfo) error) (*Range, error) {
			q := LogQuery{Dataset: in.Dataset, Ops: in.Ops, Client: in.Client}
			var err error
			if q.Since, err = optional(in.Since); err != nil {
				return nil, err
			}
			if q.Until, err = optional(in.Until); err != nil {
				return nil, err
			}
			return nil, s.visitLog(ctx, q, item)
		})
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

// optional reads a WHEN that may be missing.
func optional(s string) (*when.Spec, error) {
	if s == "" {
		return nil, nil
	}
	w, err := when.Parse(s, time.Local)
	return &w, err
}
