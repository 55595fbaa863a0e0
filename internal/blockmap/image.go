package blockmap

import (
	"context"
	"io"

	"varve/internal/fail"
)

// ReadImage fills p from a byte of an image as it is. Errors: IO, Canceled once ctx
// has ended.
func ReadImage(ctx context.Context, r io.ReaderAt, p []byte, at uint64) error {
	if err := ctx.Err(); err != nil {
		return fail.Wrap(fail.Canceled, context.Cause(ctx), "reading the image was given up")
	}
	if n, err := r.ReadAt(p, int64(at)); n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fail.Wrap(fail.IO, err, "reading %d bytes at offset %d of the image", len(p), at)
	}
	return nil
}
