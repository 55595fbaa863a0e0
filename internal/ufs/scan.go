package ufs

import (
	"context"

	"varve/internal/dump"
	"varve/internal/inodetable"
)

// Scan visits the inodes in use: see dump.Source. It holds one piece of a group's
// inodes and one map, whatever the size of the file system.
func (f *FS) Scan(ctx context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	var i dump.Inode
	per := f.super.inodes
	s := &inodetable.Scan{
		Per: per, Size: f.super.inodeSize(), Used: make([]byte, (per+7)/8), Want: want, Read: f.readAt,
		Visit: func(ino uint32, raw []byte) error { return f.visit(ino, inode{f.super, raw}, &i, fn) },
	}
	for group := range f.super.groups {
		first := group * per
		if !s.Wants(first) {
			continue
		}
		inited, err := f.used(ctx, group, s.Used)
		if err != nil {
			return err
		}
		if group == 0 {
			s.Used[0] &^= 3 // inodes 0 and 1 are none
		}
		if at := s.UsedFrom(inited); at < per {
			return corrupt("inode %d is in use, but group %d has initialised %d inodes", first+at, group, inited)
		}
		if err := s.Group(ctx, first, f.super.table(group)); err != nil {
			return err
		}
	}
	return nil
}

// visit hands over an inode in use, decoded into i, unless it has no link left.
func (f *FS) visit(ino uint32, r inode, i *dump.Inode, fn func(*dump.Inode) error) error {
	if r.mode() == 0 {
		return nil // allocated, but not yet made; or a map that is not to be trusted
	}
	if err := f.check(ino, r); err != nil {
		return err
	}
	if r.links() == 0 && ino != rootIno || r.mode()&dump.ModeType == modeWhiteout {
		return nil
	}
	if err := f.decode(ino, r, i); err != nil {
		return err
	}
	return fn(i)
}
