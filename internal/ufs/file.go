package ufs

import (
	"bytes"
	"context"

	"varve/internal/dump"
)

// Open implements dump.Source. A snapshot reads as an empty file.
func (f *FS) Open(ctx context.Context, i *dump.Inode) (dump.File, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil {
		return nil, err
	}
	return f.mapOf(i.Ino, r), nil
}

// Target implements dump.Source. A short target lies where the pointers would be.
func (f *FS) Target(ctx context.Context, i *dump.Inode) (string, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil {
		return "", err
	}
	size := r.size()
	if size == 0 || size > 4095 {
		return "", corrupt("inode %d is a symbolic link to a target of %d bytes", i.Ino, size)
	}
	target := make([]byte, size)
	short := int64(size) < f.super.shortLink || f.super.shortLink == 0 && r.blocks() == 0
	switch {
	case short && size > f.super.mapSize():
		return "", corrupt("inode %d is a symbolic link of %d bytes without a block", i.Ino, size)
	case short:
		copy(target, r.pointers())
	default:
		if err := f.mapOf(i.Ino, r).Read(ctx, target, 0); err != nil {
			return "", err
		}
	}
	if at := bytes.IndexByte(target, 0); at >= 0 {
		return "", corrupt("inode %d is a symbolic link of %d bytes with a NUL at %d", i.Ino, size, at)
	}
	return string(target), nil
}
