package chain

import (
	"context"
	"io"

	"varve/internal/dump"
	"varve/internal/extfs"
	"varve/internal/fail"
)

// OpenImage finds out what file system is in an image of size bytes, or in a
// partition of it, and opens it. NotFound if there is none that is known.
func OpenImage(ctx context.Context, r io.ReaderAt, size int64, partition int) (dump.Source, error) {
	if extfs.Probe(r) {
		return extfs.Open(ctx, r, size)
	}
	return nil, fail.New(fail.NotFound, "there is no ext2, ext3, ext4 or UFS file system")
}
