package extfs

import (
	"context"

	"varve/internal/dump"
)

const (
	scanPiece = 1 << 20  // bytes of an inode table read at once
	scanGap   = 32 << 10 // bytes of it that are read though nobody wants them, to save a seek
)

// Scan visits the inodes in use: see dump.Source. It holds one piece of an inode
// table and one bitmap, whatever the size of the file system.
func (f *FS) Scan(ctx context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	s := &scan{fs: f, want: want, fn: fn, bitmap: make([]byte, f.super.blockSize)}
	for n := range f.groups {
		if f.groups[n].used == 0 || !s.wanted(n) {
			continue
		}
		if err := s.group(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// scan is the state of one Scan.
type scan struct {
	fs     *FS
	want   *dump.Map
	fn     func(*dump.Inode) error
	bitmap []byte
	table  []byte
	inode  dump.Inode
}

// wanted reports whether anybody wants an inode of group n.
func (s *scan) wanted(n int) bool {
	if s.want == nil {
		return true
	}
	per := s.fs.super.inodesPerGroup
	first := uint32(n)*per + 1
	next := s.want.Next(first)
	return next != 0 && next-first < per
}

// group visits the inodes of one group, in runs that lie close together.
func (s *scan) group(ctx context.Context, n int) error {
	if err := s.fs.inodeBitmap(ctx, n, s.bitmap); err != nil {
		return err
	}
	per, size := s.fs.super.inodesPerGroup, s.fs.super.inodeSize
	first := uint32(n)*per + 1
	if at := s.next(first, s.fs.groups[n].used, per, true); at < per {
		return corrupt("inode %d is in use, but group %d has inodes in use only up to %d", first+at, n, first+s.fs.groups[n].used-1)
	}
	for at := s.next(first, 0, per, false); at < per; {
		end := at + 1 // of the run
		for {
			next := s.next(first, end, per, false)
			if next >= per || (next-end)*size > scanGap || (next-at)*size >= scanPiece {
				break
			}
			end = next + 1
		}
		if err := s.run(ctx, n, at, end); err != nil {
			return err
		}
		at = s.next(first, end, per, false)
	}
	return nil
}

// next returns the first index from at on whose inode is in use and wanted (or only
// in use), or per.
func (s *scan) next(first, at, per uint32, all bool) uint32 {
	for at < per {
		if s.bitmap[at/8] == 0 {
			at = (at/8 + 1) * 8
			continue
		}
		if s.bitmap[at/8]>>(at%8)&1 != 0 && (all || s.want == nil || s.want.Has(first+at)) {
			return at
		}
		at++
	}
	return per
}

// run reads the inodes from index lo to hi of a group at once and visits them.
func (s *scan) run(ctx context.Context, n int, lo, hi uint32) error {
	f := s.fs
	size := uint64(f.super.inodeSize)
	if need := uint64(hi-lo) * size; uint64(cap(s.table)) < need {
		s.table = make([]byte, need, max(need, min(scanPiece, uint64(f.super.inodesPerGroup)*size)))
	}
	table := s.table[:uint64(hi-lo)*size]
	offset := uint64(lo) * size
	if err := f.disk.readAt(ctx, table, f.groups[n].table*f.disk.block+offset); err != nil {
		return err
	}
	first := uint32(n)*f.super.inodesPerGroup + 1
	for at := s.next(first, lo, hi, false); at < hi; at = s.next(first, at+1, hi, false) {
		if err := s.visit(first+at, table[uint64(at-lo)*size:][:size:size]); err != nil {
			return err
		}
	}
	return nil
}

// visit hands over an inode in use, unless it has no name. An orphan, an inode that
// was deleted while open, has no link left.
func (s *scan) visit(ino uint32, r rawInode) error {
	if s.fs.super.reserved(ino) {
		return nil
	}
	if err := s.fs.checkInode(ino, r); err != nil {
		return err
	}
	if (r.links() == 0 && ino != rootIno) || r.flags()&flagEAInode != 0 {
		return nil
	}
	if err := s.fs.decode(ino, r, &s.inode); err != nil {
		return err
	}
	return s.fn(&s.inode)
}
