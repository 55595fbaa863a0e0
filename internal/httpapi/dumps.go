package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/engine"
)

// Dumps is what the API serves of dumps. All methods are safe for concurrent use;
// changes are durable when they return.
type Dumps interface {
	List(dataset string) ([]chain.Record, error)
	Begin(ctx context.Context, c engine.Caller, dataset string, r chain.Request) (*chain.Job, error)
	Keep(c engine.Caller, dataset, snapshot string) (chain.Kept, error)
	Discard(c engine.Caller, dataset, snapshot string) (engine.Done, error)
}

// The HTTP header that describes an archive before its first byte, a chain.Info,
// and the trailer that tells what became of it, a DumpResult, both as JSON.
const (
	dumpHeader  = "Varve-Dump"
	dumpTrailer = "Varve-Dump-Result"
)

// DumpResult is what became of an archive that came whole.
type DumpResult struct {
	dump.Result
	Warnings []string `json:"warnings,omitempty"`
}

// DumpBody says what to dump.
type DumpBody struct {
	When      string `json:"when,omitempty" doc:"A past moment; empty for the present one" example:"@10m-ago"`
	Partition int    `json:"partition,omitempty" minimum:"0" maximum:"128" doc:"Of a volume"`
	Level     int    `json:"level" minimum:"0" maximum:"9"`
	Honor     int    `json:"honor" minimum:"0" maximum:"10" doc:"The least level at which the nodump flag is honoured"`
	Format    string `json:"format" enum:"portable,linux"`
	Label     string `json:"label,omitempty"`
	Blocking  int    `json:"blocking" minimum:"1" maximum:"1024" doc:"Records of 1024 bytes in a block"`
	Host      string `json:"host,omitempty" doc:"What the archive calls the host"`
	Filesys   string `json:"filesys,omitempty" doc:"What the archive calls the file system of a volume"`
	Update    bool   `json:"update,omitempty" doc:"Of a share: keep the moment, so that others can be based on it"`
	DDate     int64  `json:"ddate,omitempty" doc:"Of a volume, at levels above 0: the date of the base"`
}

func (b *DumpBody) request() (chain.Request, error) {
	w, err := optional(b.When)
	if err != nil {
		return chain.Request{}, err
	}
	p, err := dump.ProfileNamed(b.Format)
	return chain.Request{
		When: w, Partition: b.Partition, Level: b.Level, Honor: b.Honor, Profile: p, Label: b.Label,
		Blocking: b.Blocking, Host: b.Host, Filesys: b.Filesys, Update: b.Update, DDate: b.DDate,
	}, err
}

// DumpInput is exported because huma fills no others that are embedded.
type DumpInput struct {
	ByName
	Body DumpBody
}

func (s *Server) dumpRoutes() {
	add(s, "GET", "/v1/dumps", "list-dumps", "The dumps of shares that others can be based on",
		func(_ context.Context, in *struct {
			Dataset string `query:"dataset" doc:"Empty for all"`
		}) ([]chain.Record, error) {
			list, err := s.dumps.List(in.Dataset)
			return orEmpty(list), err
		})
	addQuery(s, "POST", "/v1/datasets/{name}/dumps/plan", "plan-dump", "What a dump would be: its size, its base",
		func(ctx context.Context, in *DumpInput) (chain.Info, error) {
			r, err := in.Body.request()
			if err != nil {
				return chain.Info{}, err
			}
			r.Update = false
			j, err := s.dumps.Begin(ctx, callerFrom(ctx), in.Name, r)
			if err != nil {
				return chain.Info{}, err
			}
			defer j.Close()
			return j.Info, nil
		})
	type byRecord struct {
		ByName
		Snapshot string `path:"snapshot" doc:"That the dump made"`
	}
	add(s, "POST", "/v1/datasets/{name}/dumps/{snapshot}/keep", "keep-dump", "Let others be based on a dump, whose archive is safe",
		func(ctx context.Context, in *byRecord) (chain.Kept, error) {
			return s.dumps.Keep(callerFrom(ctx), in.Name, in.Snapshot)
		})
	add(s, "DELETE", "/v1/datasets/{name}/dumps/{snapshot}", "discard-dump", "Forget a dump that came to nothing",
		func(ctx context.Context, in *byRecord) (engine.Done, error) {
			return s.dumps.Discard(callerFrom(ctx), in.Name, in.Snapshot)
		})
	s.dumpBytes()
}

// dumpBytes registers the operation that answers with an archive.
func (s *Server) dumpBytes() {
	op := huma.Operation{
		Method: http.MethodPost, Path: "/v1/datasets/{name}/dumps", OperationID: "dump", Summary: "Dump a share, or the file system in a volume",
		Responses: map[string]*huma.Response{"200": {
			Description: "The archive. The header " + dumpHeader + " describes it, the trailer " + dumpTrailer +
				" tells that it is whole, and if it ends too soon " + problemTrailer + " says why",
			Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}},
	}
	huma.Register(s.api, op, func(ctx context.Context, in *DumpInput) (*huma.StreamResponse, error) {
		who := callerFrom(ctx)
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.answerLong(r.Context(), w, func(ctx context.Context, out *lineWriter) {
				err := givenUp(ctx, s.sendDump(ctx, who, in, out))
				s.logChange(r.Context(), "dump", *in, err)
				out.endBytes(err)
			})
		}}, nil
	})
}

func (s *Server) sendDump(ctx context.Context, who engine.Caller, in *DumpInput, out *lineWriter) error {
	r, err := in.Body.request()
	if err != nil {
		return err
	}
	j, err := s.dumps.Begin(ctx, who, in.Name, r)
	if err != nil {
		return err
	}
	defer j.Close()
	info, err := json.Marshal(j.Info)
	if err != nil {
		return err
	}
	h := out.w.Header()
	h.Set(dumpHeader, string(info))
	h.Add("Trailer", dumpTrailer)
	done, err := j.Write(ctx, bytesWriter{out})
	if err != nil {
		return err
	}
	text, err := json.Marshal(DumpResult{done, j.Warnings()})
	if err != nil {
		return err
	}
	h.Set(dumpTrailer, string(text))
	return nil
}
