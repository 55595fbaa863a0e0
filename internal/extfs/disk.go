package extfs

import (
	"context"
	"io"

	"varve/internal/blockmap"
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

const hint = "check a copy of the image with e2fsck -f"

// corrupt makes the error of a structure that contradicts itself or its checksum.
func corrupt(format string, args ...any) *fail.Error {
	return fail.New(fail.Corrupt, format, args...).WithHint("%s", hint)
}

// read fills p with whole blocks or the beginning of the last of them, from block n on.
func (d *disk) read(ctx context.Context, p []byte, n uint64) error {
	if n >= d.blocks {
		return corrupt("block %d is beyond the file system's %d", n, d.blocks)
	}
	return d.readAt(ctx, p, n*d.block)
}

// readAt fills p from a byte of the file system on. What is not inside gives Corrupt.
func (d *disk) readAt(ctx context.Context, p []byte, at uint64) error {
	size := d.blocks * d.block
	if at > size || uint64(len(p)) > size-at {
		return corrupt("%d bytes at byte %d are beyond the file system's %d", len(p), at, size)
	}
	if err := blockmap.ReadImage(ctx, d.r, p, at); err != nil || len(d.replayed) == 0 {
		return err
	}
	end := at + uint64(len(p))
	for n := at / d.block; n*d.block < end; n++ {
		from, ok := d.replayed[n]
		if !ok {
			continue
		}
		lo, hi := max(n*d.block, at), min((n+1)*d.block, end)
		part, skip := p[lo-at:hi-at], lo-n*d.block
		if err := blockmap.ReadImage(ctx, d.r, part, from.at*d.block+skip); err != nil {
			return err
		}
		if from.escaped {
			for i := skip; i < 4 && i-skip < uint64(len(part)); i++ {
				part[i-skip] = byte(uint32(journalMagic) >> (24 - 8*i))
			}
		}
	}
	return nil
}
