package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/when"
)

func TestEveryCallOfFiles(t *testing.T) {
	p := &httpapitest.Pool{History: httpapitest.History{
		Entries:     []files.Entry{{Path: "/a\xff", Type: "file", Size: 1<<63 - 1}, {Path: `/"b"`, Type: "symlink", Target: `"c"`}},
		Differences: []files.Difference{{What: files.Renamed, Path: "/new", From: "/old\n", Type: "dir"}},
		Versions:    []files.Version{{LSN: 3, What: "created", Size: 5}, {LSN: 4, What: "removed", Gone: true}},
	}}
	dir, _ := serve(t, p)
	c, ctx := NewClient(dir), context.Background()
	if d, err := c.CreateShare(ctx, "home", ShareOptions{}); err != nil || d.LSN != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	mode, id := uint32(0o2770), uint32(0)
	if _, err := c.CreateShare(ctx, "other", ShareOptions{Mode: &mode, UID: &id, GID: &id}); err != nil {
		t.Fatal(err)
	}
	if r := p.Roots; r[0].Mode != 0o755 || r[0].UID != uint32(os.Getuid()) || r[0].GID != uint32(os.Getgid()) || r[1].Mode != 0o2770 || r[1].UID != 0 {
		t.Errorf("roots %+v", r)
	}
	if _, err := c.Set(ctx, "home", "access", "ro"); err != nil {
		t.Error(err)
	}
	if d, err := c.Dataset(ctx, "home"); err != nil || d.Kind != "share" || d.Properties["access"] != "ro" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := c.Set(ctx, "home", "access", ""); err != nil {
		t.Error(err)
	}

	lsn1 := when.Spec{Kind: when.LSN, LSN: 1}
	var entries []files.Entry
	m, err := c.ListFiles(ctx, files.Place{Share: "home", When: &lsn1, Path: "/"}, false, func(e files.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil || len(m) != 1 || m[0].LSN != 1 || !slices.Equal(entries, p.History.Entries) {
		t.Errorf("entries %+v at %+v, %v", entries, m, err)
	}
	var diffs []files.Difference
	m, err = c.DiffFiles(ctx, "home", "/", lsn1, when.Spec{Kind: when.Now}, func(d files.Difference) error {
		diffs = append(diffs, d)
		return nil
	})
	if err != nil || len(m) != 2 || !slices.Equal(diffs, p.History.Differences) {
		t.Errorf("differences %+v at %+v, %v", diffs, m, err)
	}
	var versions []files.Version
	err = c.Versions(ctx, "home", "/a", true, func(v files.Version) error {
		versions = append(versions, v)
		return nil
	})
	if err != nil || !slices.Equal(versions, p.History.Versions) {
		t.Errorf("versions %+v, %v", versions, err)
	}
	told := 0
	done, err := c.Copy(ctx, files.Place{Share: "home", Path: "/a"}, "other", "/b", false, func(files.Progress) { told++ })
	if err != nil || done.Path != "/b" || done.Files != 2 || told != 1 {
		t.Errorf("copy: %+v, told %d, %v", done, told, err)
	}
	done, err = c.RollbackPath(ctx, "home", "/a", lsn1, func(files.Progress) {})
	if err != nil || done.Guard == "" || done.Moment == nil || done.Moment.LSN != 1 {
		t.Errorf("rollback: %+v, %v", done, err)
	}
	var b bytes.Buffer
	if err := c.ReadFile(ctx, files.Place{Share: "home", Path: "/a"}, &b); !fail.Is(err, fail.NotFound) || b.Len() != 0 {
		t.Errorf("a file that is not there: %q, %v", b.String(), err)
	}
	if _, err := c.Diff(ctx, "home", lsn1, lsn1, func(engine.Change) error { return nil }); !fail.Is(err, fail.Invalid) {
		t.Errorf("the blocks of a share: %v", err)
	}
}

func TestBadRequestsOfFiles(t *testing.T) {
	p := &httpapitest.Pool{}
	dir, _ := serve(t, p)
	for _, c := range []struct{ method, path, body, kind string }{
		{"POST", "/v1/shares", `{}`, "invalid"},
		{"POST", "/v1/shares", `{"name":"a","mode":4096}`, "invalid"},
		{"POST", "/v1/shares", `{"name":"a","uid":-1}`, "invalid"},
		{"POST", "/v1/shares", `{"name":"a","uid":4294967296}`, "invalid"},
		{"PATCH", "/v1/datasets/a", `{"size":4096,"property":"quota"}`, "invalid"},
		{"PATCH", "/v1/datasets/a", `{"value":"1"}`, "invalid"},
		{"GET", "/v1/datasets/a/files?when=@10x-ago", "", "invalid"},
		{"GET", "/v1/datasets/a/files/bytes?when=@10x-ago", "", "invalid"},
		{"GET", "/v1/datasets/a/files/bytes?path=/x&color=red", "", "invalid"},
		{"GET", "/v1/datasets/a/files/diff", "", "invalid"},
		{"GET", "/v1/datasets/a/files/versions", "", "invalid"},
		{"POST", "/v1/datasets/a/files/copy", `{"path":"/a"}`, "invalid"},
		{"POST", "/v1/datasets/a/files/copy", `{"path":"/a","to":"b","to_path":"/","when":"@10x-ago"}`, "invalid"},
		{"POST", "/v1/datasets/a/files/rollback", `{"path":"/a"}`, "invalid"},
		{"POST", "/v1/datasets/a/files/rollback", `{"path":"/a","when":""}`, "invalid"},
		{"POST", "/v1/datasets/a/files/rollback", `{"path":"/a","when":"@lsn:0"}`, "not-found"},
	} {
		resp := raw(t, dir, c.method, c.path, c.body)
		var got Problem
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		}
		if resp.StatusCode < 400 || got.Kind != c.kind {
			t.Errorf("%s %s %s: %d %+v", c.method, c.path, c.body, resp.StatusCode, got)
		}
	}
	if n := len(p.Callers()); n != 0 {
		t.Errorf("%d bad requests changed something", n)
	}
}
