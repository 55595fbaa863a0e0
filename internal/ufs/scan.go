package ufs

import (
	"context"

	"varve/internal/dump"
)

const (
	scanPiece = 1 << 20  // bytes of inodes read at once
	scanGap   = 32 << 10 // bytes of them that are read though nobody wants them, to save a seek
)

// Scan visits the inodes in use: see dump.Source. It holds one piece of a group's
// inodes and one map, whatever the size of the file system.
func (f *FS) Scan(ctx context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	s := &scan{fs: f, want: want, fn: fn, used: make([]byte, (f.super.inodes+7)/8)}
	for group := range f.super.groups {
		if err := s.group(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// scan is the state of one Scan.
type scan struct {
	fs    *FS
	want  *dump.Map
	fn    func(*dump.Inode) error
	used  []byte // of the group at hand: in use and wanted
	table []byte
	inode dump.Inode
}

// group visits the inodes of one group, in runs that lie close together.
func (s *scan) group(ctx context.Context, group uint64) error {
	per, size := s.fs.super.inodes, s.fs.super.inodeSize()
	first := group * per
	if s.want != nil {
		next := s.want.Next(uint32(max(first, 1)))
		if next == 0 || uint64(next)-first >= per {
			return nil
		}
	}
	inited, err := s.fs.used(ctx, group, s.used)
	if err != nil {
		return err
	}
	if group == 0 {
		s.used[0] &^= 3 // inodes 0 and 1 are none
	}
	if at := s.next(first, inited, per, true); at < per {
		return corrupt("inode %d is in use, but group %d has initialised %d inodes", first+at, group, inited)
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
		if err := s.run(ctx, group, at, end); err != nil {
			return err
		}
		at = s.next(first, end, per, false)
	}
	return nil
}

// next returns the first index from at on whose inode is in use and wanted (or only
// in use), or per.
func (s *scan) next(first, at, per uint64, all bool) uint64 {
	for at < per {
		if s.used[at/8] == 0 {
			at = (at/8 + 1) * 8
			continue
		}
		if s.used[at/8]>>(at%8)&1 != 0 && (all || s.want == nil || s.want.Has(uint32(first+at))) {
			return at
		}
		at++
	}
	return per
}

// run reads the inodes from index lo to hi of a group at once and visits them.
func (s *scan) run(ctx context.Context, group, lo, hi uint64) error {
	size, first := s.fs.super.inodeSize(), group*s.fs.super.inodes
	if need := (hi - lo) * size; uint64(cap(s.table)) < need {
		s.table = make([]byte, max(need, min(scanPiece, s.fs.super.inodes*size)))
	}
	table := s.table[:(hi-lo)*size]
	if err := s.fs.readAt(ctx, table, s.fs.super.table(group)+lo*size); err != nil {
		return err
	}
	for at := s.next(first, lo, hi, false); at < hi; at = s.next(first, at+1, hi, false) {
		if err := s.visit(uint32(first+at), inode{s.fs.super, table[(at-lo)*size:][:size:size]}); err != nil {
			return err
		}
	}
	return nil
}

// visit hands over an inode in use, unless it has no link left.
func (s *scan) visit(ino uint32, r inode) error {
	if r.mode() == 0 {
		return nil // allocated, but not yet made; or a map that is not to be trusted
	}
	if err := s.fs.check(ino, r); err != nil {
		return err
	}
	if r.links() == 0 && ino != rootIno || r.mode()&dump.ModeType == modeWhiteout {
		return nil
	}
	if err := s.fs.decode(ino, r, &s.inode); err != nil {
		return err
	}
	return s.fn(&s.inode)
}
