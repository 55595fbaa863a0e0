package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// Limits of the client.
const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 256 << 20 // bytes
	maxLine     = 16 << 20  // bytes, of a stream: a report may name much damage
)

// Client asks the server of one pool. Its methods are safe for concurrent
// use. Errors are *fail.Error, of the kind that the server reported: NoServer
// where nothing listens, Canceled when ctx ended.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient makes a client of the pool in dir. Nothing is connected yet.
func NewClient(dir string) *Client {
	c := &Client{dir: dir}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableCompression: true}}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return dialUnix(ctx, SocketPath(c.dir))
}

// Status describes the pool and its server.
func (c *Client) Status(ctx context.Context) (s ServerStatus, err error) {
	return s, c.do(ctx, "GET", "/v1/status", nil, nil, &s)
}

// Datasets lists the datasets, or those that were destroyed and can come back.
func (c *Client) Datasets(ctx context.Context, destroyed bool) (d []engine.DatasetInfo, err error) {
	q := url.Values{"destroyed": {strconv.FormatBool(destroyed)}}
	return d, c.do(ctx, "GET", "/v1/datasets", q, nil, &d)
}

// Dataset describes one dataset.
func (c *Client) Dataset(ctx context.Context, name string) (d engine.DatasetInfo, err error) {
	return d, c.do(ctx, "GET", dataset(name), nil, nil, &d)
}

// Snapshots lists the snapshots of a dataset, or with "" of all.
func (c *Client) Snapshots(ctx context.Context, name string) (s []engine.SnapshotInfo, err error) {
	q := url.Values{}
	if name != "" {
		q.Set("dataset", name)
	}
	return s, c.do(ctx, "GET", "/v1/snapshots", q, nil, &s)
}

// CreateVolume makes a thin volume of size bytes.
func (c *Client) CreateVolume(ctx context.Context, name string, size uint64) (engine.Done, error) {
	return c.change(ctx, "POST", "/v1/volumes", nil, map[string]any{"name": name, "size": size})
}

// Resize grows a volume to size bytes.
func (c *Client) Resize(ctx context.Context, name string, size uint64) (engine.Done, error) {
	return c.change(ctx, "PATCH", dataset(name), nil, map[string]any{"size": size})
}

// SetCapacity changes how many bytes the pool may occupy; 0 brings the default back.
func (c *Client) SetCapacity(ctx context.Context, bytes uint64) (d engine.CapacityDone, err error) {
	return d, c.do(ctx, "PATCH", "/v1/pool", nil, map[string]any{"capacity": bytes}, &d)
}

// SnapshotOptions say of which moment a snapshot is, and when it goes by
// itself. The zero value is the present one, and never.
type SnapshotOptions struct {
	At      *when.Spec
	Expires when.Expiry
}

// Snapshot names a moment of a dataset.
func (c *Client) Snapshot(ctx context.Context, name, snapshot string, o SnapshotOptions) (engine.Done, error) {
	in := map[string]any{"name": snapshot, "expires": o.Expires.String()}
	if o.At != nil {
		in["when"] = o.At.String()
	}
	return c.change(ctx, "POST", dataset(name)+"/snapshots", nil, in)
}

// SnapshotAll names the present moment of every dataset.
func (c *Client) SnapshotAll(ctx context.Context, snapshot string, expires when.Expiry) (engine.Done, error) {
	return c.change(ctx, "POST", "/v1/snapshots", nil, map[string]any{"name": snapshot, "expires": expires.String()})
}

// Hold puts a tag on a snapshot, which forbids destroying it.
func (c *Client) Hold(ctx context.Context, name, snapshot, tag string) (engine.Done, error) {
	return c.change(ctx, "POST", snapshotPath(name, snapshot)+"/holds", nil, map[string]any{"tag": tag})
}

// Release takes a tag off a snapshot.
func (c *Client) Release(ctx context.Context, name, snapshot, tag string) (engine.Done, error) {
	return c.change(ctx, "DELETE", snapshotPath(name, snapshot)+"/holds/"+url.PathEscape(tag), nil, nil)
}

// DestroySnapshot destroys a snapshot.
func (c *Client) DestroySnapshot(ctx context.Context, name, snapshot string) (engine.Done, error) {
	return c.change(ctx, "DELETE", snapshotPath(name, snapshot), nil, nil)
}

