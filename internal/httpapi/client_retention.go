package httpapi

import (
	"context"

	"varve/internal/engine"
	"varve/internal/when"
)

// Prune forgets history of a dataset, or with "" of all.
func (c *Client) Prune(ctx context.Context, name string, o engine.PruneOptions) (list []engine.PruneReport, err error) {
	path, in := "/v1/prune", PruneBody{DryRun: o.DryRun}
	if name != "" {
		path = dataset(name) + "/prune"
	}
	if o.Before != nil {
		in.Before = o.Before.String()
	}
	return list, c.do(ctx, "POST", path, nil, in, &list)
}

// Reclaimable returns how many bytes destroying these snapshots of a dataset,
// all together, would give back.
func (c *Client) Reclaimable(ctx context.Context, name string, snapshots []string) (int64, error) {
	var r Reclaimable
	err := c.do(ctx, "POST", dataset(name)+"/reclaimable", nil, map[string]any{"snapshots": snapshots}, &r)
	return r.Bytes, err
}

// Expire says when a snapshot goes by itself.
func (c *Client) Expire(ctx context.Context, name, snapshot string, e when.Expiry) (engine.Done, error) {
	return c.change(ctx, "PATCH", snapshotPath(name, snapshot), nil, map[string]any{"expires": e.String()})
}

// ConfirmClock accepts the clock of the server's machine after it jumped.
func (c *Client) ConfirmClock(ctx context.Context) (engine.Done, error) {
	return c.change(ctx, "POST", "/v1/clock/confirm", nil, nil)
}

// Clean gives dead space back at once, and reports progress as it comes.
func (c *Client) Clean(ctx context.Context, progress func(done, total int64)) (r engine.CleanReport, err error) {
	return r, stream(ctx, c, "POST", "/v1/clean", nil, func(m *CleanMessage) (bool, error) {
		switch {
		case m.Error != nil:
			return true, m.Error.failure()
		case m.Report != nil:
			r = *m.Report
			return true, nil
		}
		progress(m.Done, m.Total)
		return false, nil
	})
}
