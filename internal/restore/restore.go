// Package restore reads dump(8) archives and makes trees of them: those of
// package dump, of Linux (plain, zlib, bzip2) and of FreeBSD, in both byte orders.
//
//	stream    volumes -> bytes: blocks, decompression, a window that can be searched
//	Archive   bytes -> maps, directories, objects with data and xattrs; what was lost
//	names     the directories of an archive, compactly; the chain's table on disk
//	Target    where a tree is made: Dir (a directory of this machine), a share
//	Restorer  -x, -r, -C, -t
//
// An archive is hostile until proven otherwise. Names are checked, and looked up one
// component at a time from an open directory, through no symbolic link. Memory is
// bounded by what was really read, not by what a header claims. Data is delivered only
// once the header that must follow it was found where it must be, so that bytes which
// went missing are noticed before they are taken for data. What is damaged is
// reported: the inode, its names, the range.
package restore

import (
	"fmt"

	"varve/internal/dump"
)

// Damage is a part of an archive that could not be read.
type Damage struct {
	Volume string `json:"volume"`
	Offset int64  `json:"offset" doc:"Bytes from the beginning of the volume, after decompression"`
	What   string `json:"what"`
	Ino    uint32 `json:"ino,omitempty" doc:"The inode that was being read"`
}

func (d Damage) String() string { return fmt.Sprintf("%s at byte %d: %s", d.Volume, d.Offset, d.What) }

// Range is a part of a file: bytes [From, To).
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Object is what an archive tells of an inode, but for its data and its extended
// attributes.
type Object struct {
	dump.Header
	Type uint32 // of dump.ModeType
}

// permissions are the bits of a mode that are no type.
const permissions = 0o7777
