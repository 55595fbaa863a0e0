package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"varve/internal/fail"
)

// Limits of the public addresses. Whoever reaches them may ask.
const (
	publicConns     = 64
	publicTimeout   = 2 * time.Second  // to send a request
	publicAnswer    = 30 * time.Second // to take the answer
	publicKeepAlive = time.Minute
)

// PublicOptions say what a Public serves.
type PublicOptions struct {
	Health  func() error // nil: the server does its work; called concurrently
	Metrics http.Handler
	Logger  *slog.Logger // nil = nowhere
}

// Public serves what may be seen without a right to anything:
//
//	GET /healthz   200 "ok", or 503 and the reason
//	GET /metrics   for Prometheus
//
// Its methods are safe for concurrent use.
type Public struct{ http *http.Server }

// NewPublic makes a Public; Serve starts it.
func NewPublic(o PublicOptions) *Public {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w)
		if err := o.Health(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, err.Error()+"\n")
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		plain(w)
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "here are /healthz and /metrics; commands go to the socket of the pool\n")
	})
	return &Public{http: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: publicTimeout,
		ReadTimeout:       publicTimeout,
		ConnState:         func(c net.Conn, s http.ConnState) { c.(*guest).note(s) },
		WriteTimeout:      publicAnswer,
		IdleTimeout:       publicKeepAlive,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}}
}

func plain(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
}

// Serve answers on l until Shutdown, then returns nil. It may be called for
// several listeners.
func (p *Public) Serve(l net.Listener) error {
	err := p.http.Serve(newDoor(l, publicConns))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fail.Wrap(fail.IO, err, "HTTP on %s", l.Addr())
}

// Shutdown takes no more requests and waits for those that run. When ctx ends
// first they are cut off, and its error is returned.
func (p *Public) Shutdown(ctx context.Context) error {
	err := p.http.Shutdown(ctx)
	if err != nil {
		p.http.Close()
	}
	return err
}
