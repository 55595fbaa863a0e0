package httpapi

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/fail"
	"varve/internal/restore"
)

// The paths whose requests have bodies of any length.
const (
	restorePath = "/files/restore-archive"
	fromPath    = "/replay-from"
)

// isLong reports whether a request has a body that comes while it is answered.
func isLong(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/datasets/") &&
		(strings.HasSuffix(r.URL.Path, restorePath) || strings.HasSuffix(r.URL.Path, fromPath))
}

// maxVolumes bounds the volumes of one archive.
const maxVolumes = 1000

// RestoreMessage is one line of the answer to a restoration. The last one is a result
// or an error.
type RestoreMessage struct {
	Type   string           `json:"message_type" enum:"message,result,error"`
	What   *restore.Message `json:"message,omitempty"`
	Result *restore.Result  `json:"result,omitempty"`
	Error  *Problem         `json:"error,omitempty"`
}

// RestoreInput is exported because huma fills no others.
type RestoreInput struct {
	ByName
	Op      string   `query:"op" enum:"extract,update,compare" required:"true"`
	Path    string   `query:"path" default:"/" doc:"The directory that is restored into"`
	Want    []string `query:"want,explode" doc:"A path in the archive; none: everything"`
	Volume  []string `query:"volume,explode" doc:"The name of each volume, for messages"`
	Shallow bool     `query:"shallow" doc:"Not what is below the paths"`
	GoOn    bool     `query:"go_on" doc:"Behind damage"`
	Names   bool     `query:"names" doc:"Tell the name of each object"`
}

var restoreOps = map[string]restore.Op{"extract": restore.Extract, "update": restore.Update, "compare": restore.Compare}

// restoreRoute registers the one operation whose request is long: an archive.
func (s *Server) restoreRoute() {
	line := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[RestoreMessage](), true, "Line")
	op := huma.Operation{
		Method: http.MethodPost, Path: "/v1/datasets/{name}" + restorePath, OperationID: "restore-archive",
		Summary:     "Restore an archive of dump(8), or compare it",
		Description: "The body is the volumes of the archive: pieces of (length u32, little-endian, at most 1 MiB; bytes), a length of 0 after each volume.",
		Responses: map[string]*huma.Response{"200": {
			Description: "One JSON object per line; the last is no message",
			Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: line}},
		}},
	}
	huma.Register(s.api, op, func(_ context.Context, in *RestoreInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			control := http.NewResponseController(w)
			control.EnableFullDuplex() // lines are sent before the body has come
			body := newPatient(r.Body, control)
			s.stream(r.Context(), w, func(ctx context.Context, out *lineWriter) (any, error) {
				defer context.AfterFunc(ctx, body.stop)()
				return s.restore(ctx, in, body, out)
			})
			control.Flush()
			control.SetReadDeadline(time.Now().Add(closeTimeout))
			io.Copy(io.Discard, r.Body) // so that its sender sees the answer, and not that nobody reads
		}}, nil
	})
}

func (s *Server) restore(ctx context.Context, in *RestoreInput, body io.Reader, out *lineWriter) (any, error) {
	op, ok := restoreOps[in.Op]
	switch {
	case !ok:
		return nil, fail.New(fail.Invalid, "there is no operation %q on archives", in.Op)
	case len(in.Volume) == 0 || len(in.Volume) > maxVolumes:
		return nil, fail.New(fail.Invalid, "an archive has 1 to %d volumes, and %d are named", maxVolumes, len(in.Volume))
	}
	var last time.Time
	o := restore.Options{Op: op, Paths: in.Want, Shallow: in.Shallow, GoOn: in.GoOn, Names: in.Names, Say: func(m restore.Message) error {
		if m.Progress != nil {
			now := time.Now()
			if now.Sub(last) < progressEvery {
				return ctx.Err()
			}
			last = now
		}
		out.send(RestoreMessage{Type: "message", What: &m})
		return ctx.Err()
	}}
	v := &receivedVolumes{body: body, names: in.Volume}
	r, err := s.files.RestoreArchive(ctx, callerFrom(ctx), in.Name, in.Path, v.next, o)
	s.logChange(ctx, "restore-archive", *in, err)
	if fail.Is(err, fail.Corrupt) { // the archive is damaged, which is no failure of the server
		out.send(RestoreMessage{Type: "message", What: &restore.Message{Progress: &r.Progress}})
	}
	return RestoreMessage{Type: "result", Result: &r}, err
}
