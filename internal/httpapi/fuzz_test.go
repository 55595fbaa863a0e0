package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi/httpapitest"
)

// FuzzRequest: whatever is asked, the answer is a body of the right form, and
// an error names a kind that exists.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "v1/volumes", `{"name":"a","size":4096}`)
	f.Add("GET", "v1/datasets?destroyed=true", "")
	f.Add("POST", "v1/datasets/a/clone", `{"when":"@10m-ago","name":"b"}`)
	f.Add("POST", "v1/check?data=true", "")
	f.Add("GET", "v1/log?op=write&since=@10m-ago", "")
	f.Add("GET", "v1/segments/1/nodes/7", "")
	f.Add("PATCH", "v1/datasets/a", `{"size":8192}`)
	f.Add("POST", "v1/shares", `{"name":"a","mode":493,"uid":1,"gid":1}`)
	f.Add("GET", "v1/datasets/a/files?path=/x&when=@10m-ago&self=true", "")
	f.Add("GET", "v1/datasets/a/files/bytes?path=/x", "")
	f.Add("POST", "v1/datasets/a/files/copy", `{"path":"/a","to":"b","to_path":"/c","force":true}`)
	f.Add("POST", "v1/prune", `{"before":"@7d-ago","dry_run":true}`)
	f.Add("PATCH", "v1/datasets/a/snapshots/b", `{"expires":"30d"}`)
	f.Add("POST", "v1/clean", "")
	f.Add("POST", "v1/datasets/a/dumps", `{"level":1,"honor":1,"format":"portable","blocking":10,"update":true}`)
	f.Add("GET", "v1/dumps?dataset=a", "")
	f.Add("POST", "v1/datasets/a/files/restore-archive?op=extract&path=/&volume=x", "\x04\x00\x00\x00abcd\x00\x00\x00\x00")
	f.Add("POST", "v1/datasets/a/dumps/b/keep", "")
	p := &httpapitest.Pool{}
	// To make a server takes much longer than a request does.
	s := New(Options{Pool: p, Files: p, Dumps: httpapitest.Dumps{}, Redo: p, Log: p, Info: func() ServerInfo { return ServerInfo{} }})
	f.Fuzz(func(t *testing.T, method, path, body string) {
		*p = httpapitest.Pool{}
		req, err := http.NewRequest(method, "http://varve/"+path, strings.NewReader(body))
		if err != nil {
			return // net/http would not have let it in either
		}
		ctx := context.WithValue(context.Background(), callerKey{}, caller{Caller: engine.Caller{Proto: "api"}})
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, req.WithContext(ctx))
		if w.Code < 400 {
			return
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Message == "" {
			t.Fatalf("%s %q %q: %d %q", method, path, body, w.Code, w.Body)
		}
		if k := fail.KindNamed(p.Kind); w.Code == 500 || k.String() != p.Kind {
			t.Fatalf("%s %q %q: %d %+v", method, path, body, w.Code, p)
		}
	})
}
