package httpapi

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"varve/internal/oplog"
	"varve/internal/redo"
)

// Undo makes a dataset what it would be without some operations.
func (c *Client) Undo(ctx context.Context, name string, o redo.UndoOptions) (*redo.Report, error) {
	in := how(o.Options)
	in["since"], in["force"] = o.Since.String(), o.Force
	if o.Until != nil {
		in["until"] = o.Until.String()
	}
	setFilter(in, "filter", o.Match)
	return c.redo(ctx, dataset(name)+"/undo", in, o.Tell)
}

// Replay makes a new dataset of operations of another.
func (c *Client) Replay(ctx context.Context, name string, o redo.ReplayOptions) (*redo.Report, error) {
	in := how(o.Options)
	in["from"], in["to"], in["name"] = o.From.String(), o.To.String(), o.Name
	setFilter(in, "only", o.Only)
	setFilter(in, "exclude", o.Exclude)
	return c.redo(ctx, dataset(name)+"/replay", in, o.Tell)
}

// ReplayFrom makes a new dataset of one, at o.At, and of the operations in a file.
func (c *Client) ReplayFrom(ctx context.Context, name string, o redo.FromOptions, file io.Reader) (*redo.Report, error) {
	q := url.Values{"at": {o.At.String()}, "new": {o.Name}, "dry_run": {strconv.FormatBool(o.DryRun)},
		"on_conflict": {string(o.OnConflict)}, "taint": {string(o.Taint)}}
	resp, err := c.sendBody(ctx, "POST", dataset(name)+fromPath, q, file, "application/octet-stream")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var r *redo.Report
	err = takeLines(ctx, c, resp, report(&r, nil))
	return r, err
}

func how(o redo.Options) map[string]any {
	in := map[string]any{"dry_run": o.DryRun}
	if o.OnConflict != "" {
		in["on_conflict"] = o.OnConflict
	}
	if o.Taint != redo.NoTaint {
		in["taint"] = o.Taint
	}
	return in
}

func setFilter(in map[string]any, name string, f *oplog.Filter) {
	if f != nil {
		if text := f.String(); text != "" {
			in[name] = text
		}
	}
}

func (c *Client) redo(ctx context.Context, path string, in any, tell func(redo.Advance)) (r *redo.Report, err error) {
	err = streamFrom(ctx, c, "POST", path, nil, in, report(&r, tell))
	return r, err
}

// report takes the lines up to the report.
func report(r **redo.Report, tell func(redo.Advance)) func(*RedoMessage) (bool, error) {
	return func(m *RedoMessage) (bool, error) {
		switch {
		case m.Error != nil:
			return true, m.Error.failure()
		case m.Report != nil:
			*r = m.Report
			return m.Type == "report", nil // what was refused is followed by why
		}
		if m.Progress != nil && tell != nil {
			tell(*m.Progress)
		}
		return false, nil
	}
}
