package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/engine"
)

// progressEvery is the least time between two progress messages.
const progressEvery = 200 * time.Millisecond

// CheckMessage is one line of the answer to POST /v1/check. The last one is a
// report or an error; a stream that ends without either was cut off.
type CheckMessage struct {
	Type   string              `json:"message_type" enum:"progress,report,error"`
	Done   uint64              `json:"done,omitempty" doc:"In the unit of total"`
	Total  uint64              `json:"total,omitempty"`
	Report *engine.CheckReport `json:"report,omitempty"`
	Error  *Problem            `json:"error,omitempty"`
}

func (s *Server) check() {
	line := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[CheckMessage](), true, "CheckMessage")
	op := huma.Operation{
		Method: http.MethodPost, Path: "/v1/check", OperationID: "check",
		Summary: "Verify the pool while it is served",
		Responses: map[string]*huma.Response{"200": {
			Description: "Progress, then a report or an error, one JSON object per line",
			Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: line}},
		}},
	}
	huma.Register(s.api, op, func(_ context.Context, in *struct {
		Data bool `query:"data" doc:"Read and verify every byte of payload too"`
	}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.streamCheck(r.Context(), w, in.Data)
		}}, nil
	})
}

// streamCheck runs a check for as long as its caller listens.
func (s *Server) streamCheck(ctx context.Context, w http.ResponseWriter, data bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := lineWriter{w: w, control: http.NewResponseController(w), gone: cancel}
	report, err := s.pool.Check(ctx, data, out.progress)
	if err != nil {
		out.send(CheckMessage{Type: "error", Error: problem(err)})
		return
	}
	out.send(CheckMessage{Type: "report", Report: &report})
}

// lineWriter sends messages as they come. A caller that does not take one in
// time, or went away, ends the work by gone.
type lineWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	gone    func()
	last    time.Time
}

func (l *lineWriter) progress(done, total uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.last) >= progressEvery {
		l.last = now
		l.write(CheckMessage{Type: "progress", Done: done, Total: total})
	}
}

func (l *lineWriter) send(m CheckMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(m)
}

func (l *lineWriter) write(m CheckMessage) {
	l.control.SetWriteDeadline(time.Now().Add(streamTimeout))
	err := json.NewEncoder(l.w).Encode(m)
	if err == nil {
		err = l.control.Flush()
	}
	if err != nil {
		l.gone()
	}
}
