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
	"varve/internal/fail"
)

// A long answer is a stream: one JSON object per line, sent as they come. The
// message_type of the last one is "end", "report" or "error"; a stream that
// ends without it was cut off. What fails before the first line is answered
// like any other error.

// Limits on streams.
const (
	maxStreams   = 16               // at a time; one more is Busy
	lineTimeout  = 10 * time.Minute // for a line to be taken: a person may be reading
	closeTimeout = 2 * time.Second  // the same once the server ends
	flushEvery   = 200 * time.Millisecond
)

// Line is one line of a stream of T.
type Line[T any] struct {
	Type    string          `json:"message_type" enum:"item,progress,end,error"`
	Item    *T              `json:"item,omitempty"`
	Done    uint64          `json:"done,omitempty" doc:"Progress, in the unit of total"`
	Total   uint64          `json:"total,omitempty"`
	Moments []engine.Moment `json:"moments,omitempty" doc:"At the end: what each WHEN of the request was resolved to"`
	Error   *Problem        `json:"error,omitempty"`
}

// lastLine is a line that ends a stream early, whatever its lines are.
type lastLine struct {
	Type  string   `json:"message_type"`
	Error *Problem `json:"error"`
}

// addStream registers an operation that answers with a stream of L. run sends
// lines, from any goroutine, and returns the last; ctx ends when nobody
// listens any more, or the server stops.
func addStream[I, L any](s *Server, method, path, id, summary string, run func(ctx context.Context, in *I, send func(L)) (L, error)) {
	line := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[L](), true, "Line")
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary,
		Responses: map[string]*huma.Response{"200": {
			Description: "One JSON object per line; the last is no item and no progress",
			Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: line}},
		}},
	}
	huma.Register(s.api, op, func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.stream(r.Context(), w, func(ctx context.Context, out *lineWriter) (any, error) {
				return run(ctx, in, func(l L) { out.send(l) })
			})
		}}, nil
	})
}

// addItems registers an operation that answers with a stream of items. visit
// calls item for each; an error of item, because nobody listens, ends it. It
// returns what each WHEN of the request was resolved to.
func addItems[I, T any](s *Server, path, id, summary string, visit func(ctx context.Context, in *I, item func(T) error) ([]engine.Moment, error)) {
	addStream(s, http.MethodGet, path, id, summary, func(ctx context.Context, in *I, send func(Line[T])) (Line[T], error) {
		moments, err := visit(ctx, in, func(v T) error {
			send(Line[T]{Type: "item", Item: &v})
			return ctx.Err()
		})
		return Line[T]{Type: "end", Moments: moments}, err
	})
}

func (s *Server) stream(ctx context.Context, w http.ResponseWriter, run func(context.Context, *lineWriter) (any, error)) {
	s.answerLong(ctx, w, func(ctx context.Context, out *lineWriter) {
		last, err := run(ctx, out)
		out.end(last, givenUp(ctx, err))
	})
}

// answerLong gives an answer that may take long a place among them. The ctx of
// answer ends when nobody listens any more, or the server stops.
func (s *Server) answerLong(ctx context.Context, w http.ResponseWriter, answer func(context.Context, *lineWriter)) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		writeProblem(w, problem(fail.New(fail.Busy, "the server gives %d long answers already", maxStreams).
			WithHint("try again when one has ended")))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &lineWriter{w: w, control: http.NewResponseController(w), gone: cancel}
	defer context.AfterFunc(s.stopping, func() { cancel(); out.hurry() })()
	answer(ctx, out)
}

// givenUp is the error of what was given up, whatever it looks like.
func givenUp(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fail.New(fail.Canceled, "given up: the server is stopping, or nobody listens")
	}
	return err
}

// lineWriter sends lines as they come. A caller that does not take one in time,
// or went away, ends the work by gone.
type lineWriter struct {
	gone    func()
	control *http.ResponseController

	mu    sync.Mutex
	w     http.ResponseWriter
	begun bool
	ended bool
	flush *time.Timer // runs while lines wait to be sent

	patience sync.Mutex // never held while the caller is waited for
	closing  bool
}

func (l *lineWriter) send(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.write(line)
	if l.flush == nil {
		l.flush = time.AfterFunc(flushEvery, l.flushNow)
	}
}

// end sends the last line, or the error, which is an answer of its own if
// nothing was sent before.
func (l *lineWriter) end(last any, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.flush != nil {
		l.flush.Stop()
	}
	switch {
	case err == nil:
		l.write(last)
	case l.begun:
		l.write(lastLine{Type: "error", Error: problem(err)})
	default:
		l.bound()
		writeProblem(l.w, problem(err))
	}
}

func (l *lineWriter) flushNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.flush = nil
	l.bound()
	if l.control.Flush() != nil {
		l.gone()
	}
}

func (l *lineWriter) write(line any) {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	l.bound()
	if json.NewEncoder(l.w).Encode(line) != nil {
		l.gone()
	}
}

// bound limits how long the caller may take for what is sent next.
func (l *lineWriter) bound() {
	l.patience.Lock()
	defer l.patience.Unlock()
	if !l.closing {
		l.control.SetWriteDeadline(time.Now().Add(lineTimeout))
	}
}

// hurry leaves a caller little time, even one that is being waited for.
func (l *lineWriter) hurry() {
	l.patience.Lock()
	defer l.patience.Unlock()
	l.closing = true
	l.control.SetWriteDeadline(time.Now().Add(closeTimeout))
}
