package httpapi

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/opfile"
	"varve/internal/redo"
	"varve/internal/when"
)

// FromInput is exported because huma fills no others.
type FromInput struct {
	ByName
	At         string `query:"at" default:"@now" doc:"What the new dataset begins as"`
	New        string `query:"new" doc:"Name of the new dataset"`
	OnConflict string `query:"on_conflict"`
	Taint      string `query:"taint"`
	DryRun     bool   `query:"dry_run"`
}

func (in *FromInput) options() (o redo.FromOptions, err error) {
	how := HowBody{OnConflict: in.OnConflict, Taint: in.Taint, DryRun: in.DryRun}
	if o.Options, err = how.options(); err == nil {
		o.At, err = when.Parse(in.At, time.Local)
	}
	o.Name = in.New
	return o, err
}

func (s *Server) operationFiles() {
	export := huma.Operation{
		Method: http.MethodGet, Path: "/v1/log/export", OperationID: "export-log", Summary: "Operations of a dataset with their data, as a file",
		Responses: map[string]*huma.Response{"200": {
			Description: "See docs/export.md. If the bytes end too soon, the trailer " + problemTrailer + " says why",
			Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}},
	}
	huma.Register(s.api, export, func(_ context.Context, in *ByRange) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.answerLong(r.Context(), w, func(ctx context.Context, out *lineWriter) {
				out.endBytes(givenUp(ctx, s.export(ctx, in, out)))
			})
		}}, nil
	})
	from := huma.Operation{
		Method: http.MethodPost, Path: "/v1/datasets/{name}" + fromPath, OperationID: "replay-from",
		Summary: "Make a new dataset of one at a moment and of the operations in a file, which is the request's body",
	}
	huma.Register(s.api, from, func(_ context.Context, in *FromInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.stream(r.Context(), w, func(ctx context.Context, out *lineWriter) (any, error) {
				body := newPatient(r.Body, http.NewResponseController(w))
				defer context.AfterFunc(ctx, body.stop)()
				report, err := s.replayFrom(ctx, in, body)
				s.logChange(ctx, "replay-from", *in, err)
				refused(report, err, func(m RedoMessage) { out.send(m) })
				return RedoMessage{Type: "report", Report: report}, err
			})
		}}, nil
	})
}

func (s *Server) export(ctx context.Context, in *ByRange, out *lineWriter) error {
	q, _, err := s.query(in)
	if err != nil {
		return err
	}
	if q.Dataset == "" {
		return fail.New(fail.Invalid, "operations are exported of one dataset").WithHint("name it")
	}
	_, err = s.asker.Export(ctx, q, bytesWriter{out})
	return err
}

func (s *Server) replayFrom(ctx context.Context, in *FromInput, body io.Reader) (*redo.Report, error) {
	o, err := in.options()
	if err != nil {
		return nil, err
	}
	file, err := opfile.NewReader(bufio.NewReaderSize(body, 256<<10))
	if err != nil {
		return nil, err
	}
	d, err := s.pool.Dataset(in.Name)
	if err != nil {
		return nil, err
	}
	if (d.Kind == "share") != file.Share {
		return nil, fail.New(fail.Invalid, "%s is a %s, and the operations are of something else", in.Name, d.Kind).
			WithHint("they were done on %s of pool %s", file.Name, engine.PoolName(file.Pool))
	}
	o.Source = func(_ context.Context, fn func(*redo.Step) error) error { return redo.Steps(file, fn) }
	return s.redo.From(ctx, callerFrom(ctx), in.Name, o)
}
