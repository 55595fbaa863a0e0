package extfs

import (
	"context"
	"io"

	"varve/internal/fail"
)

// disk reads blocks of the image as they are after recovery: a block that the
// journal holds a newer version of is read from the journal. Safe for concurrent
// use once the journal is replayed.
type disk struct {
	r      io.ReaderAt
	block  uint64 // size of one, in bytes
	blocks uint64 // how many the file system has

	replayed map[uint64]logged
}

// logged is where the newest version of a block lies.
type logged struct {
	at      uint64 // the block of the image that holds it
	escaped bool   // its first four bytes were the journal's magic
}

// corrupt makes the error of a structure that contradicts itself or its checksum.
func corrupt(format string, args ...any) *fail.Error {
	return fail.New(fail.Corrupt, format, args...).WithHint("check a copy of the image with e2fsck -f")
}

// raw fills p from an offset in bytes of the image as it is.
func (d *disk) raw(ctx context.Context, p []byte, at uint64) error {
	if err := ctx.Err(); err != nil {
		return fail.Wrap(fail.Canceled, context.Cause(ctx), "reading the image was given up")
	}
	if n, err := d.r.ReadAt(p, int64(at)); n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fail.Wrap(fail.IO, err, "reading %d bytes at offset %d of the image", len(p), at)
	}
	return nil
}

// read fills p with whole blocks or the beginning of the last of them, from block n
// on. The caller has checked that they are inside the file system, or gets Corrupt.
func (d *disk) read(ctx context.Context, p []byte, n uint64) error {
	return d.readAt(ctx, p, n, 0)
}

// readAt is read from an offset inside block n.
func (d *disk) readAt(ctx context.Context, p []byte, n, offset uint64) error {
	end := offset + uint64(len(p)) // in bytes from the beginning of block n
	if count := (end + d.block - 1) / d.block; n >= d.blocks || count > d.blocks-n {
		return corrupt("blocks %d to %d are beyond the file system's %d", n, n+count-1, d.blocks)
	}
	if err := d.raw(ctx, p, n*d.block+offset); err != nil || len(d.replayed) == 0 {
		return err
	}
	for at := offset / d.block * d.block; at < end; at += d.block {
		from, ok := d.replayed[n+at/d.block]
		if !ok {
			continue
		}
		lo, hi := max(at, offset), min(at+d.block, end)
		part := p[lo-offset : hi-offset]
		if err := d.raw(ctx, part, from.at*d.block+lo-at); err != nil {
			return err
		}
		if from.escaped {
			for i := range part[:min(uint64(len(part)), 4-min(4, lo-at))] {
				part[i] = byte(uint32(journalMagic) >> (24 - 8*(uint64(i)+lo-at)))
			}
		}
	}
	return nil
}
