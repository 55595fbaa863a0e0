package httpapi

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/when"
)

// ShareOptions say what the root directory of a new share looks like.
type ShareOptions struct {
	Mode *uint32 `json:"mode,omitempty"` // nil: 0755
	UID  *uint32 `json:"uid,omitempty"`  // nil: the caller
	GID  *uint32 `json:"gid,omitempty"`
}

// CreateShare makes an empty share.
func (c *Client) CreateShare(ctx context.Context, name string, o ShareOptions) (engine.Done, error) {
	return c.change(ctx, "POST", "/v1/shares", nil, struct {
		Name string `json:"name"`
		ShareOptions
	}{name, o})
}

// Set gives a share a property; "" takes it away.
func (c *Client) Set(ctx context.Context, name, property, value string) (engine.Done, error) {
	return c.change(ctx, "PATCH", dataset(name), nil, map[string]any{"property": property, "value": value})
}

func placeQuery(p files.Place) url.Values {
	q := url.Values{"path": {p.Path}}
	if p.When != nil {
		q.Set("when", p.When.String())
	}
	return q
}

// ListFiles visits what is in a directory of a share, or what is no directory
// itself, until visit fails; with self a directory itself too. It returns what
// the place's moment was resolved to.
func (c *Client) ListFiles(ctx context.Context, p files.Place, self bool, visit func(files.Entry) error) ([]engine.Moment, error) {
	q := placeQuery(p)
	q.Set("self", strconv.FormatBool(self))
	return items(ctx, c, dataset(p.Share)+"/files", q, visit)
}

// DiffFiles visits how a share differs between two moments below a path.
func (c *Client) DiffFiles(ctx context.Context, share, path string, from, to when.Spec, visit func(files.Difference) error) ([]engine.Moment, error) {
	q := url.Values{"path": {path}, "from": {from.String()}, "to": {to.String()}}
	return items(ctx, c, dataset(share)+"/files/diff", q, visit)
}

// Versions visits what there was at a path.
func (c *Client) Versions(ctx context.Context, share, path string, all bool, visit func(files.Version) error) error {
	_, err := items(ctx, c, dataset(share)+"/files/versions", url.Values{"path": {path}, "all": {strconv.FormatBool(all)}}, visit)
	return err
}

// ReadFile writes the bytes of a file to w.
func (c *Client) ReadFile(ctx context.Context, p files.Place, w io.Writer) error {
	return c.download(ctx, dataset(p.Share)+"/files/bytes", placeQuery(p), w)
}

// Deleted visits the names that were in a directory of a share and are not there now.
func (c *Client) Deleted(ctx context.Context, share, path string, visit func(ask.Deleted) error) error {
	_, err := items(ctx, c, dataset(share)+"/files/deleted", url.Values{"path": {path}}, visit)
	return err
}

// download writes the bytes of an answer.
func (c *Client) download(ctx context.Context, path string, q url.Values, w io.Writer) error {
	resp, err := c.send(ctx, "GET", path, q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.receive(ctx, resp, w)
}

// remembering tells an error of writing from one of reading.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if err != nil {
		r.err = fail.Wrap(fail.IO, err, "write")
	}
	return n, err
}

// Copy copies a file or a tree inside the server, to a path of a share.
func (c *Client) Copy(ctx context.Context, from files.Place, share, path string, force bool, progress func(files.Progress)) (files.Copied, error) {
	in := map[string]any{"path": from.Path, "to": share, "to_path": path, "force": force}
	if from.When != nil {
		in["when"] = from.When.String()
	}
	return c.copied(ctx, dataset(from.Share)+"/files/copy", in, progress)
}

// RollbackPath makes a path what it was at a moment.
func (c *Client) RollbackPath(ctx context.Context, share, path string, w when.Spec, progress func(files.Progress)) (files.Copied, error) {
	return c.copied(ctx, dataset(share)+"/files/rollback", map[string]any{"path": path, "when": w.String()}, progress)
}

func (c *Client) copied(ctx context.Context, path string, in any, progress func(files.Progress)) (r files.Copied, err error) {
	return r, streamFrom(ctx, c, "POST", path, nil, in, func(m *CopyMessage) (bool, error) {
		switch {
		case m.Error != nil:
			return true, m.Error.failure()
		case m.Report != nil:
			r = *m.Report
			return true, nil
		}
		if m.Progress != nil {
			progress(*m.Progress)
		}
		return false, nil
	})
}
