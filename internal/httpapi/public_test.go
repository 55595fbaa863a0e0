package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
	ask := func() {
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		a, err := c.Get("http://" + l.Addr().String() + "/healthz")
		if err == nil {
			a.Body.Close()
		}
		answers <- err
	}
	for range publicConns {
		go ask()
	}
	for range publicConns {
		<-asked
	}
	go ask()
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

// TestPublicIdle: connections that only stay there keep nobody out. Those that
// were idle for longest make room.
func TestPublicIdle(t *testing.T) {
	p := NewPublic(PublicOptions{Health: func() error { return nil }, Metrics: http.NotFoundHandler()})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(l)
	defer p.Shutdown(context.Background())
	ask := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		again(t, c)
		return c
	}
	first, second := ask(), ask()
	for range publicConns - 2 {
		ask()
	}
	again(t, first) // now second is the one that was idle for longest
	ask()
	if n, err := second.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection that was idle for longest is still there: %d bytes, %v", n, err)
	}
	again(t, first)
}

// again asks on a connection that is kept.
func again(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: varve\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(a.Body); err != nil || string(body) != "ok\n" {
		t.Fatalf("%q, %v", body, err)
	}
}
