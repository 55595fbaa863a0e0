package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"varve/internal/fail"
)

// TestPatience: a body may come slowly, but not in parts that take too long; what is done
// with it afterwards may take any time, whether it was read to its end or not.
func TestPatience(t *testing.T) {
	const each = 100 * time.Millisecond
	type outcome struct {
		read string
		err  error
		gone error // of the request, long after
	}
	ask := func(rest bool, stop bool, send func(w *io.PipeWriter)) outcome {
		t.Helper()
		done := make(chan outcome, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := newPatient(r.Body, http.NewResponseController(w))
			p.each = each
			if stop {
				time.AfterFunc(each/4, p.stop)
			}
			var o outcome
			if rest {
				var b []byte
				b, o.err = io.ReadAll(p)
				o.read = string(b)
				p.Read(make([]byte, 1)) // as who looks for one more volume does
			} else {
				b := make([]byte, 2)
				_, o.err = io.ReadFull(p, b)
				o.read = string(b)
			}
			time.Sleep(4 * each)
			o.gone = r.Context().Err()
			done <- o
		}))
		defer server.Close()
		body, w := io.Pipe()
		go send(w)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", server.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return <-done
	}
	slowly := func(w *io.PipeWriter) {
		for _, c := range "slowly" {
			io.WriteString(w, string(c))
			time.Sleep(each / 2)
		}
		w.Close()
	}
	never := func(w *io.PipeWriter) { io.WriteString(w, "one") }
	if o := ask(true, false, slowly); o.read != "slowly" || o.err != nil || o.gone != nil {
		t.Errorf("a slow body, and then long work: %+v", o)
	}
	if o := ask(false, false, slowly); o.read != "sl" || o.err != nil || o.gone != nil {
		t.Errorf("a body that is read in part, and then long work: %+v", o)
	}
	if o := ask(true, false, never); o.err == nil {
		t.Errorf("a body that stops coming: %+v", o)
	}
	if o := ask(true, true, never); o.err == nil || o.read != "one" {
		t.Errorf("a body that is given up: %+v", o)
	}
	p := newPatient(nil, http.NewResponseController(httptest.NewRecorder()))
	p.stop()
	if _, err := p.Read(nil); !fail.Is(err, fail.Canceled) {
		t.Errorf("read after it was given up: %v", err)
	}
}
