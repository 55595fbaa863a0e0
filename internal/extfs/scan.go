package extfs

import (
	"context"

	"varve/internal/dump"
	"varve/internal/inodetable"
)

// Scan visits the inodes in use: see dump.Source. It holds one piece of an inode
// table and one bitmap, whatever the size of the file system.
func (f *FS) Scan(ctx context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	var i dump.Inode
	per := uint64(f.super.inodesPerGroup)
	s := &inodetable.Scan{
		Per: per, Size: uint64(f.super.inodeSize), Used: make([]byte, f.super.blockSize), Want: want, Read: f.disk.readAt,
		Visit: func(ino uint32, raw []byte) error { return f.visit(ino, raw, &i, fn) },
	}
	for n := range f.groups {
		g, first := &f.groups[n], uint64(n)*per+1
		if g.used == 0 || !s.Wants(first) {
			continue
		}
		if err := f.inodeBitmap(ctx, n, s.Used); err != nil {
			return err
		}
		if at := s.UsedFrom(uint64(g.used)); at < per {
			return corrupt("inode %d is in use, but group %d has inodes in use only up to %d", first+at, n, first+uint64(g.used)-1)
		}
		if err := s.Group(ctx, first, g.table*f.disk.block); err != nil {
			return err
		}
	}
	return nil
}

// visit hands over an inode in use, decoded into i, unless it has no name. An orphan, an
// inode that was deleted while open, has no link left.
func (f *FS) visit(ino uint32, r rawInode, i *dump.Inode, fn func(*dump.Inode) error) error {
	if f.super.reserved(ino) {
		return nil
	}
	if err := f.checkInode(ino, r); err != nil {
		return err
	}
	if (r.links() == 0 && ino != rootIno) || r.flags()&flagEAInode != 0 {
		return nil
	}
	if err := f.decode(ino, r, i); err != nil {
		return err
	}
	return fn(i)
}
