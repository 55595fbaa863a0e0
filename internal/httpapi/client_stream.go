package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// Check verifies the pool while it is served, and reports progress as it comes.
func (c *Client) Check(ctx context.Context, data bool, progress func(done, total uint64)) (r engine.CheckReport, err error) {
	q := url.Values{"data": {strconv.FormatBool(data)}}
	return r, stream(ctx, c, "POST", "/v1/check", q, func(m *CheckMessage) (bool, error) {
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

// Diff visits the ranges that differ between two moments, in order, until
// visit fails, and returns what the moments were resolved to.
func (c *Client) Diff(ctx context.Context, name string, from, to when.Spec, visit func(engine.Change) error) ([]engine.Moment, error) {
	return items(ctx, c, dataset(name)+"/diff", url.Values{"from": {from.String()}, "to": {to.String()}}, visit)
}

// Log visits the operations of the log that are wanted, oldest first, until
// visit fails, and returns what Since and Until were resolved to, if given.
func (c *Client) Log(ctx context.Context, query ask.Query, visit func(ask.Item) error) ([]engine.Moment, error) {
	q := rangeValues(&query)
	if query.Follow {
		q.Set("follow", "true")
	}
	return itemsWithProgress(ctx, c, "/v1/log", q, query.Progress, visit)
}

// LogGroups visits groups of the operations that are wanted.
func (c *Client) LogGroups(ctx context.Context, query ask.Query, by string, visit func(ask.Group) error) ([]engine.Moment, error) {
	q := rangeValues(&query)
	q.Set("by", by)
	return itemsWithProgress(ctx, c, "/v1/log/groups", q, query.Progress, visit)
}

// ExportLog writes a file of the operations that are wanted, with their data.
func (c *Client) ExportLog(ctx context.Context, query ask.Query, w io.Writer) error {
	return c.download(ctx, "/v1/log/export", rangeValues(&query), w)
}

func rangeValues(query *ask.Query) url.Values {
	q := url.Values{}
	for key, value := range map[string]string{"dataset": query.Dataset, "filter": query.Filter.String()} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if query.Since != nil {
		q.Set("since", query.Since.String())
	}
	if query.Until != nil {
		q.Set("until", query.Until.String())
	}
	return q
}

// Checkpoints lists the checkpoints, oldest first.
func (c *Client) Checkpoints(ctx context.Context) (list []engine.CheckpointInfo, err error) {
	return list, c.do(ctx, "GET", "/v1/checkpoints", nil, nil, &list)
}

// Segments lists the segments of the log.
func (c *Client) Segments(ctx context.Context) (list []engine.SegmentInfo, err error) {
	return list, c.do(ctx, "GET", "/v1/segments", nil, nil, &list)
}

// Frames visits the frames of a segment, damaged ones too.
func (c *Client) Frames(ctx context.Context, segment uint64, visit func(engine.FrameInfo) error) error {
	_, err := items(ctx, c, segmentPath(segment)+"/frames", nil, visit)
	return err
}

// Ops visits the operations whose records a segment holds.
func (c *Client) Ops(ctx context.Context, segment uint64, visit func(engine.OpDetail) error) error {
	_, err := items(ctx, c, segmentPath(segment)+"/ops", nil, visit)
	return err
}

// Tree visits the nodes of a dataset's tree at a moment, parents first, and
// returns what w was resolved to.
func (c *Client) Tree(ctx context.Context, name string, w when.Spec, visit func(engine.NodeInfo) error) ([]engine.Moment, error) {
	return items(ctx, c, dataset(name)+"/tree", url.Values{"when": {w.String()}}, visit)
}

// Node dumps the tree node at a block of a segment.
func (c *Client) Node(ctx context.Context, segment uint64, block uint32) (n NodeDump, err error) {
	path := segmentPath(segment) + "/nodes/" + strconv.FormatUint(uint64(block), 10)
	return n, c.do(ctx, "GET", path, nil, nil, &n)
}

func segmentPath(n uint64) string { return "/v1/segments/" + strconv.FormatUint(n, 10) }

// items visits the items of a stream of Line[T].
func items[T any](ctx context.Context, c *Client, path string, q url.Values, visit func(T) error) (moments []engine.Moment, err error) {
	return itemsWithProgress(ctx, c, path, q, nil, visit)
}

func itemsWithProgress[T any](ctx context.Context, c *Client, path string, q url.Values, progress func(done, total uint64), visit func(T) error) (moments []engine.Moment, err error) {
	return moments, stream(ctx, c, "GET", path, q, func(l *Line[T]) (bool, error) {
		switch {
		case l.Error != nil:
			return true, l.Error.failure()
		case l.Item != nil:
			return false, visit(*l.Item)
		case l.Type == "progress":
			if progress != nil {
				progress(l.Done, l.Total)
			}
			return false, nil
		}
		moments = l.Moments
		return l.Type == "end", nil
	})
}

// stream hands each line of an answer to take, until that says that it was
// the last, or fails.
func stream[L any](ctx context.Context, c *Client, method, path string, q url.Values, take func(*L) (last bool, err error)) error {
	return streamFrom(ctx, c, method, path, q, nil, take)
}

// streamFrom is stream of a request with a body.
func streamFrom[L any](ctx context.Context, c *Client, method, path string, q url.Values, in any, take func(*L) (last bool, err error)) error {
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return takeLines(ctx, c, resp, take)
}

// takeLines hands each line of an answer to take, until that says that it was the
// last, or fails.
func takeLines[L any](ctx context.Context, c *Client, resp *http.Response, take func(*L) (last bool, err error)) error {
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var l L
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			if ctx.Err() != nil || lines.Err() != nil { // a part of a line
				break
			}
			return c.garbled(err)
		}
		if last, err := take(&l); last || err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return fail.New(fail.Canceled, "interrupted")
	}
	if err := lines.Err(); err != nil {
		return fail.Wrap(fail.IO, err, "the server of pool %s broke off", c.dir)
	}
	return fail.New(fail.IO, "the server of pool %s broke off", c.dir)
}
