package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestPublic(t *testing.T) {
	var trouble atomic.Pointer[error]
	p := NewPublic(PublicOptions{
		Health: func() error {
			if err := trouble.Load(); err != nil {
				return *err
			}
			return nil
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(l) }()

	ask := func(method, path string, status int, words string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil || a.StatusCode != status || !strings.Contains(string(body), words) {
			t.Errorf("%s %s: status %d, %q, %v; want %d, %q", method, path, a.StatusCode, body, err, status, words)
		}
	}
	ask("GET", "/healthz", 200, "ok\n")
	ask("HEAD", "/healthz", 200, "")
	ask("GET", "/metrics", 200, "metric 1\n")
	bad := errors.New("starting: replayed 7 operations")
	trouble.Store(&bad)
	ask("GET", "/healthz", 503, "starting: replayed 7 operations\n")

	// Nothing of the control plane is here, and nothing can be changed.
	ask("GET", "/v1/status", 404, "")
	ask("GET", "/openapi.json", 404, "")
	ask("POST", "/v1/check", 404, "")
	ask("POST", "/healthz", 404, "")
	ask("DELETE", "/metrics", 404, "")

	if err := p.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestPublicLimit: connections beyond the limit wait until others end.
func TestPublicLimit(t *testing.T) {
	asked := make(chan struct{}, publicConns+1)
	gate := make(chan struct{})
	p := NewPublic(PublicOptions{
		Health:  func() error { asked <- struct{}{}; <-gate; return nil },
		Metrics: http.NotFoundHandler(),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(l)
	answers := make(chan error, publicConns+1)
	for range publicConns + 1 {
		go func() {
			c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			a, err := c.Get("http://" + l.Addr().String() + "/healthz")
			if err == nil {
				a.Body.Close()
			}
			answers <- err
		}()
	}
	for range publicConns {
		<-asked
	}
	if len(asked) > 0 {
		t.Error("one too many was served")
	}
	close(gate)
	for range publicConns + 1 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	<-asked // the last one, after another had ended
	if err := p.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
