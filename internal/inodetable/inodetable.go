// Package inodetable reads the inode tables of foreign file systems: those of the
// inodes that are in use and wanted, in pieces that lie close together.
package inodetable

import (
	"context"

	"varve/internal/dump"
)

const (
	piece = 1 << 20  // bytes of a table read at once
	gap   = 32 << 10 // bytes of it that are read though nobody wants them, to save a seek
)

// Scan goes through the tables of a file system, group by group. It holds one piece of
// a table. Not for concurrent use.
type Scan struct {
	Per  uint64 // inodes of a group
	Size uint64 // bytes of an inode

	// Used has a bit for each inode of the group at hand: the least significant bit of a
	// byte first. Who scans fills it for each group.
	Used []byte

	Want *dump.Map // the inodes that are wanted; nil: all

	// Read fills p from a byte of the file system.
	Read func(ctx context.Context, p []byte, at uint64) error
	// Visit gets an inode as it lies on the disk, which is valid until it returns.
	Visit func(ino uint32, raw []byte) error

	table []byte
}

// Wants reports whether anybody wants an inode of the group that begins with inode
// number first.
func (s *Scan) Wants(first uint64) bool {
	if s.Want == nil {
		return true
	}
	next := uint64(s.Want.Next(uint32(first)))
	return next != 0 && next-first < s.Per
}

// UsedFrom returns the first index from at on in the group at hand whose inode is in
// use, wanted or not, or Per.
func (s *Scan) UsedFrom(at uint64) uint64 { return s.next(0, at, s.Per, true) }

// Group visits the inodes of the group at hand, which begins with inode number first,
// and whose table begins at a byte of the file system. An error of Visit is returned as
// it is.
func (s *Scan) Group(ctx context.Context, first, table uint64) error {
	for at := s.next(first, 0, s.Per, false); at < s.Per; {
		end := at + 1 // of the run
		for {
			next := s.next(first, end, s.Per, false)
			if next >= s.Per || (next-end)*s.Size > gap || (next-at)*s.Size >= piece {
				break
			}
			end = next + 1
		}
		if err := s.run(ctx, first, table, at, end); err != nil {
			return err
		}
		at = s.next(first, end, s.Per, false)
	}
	return nil
}

// next returns the first index from at on whose inode is in use and wanted (or only
// in use), or end.
func (s *Scan) next(first, at, end uint64, all bool) uint64 {
	for at < end {
		if s.Used[at/8] == 0 {
			at = (at/8 + 1) * 8
			continue
		}
		if s.Used[at/8]>>(at%8)&1 != 0 && (all || s.Want == nil || s.Want.Has(uint32(first+at))) {
			return at
		}
		at++
	}
	return end
}

// run reads the inodes from index lo to hi at once and visits them.
func (s *Scan) run(ctx context.Context, first, table, lo, hi uint64) error {
	need := (hi - lo) * s.Size
	if uint64(cap(s.table)) < need {
		s.table = make([]byte, max(need, min(piece, s.Per*s.Size)))
	}
	p := s.table[:need]
	if err := s.Read(ctx, p, table+lo*s.Size); err != nil {
		return err
	}
	for at := s.next(first, lo, hi, false); at < hi; at = s.next(first, at+1, hi, false) {
		if err := s.Visit(uint32(first+at), p[(at-lo)*s.Size:][:s.Size:s.Size]); err != nil {
			return err
		}
	}
	return nil
}
