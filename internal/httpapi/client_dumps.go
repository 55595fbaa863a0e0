package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"varve/internal/chain"
	"varve/internal/engine"
	"varve/internal/fail"
)

// ListDumps lists the records of dumps of a share, or with "" of all.
func (c *Client) ListDumps(ctx context.Context, share string) (list []chain.Record, err error) {
	q := url.Values{}
	if share != "" {
		q.Set("dataset", share)
	}
	return list, c.do(ctx, "GET", "/v1/dumps", q, nil, &list)
}

// PlanDump describes a dump that is not made.
func (c *Client) PlanDump(ctx context.Context, name string, b DumpBody) (i chain.Info, err error) {
	return i, c.do(ctx, "POST", dataset(name)+"/dumps/plan", nil, b, &i)
}

// Dump makes a dump. begin is told what it will be and returns where it goes.
func (c *Client) Dump(ctx context.Context, name string, b DumpBody, begin func(chain.Info) (io.Writer, error)) (r DumpResult, err error) {
	resp, err := c.send(ctx, "POST", dataset(name)+"/dumps", nil, b)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	var info chain.Info
	if err := json.Unmarshal([]byte(resp.Header.Get(dumpHeader)), &info); err != nil {
		return r, c.garbled(err)
	}
	w, err := begin(info)
	if err != nil {
		return r, err
	}
	if err := c.receive(ctx, resp, w); err != nil {
		return r, err
	}
	text := resp.Trailer.Get(dumpTrailer)
	if text == "" {
		return r, fail.New(fail.IO, "the server of pool %s broke off", c.dir)
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, c.garbled(err)
	}
	return r, nil
}

// copyBytes is how much of an answer is taken at a time.
const copyBytes = 1 << 20

// receive writes the bytes of an answer to w. They are whole if there is no error.
func (c *Client) receive(ctx context.Context, resp *http.Response, w io.Writer) error {
	to := &remembering{w: w}
	_, err := io.CopyBuffer(to, resp.Body, make([]byte, copyBytes))
	switch text := resp.Trailer.Get(problemTrailer); {
	case to.err != nil:
		return to.err
	case ctx.Err() != nil:
		return fail.New(fail.Canceled, "interrupted")
	case err != nil:
		return fail.Wrap(fail.IO, err, "the server of pool %s broke off", c.dir)
	case text != "":
		var p Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return c.garbled(err)
		}
		return p.failure()
	}
	return nil
}

// KeepDump lets others be based on a dump, whose archive is safe.
func (c *Client) KeepDump(ctx context.Context, name, snapshot string) (k chain.Kept, err error) {
	return k, c.do(ctx, "POST", dataset(name)+"/dumps/"+url.PathEscape(snapshot)+"/keep", nil, nil, &k)
}

// DiscardDump forgets a dump that came to nothing.
func (c *Client) DiscardDump(ctx context.Context, name, snapshot string) (engine.Done, error) {
	return c.change(ctx, "DELETE", dataset(name)+"/dumps/"+url.PathEscape(snapshot), nil, nil)
}
