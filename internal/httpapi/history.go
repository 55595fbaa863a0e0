package httpapi

import (
	"context"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

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
	s.asking()
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