// Clone makes a dataset from a moment of another, with properties, if any. If
// one of these cannot be set there is no clone.
func (c *Client) Clone(ctx context.Context, name string, w when.Spec, newName string, properties map[string]string) (engine.Done, error) {
	in := map[string]any{"when": w.String(), "name": newName}
	if len(properties) > 0 {
		in["properties"] = properties
	}
	return c.change(ctx, "POST", dataset(name)+"/clone", nil, in)
}

// Rollback makes a dataset's head equal to a moment. With force its writers
// are disconnected first; without, they make it Busy.
func (c *Client) Rollback(ctx context.Context, name string, w when.Spec, force bool) (engine.Done, error) {
	return c.change(ctx, "POST", dataset(name)+"/rollback", nil, map[string]any{"when": w.String(), "force": force})
}

// Destroy destroys a dataset; with now it cannot come back.
func (c *Client) Destroy(ctx context.Context, name string, now bool) (engine.Done, error) {
	return c.change(ctx, "DELETE", dataset(name), url.Values{"now": {strconv.FormatBool(now)}}, nil)
}

// Undestroy brings a destroyed dataset back, with "" under its old name.
func (c *Client) Undestroy(ctx context.Context, name, newName string) (engine.Done, error) {
	return c.change(ctx, "POST", dataset(name)+"/undestroy", nil, map[string]any{"name": newName})
}

// Rename gives a dataset another name.
func (c *Client) Rename(ctx context.Context, name, newName string) (engine.Done, error) {
	return c.change(ctx, "POST", dataset(name)+"/rename", nil, map[string]any{"name": newName})
}

// Resolve says which moment of a dataset a WHEN names.
func (c *Client) Resolve(ctx context.Context, name string, w when.Spec) (m engine.Moment, err error) {
	return m, c.do(ctx, "GET", dataset(name)+"/moment", url.Values{"when": {w.String()}}, nil, &m)
}

func dataset(name string) string { return "/v1/datasets/" + url.PathEscape(name) }

func snapshotPath(name, snapshot string) string {
	return dataset(name) + "/snapshots/" + url.PathEscape(snapshot)
}

func (c *Client) change(ctx context.Context, method, path string, q url.Values, in any) (d engine.Done, err error) {
	return d, c.do(ctx, method, path, q, in, &d)
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		if ctx.Err() != nil {
			return fail.New(fail.Canceled, "interrupted")
		}
		return c.garbled(err)
	}
	return nil
}

// send asks, and returns an answer that is no error; its body is the caller's
// to close.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fail.Wrap(fail.Invalid, err, "request")
		}
		body = bytes.NewReader(b)
	}
	return c.sendBody(ctx, method, path, q, body, "application/json")
}

// sendBody asks with a body of a type, or nil, and returns the answer, if it is no
// error.
func (c *Client) sendBody(ctx context.Context, method, path string, q url.Values, body io.Reader, mime string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://varve"+path+"?"+q.Encode(), body)
	if err != nil {
		return nil, fail.Wrap(fail.Invalid, err, "request")
	}
	if body != nil {
		req.Header.Set("Content-Type", mime)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p); err != nil || p.Message == "" {
		return nil, c.garbled(errors.New(resp.Status))
	}
	return nil, p.failure()
}

// unreached says why there was no answer at all.
func (c *Client) unreached(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fail.New(fail.Canceled, "interrupted")
	case errors.Is(err, fs.ErrPermission):
		return fail.New(fail.Denied, "the server of pool %s does not let you in: %s is for its owner and group", c.dir, SocketPath(c.dir)).
			WithHint("use sudo, or serve with --socket-group")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		e := fail.New(fail.NoServer, "no server for pool %s", c.dir)
		if _, err := os.Stat(c.dir); err != nil {
			return e.WithHint("there is no such directory; make a pool there and serve it with: varve up %s", c.dir)
		}
		return e.WithHint("start one with: varve serve %s", c.dir)
	}
	var op *url.Error
	if errors.As(err, &op) {
		err = op.Err // the URL in it is of no use to anybody
	}
	return fail.Wrap(fail.IO, err, "ask the server of pool %s", c.dir)
}

func (c *Client) garbled(err error) error {
	return fail.Wrap(fail.Other, err, "the server of pool %s gave an answer that this program does not understand", c.dir).
		WithHint("compare varve version with varve status")
}
