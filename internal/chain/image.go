package chain

import (
	"context"
	"io"

	"varve/internal/dump"
	"varve/internal/extfs"
	"varve/internal/fail"
	"varve/internal/ufs"
)

// OpenImage finds out what file system is in an image of size bytes, or in a
// partition of it (from 1; 0 is the whole image), and opens it. Errors: NotFound says
// what is there instead and what to do about it.
func OpenImage(ctx context.Context, r io.ReaderAt, size int64, partition int) (dump.Source, error) {
	if partition != 0 {
		p, err := partitionOf(r, size, partition)
		if err != nil {
			return nil, err
		}
		r, size = io.NewSectionReader(r, p.start, p.size), p.size
	}
	switch {
	case extfs.Probe(r):
		return source(extfs.Open(ctx, r, size))
	case ufs.Probe(r):
		return source(ufs.Open(ctx, r, size))
	}
	what, hint := whatIs(r, size)
	return nil, fail.New(fail.NotFound, "there is no ext2, ext3, ext4, UFS1 or UFS2 file system, but %s", what).WithHint("%s", hint)
}

// source keeps a nil *T from becoming a Source that is not nil.
func source[T dump.Source](s T, err error) (dump.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
