package httpapi

import (
	"context"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/oplog"
	"varve/internal/when"
)

// ByRange is exported because huma fills no others that are embedded.
type ByRange struct {
	Dataset string `query:"dataset" doc:"Empty for the whole pool"`
	Since   string `query:"since" doc:"A WHEN; empty for the oldest"`
	Until   string `query:"until" doc:"A WHEN; empty for now"`
	Filter  string `query:"filter" doc:"Conditions with commas between them; empty for all operations" example:"op=remove+rename,client=192.168.1.7,path=/projects/**"`
}

// query is what the range asks for, and what each WHEN was resolved to.
func (s *Server) query(in *ByRange) (q ask.Query, moments []engine.Moment, err error) {
	q = ask.Query{Dataset: in.Dataset}
	if in.Filter != "" {
		if q.Filter, err = oplog.ParseFilter(in.Filter); err != nil {
			return q, nil, err
		}
	}
	for _, x := range []struct {
		text string
		spec **when.Spec
	}{{in.Since, &q.Since}, {in.Until, &q.Until}} {
		if x.text == "" {
			continue
		}
		w, m, err := s.resolve(in.Dataset, x.text)
		if err != nil {
			return q, nil, err
		}
		*x.spec = &w
		moments = append(moments, m)
	}
	return q, moments, nil
}

func (s *Server) asking() {
	s.operationFiles()
	type deletedInput struct {
		ByName
		Path string `query:"path" default:"/"`
	}
	addItems(s, "/v1/datasets/{name}/files/deleted", "deleted-files", "Names that were in a directory and are not there now",
		func(ctx context.Context, in *deletedInput, item func(ask.Deleted) error) ([]engine.Moment, error) {
			return nil, s.asker.Deleted(ctx, in.Name, in.Path, func(d *ask.Deleted) error { return item(*d) })
		})
	type logInput struct {
		ByRange
		Follow bool `query:"follow" doc:"Go on with what happens from now on"`
	}
	type line = Line[ask.Item]
	addStream(s, "GET", "/v1/log", "log", "Operations of one dataset or of all, oldest first",
		func(ctx context.Context, in *logInput, send func(line)) (line, error) {
			q, moments, err := s.query(&in.ByRange)
			if err != nil {
				return line{}, err
			}
			q.Follow = in.Follow
			q.Progress = progressLines(send)
			err = s.asker.Ask(ctx, q, func(i *ask.Item) error {
				send(line{Type: "item", Item: i})
				return ctx.Err()
			})
			return line{Type: "end", Moments: moments}, err
		})
	type groupInput struct {
		ByRange
		By string `query:"by" required:"true" doc:"client, path or minute"`
	}
	type group = Line[ask.Group]
	addStream(s, "GET", "/v1/log/groups", "log-groups", "Operations counted by client, path or minute",
		func(ctx context.Context, in *groupInput, send func(group)) (group, error) {
			q, moments, err := s.query(&in.ByRange)
			if err != nil {
				return group{}, err
			}
			q.Progress = progressLines(send)
			groups, err := s.asker.Groups(ctx, q, in.By)
			for i := range groups {
				send(group{Type: "item", Item: &groups[i]})
			}
			return group{Type: "end", Moments: moments}, err
		})
}

func progressLines[T any](send func(Line[T])) func(done, total uint64) {
	return seldom(func(done, total uint64) { send(Line[T]{Type: "progress", Done: done, Total: total}) })
}
