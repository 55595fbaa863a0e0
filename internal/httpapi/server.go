package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/engine"
	"varve/internal/fail"
)

// Limits on what a caller can make the server hold or wait for.
const (
	maxBody     = 1 << 20  // bytes: the names of 16,000 snapshots fit
	maxHeader   = 16 << 10 // bytes
	readTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
)

// Options say what a Server serves.
type Options struct {
	Pool   Pool
	Files  Files             // of its shares
	Dumps  Dumps             // of its shares and volumes
	Redo   Redo              // of its operations
	Log    Asker             // about its operations
	Info   func() ServerInfo // facts about the process, for status
	Logger *slog.Logger      // changes are logged with their caller; nil = nowhere
}

// Server serves the control API. Its methods are safe for concurrent use.
type Server struct {
	pool  Pool
	files Files
	dumps Dumps
	redo  Redo
	asker Asker
	info  func() ServerInfo
	log   *slog.Logger
	api   huma.API
	http  *http.Server

	streams  chan struct{} // a place for each
	stopping context.Context
	stop     func()
}

// New makes a Server; Serve starts it.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("varve", "1")
	config.Info.Description = "The control plane of a varve pool. Answers that are errors carry a kind, a message and often a hint."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema links in answers
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.RejectUnknownQueryParameters = true
	config.OnAddOperation = append(config.OnAddOperation, noReadTimeout)
	s := &Server{
		pool: o.Pool, files: o.Files, dumps: o.Dumps, redo: o.Redo, asker: o.Log, info: o.Info, log: o.Logger, api: humago.New(mux, config),
		streams: make(chan struct{}, maxStreams),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.routes()
	s.serveSpec(mux)
	mux.HandleFunc("/", noSuchPath)
	s.http = &http.Server{
		Handler:           bounded(mux),
		ReadHeaderTimeout: readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.(*callerConn).caller)
		},
	}
	return s
}

// noReadTimeout is for every operation: bounded has read the body, and a deadline of
// huma's would stay, and end the work after 5 s.
func noReadTimeout(_ *huma.OpenAPI, op *huma.Operation) { op.BodyReadTimeout = -1 }

// schemaName names a type in the description of the API. What package restore calls
// a Difference or a Result is another thing than what others call so.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/restore") {
		name = "Archive" + name
	}
	return name
}

type callerKey struct{}

// caller is who is at the other end of a connection.
type caller struct {
	engine.Caller
	uid, gid uint32
}

func whoCalls(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) }

func callerFrom(ctx context.Context) engine.Caller { return whoCalls(ctx).Caller }

// Serve answers on l until Shutdown, then returns nil.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(&callerListener{Listener: l, slots: make(chan struct{}, maxConns)})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fail.Wrap(fail.IO, err, "control socket")
}

// Shutdown takes no more requests, ends streams and waits for what else runs.
// When ctx ends first that is cut off, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// bounded reads a request's whole body, which is small and in time or
// refused, before anything is done about it: but for an archive's. A deadline that stayed set would
// cancel a handler that works for longer than a body may take.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLong(r) {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Now().Add(readTimeout))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			writeProblem(w, problem(bodyError(err)))
			return
		}
		control.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func bodyError(err error) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return fail.New(fail.TooBig, "the request is longer than %d bytes", maxBody)
	}
	return fail.Wrap(fail.Canceled, err, "the request did not come whole")
}

// serveSpec writes the description of all routes once, so that requests share
// bytes that no longer change.
func (s *Server) serveSpec(mux *http.ServeMux) {
	spec, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(err) // made of this package's own types only
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Write(spec)
	})
}

func noSuchPath(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, problem(fail.New(fail.NotFound, "%s %.200s is not part of this API", r.Method, r.URL.Path).
		WithHint("GET /openapi.json describes it")))
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	json.NewEncoder(w).Encode(p)
}
