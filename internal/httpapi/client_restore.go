package httpapi

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/restore"
)

// RestoreArchive restores an archive, whose volumes have these names, into a
// directory of a share, or compares it. It does what o says; o.Root is not looked at.
func (c *Client) RestoreArchive(ctx context.Context, to files.Place, names []string, v restore.Volumes, o restore.Options) (result restore.Result, err error) {
	q := url.Values{
		"path": {to.Path}, "want": o.Paths, "volume": names, "shallow": {strconv.FormatBool(o.Shallow)},
		"go_on": {strconv.FormatBool(o.GoOn)}, "names": {strconv.FormatBool(o.Names)},
	}
	for name, op := range restoreOps {
		if op == o.Op {
			q.Set("op", name)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, sink := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := sendVolumes(sink, v)
		sent <- err
		sink.CloseWithError(err)
	}()
	defer func() {
		body.CloseWithError(errNotWanted)
		select {
		case serr := <-sent:
			if err != nil && serr != nil && serr != errNotWanted && serr != io.ErrClosedPipe {
				err = serr // the archive could not be read here
			}
		default: // a pipe may give nothing for long
		}
	}()
	resp, err := c.sendBody(ctx, "POST", dataset(to.Share)+restorePath, q, body, "application/octet-stream")
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	return result, takeLines(ctx, c, resp, func(m *RestoreMessage) (bool, error) {
		switch {
		case m.Error != nil:
			return true, m.Error.failure()
		case m.Result != nil:
			result = *m.Result
			return true, nil
		case m.What == nil:
			return false, nil
		}
		return false, o.Say(*m.What)
	})
}

// errNotWanted ends the sending of what nobody wants any more.
var errNotWanted error = fail.New(fail.Canceled, "the archive is not wanted any more")
