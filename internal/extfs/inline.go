package extfs

import (
	"context"

	"varve/internal/dump"
)

// inlineMap is how many bytes of inline data lie where the block map would be. The
// rest is the value of the xattr system.data inside the inode.
const inlineMap = 60

// inlineData returns the room for data in the inode, which is at least inlineMap
// bytes.
func (f *FS) inlineData(ctx context.Context, ino uint32, r rawInode) ([]byte, error) {
	if f.super.incompat&incompatInlineData == 0 {
		return nil, corrupt("inode %d has its data inside, in a file system without the feature inline_data", ino)
	}
	data := append(make([]byte, 0, len(r)), r.blockMap()...)
	x := &xattrReader{fs: f, ino: ino, raw: r, rest: -1}
	err := x.body(ctx, func(e xattrEntry, value []byte) error {
		if e.index == indexSystem && e.name == "data" {
			data = append(data[:inlineMap], value...)
		}
		return nil
	})
	return data, err
}

// inlineFile is the contents of a file inside its inode. What is beyond them, up to
// the size, is a hole: mke2fs -d makes such files of those that are all hole.
type inlineFile struct {
	data []byte
	size uint64
}

// Next implements dump.File.
func (f inlineFile) Next(_ context.Context, off uint64) (from, to uint64, err error) {
	if off >= uint64(len(f.data)) {
		return f.size, f.size, nil
	}
	return off &^ 511, uint64(len(f.data)), nil
}

// Read implements dump.File.
func (f inlineFile) Read(_ context.Context, p []byte, off uint64) error {
	n := 0
	if off < uint64(len(f.data)) {
		n = copy(p, f.data[off:])
	}
	clear(p[n:])
	return nil
}

// Open implements dump.Source.
func (f *FS) Open(ctx context.Context, i *dump.Inode) (dump.File, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil {
		return nil, err
	}
	if err := readableFile(i.Ino, r); err != nil {
		return nil, err
	}
	size := f.sizeOf(r)
	if r.flags()&flagInlineData == 0 {
		return f.mapOf(i.Ino, append(rawInode(nil), r...), size), nil
	}
	data, err := f.inlineData(ctx, i.Ino, r)
	if err != nil {
		return nil, err
	}
	return inlineFile{data[:min(size, uint64(len(data)))], size}, nil
}

// Target implements dump.Source. A target of less than 60 bytes lies where the block
// map would be, longer ones in a block or inline as a file's data.
func (f *FS) Target(ctx context.Context, i *dump.Inode) (string, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil {
		return "", err
	}
	if err := readableFile(i.Ino, r); err != nil {
		return "", err
	}
	size := f.sizeOf(r)
	if size == 0 || size > 4095 {
		return "", corrupt("inode %d is a symbolic link to a target of %d bytes", i.Ino, size)
	}
	target := make([]byte, size)
	if size < inlineMap && r.flags()&(flagExtents|flagInlineData) == 0 {
		copy(target, r.blockMap())
	} else {
		contents, err := f.Open(ctx, i)
		if err != nil {
			return "", err
		}
		if err := contents.Read(ctx, target, 0); err != nil {
			return "", err
		}
	}
	for at, c := range target {
		if c == 0 {
			return "", corrupt("inode %d is a symbolic link of %d bytes with a NUL at %d", i.Ino, size, at)
		}
	}
	return string(target), nil
}
