package dump

import (
	"varve/internal/fail"
)

// Profile is a way of writing archives (docs/dump.md).
type Profile uint8

// The profiles.
const (
	Portable Profile = iota // read right by the restores of Linux and of FreeBSD
	Linux                   // as Debian's dump writes it: with ACLs, only for its restore
)

// ProfileNamed returns the profile with that name.
func ProfileNamed(name string) (Profile, error) {
	switch name {
	case "portable":
		return Portable, nil
	case "linux":
		return Linux, nil
	}
	return 0, fail.New(fail.Invalid, "no format is called %.40q", name).WithHint("there are portable and linux")
}

func (p Profile) magic() uint32 {
	if p == Linux {
		return MagicNew
	}
	return MagicUFS2
}

// Limits of options.
const (
	MaxLevel     = 9
	MaxLabel     = 15   // bytes
	MaxBlocking  = 1024 // records of a block
	DefaultBlock = 10
)

// Options say how an archive is written.
type Options struct {
	Profile     Profile
	Level       int
	Date, DDate int64  // seconds since 1970: of this dump, and of its base verbatim, or 0
	Label       string // at most MaxLabel bytes
	Blocking    int    // records of a block, 1 to MaxBlocking
	Filesys     string // what was dumped; at most 63 bytes of each are written
	Dev, Host   string
}

// Check reports, as Invalid, what an archive cannot be.
func (o *Options) Check() error {
	switch {
	case o.Level < 0 || o.Level > MaxLevel:
		return fail.New(fail.Invalid, "there is no level %d", o.Level).WithHint("levels go from 0 to 9")
	case len(o.Label) > MaxLabel:
		return fail.New(fail.Invalid, "the label %.40q is too long", o.Label).WithHint("a label has at most %d bytes", MaxLabel)
	case o.Blocking < 1 || o.Blocking > MaxBlocking:
		return fail.New(fail.Invalid, "a block of %d records cannot be", o.Blocking).WithHint("-b takes 1 to %d", MaxBlocking)
	}
	return nil
}

// header is what all headers of the archive have in common.
func (o *Options) header() Header {
	h := Header{
		Magic: o.Profile.magic(), Date: o.Date, DDate: o.DDate, Volume: 1, Level: int32(o.Level),
		Label: o.Label, Filesys: o.Filesys, Dev: o.Dev, Host: o.Host, Flags: FlagNewInode,
	}
	if o.Label == "" {
		h.Label = "none"
	}
	if o.Profile == Linux {
		h.NTRec = int32(o.Blocking)
	}
	return h
}

// Plan is what goes into an archive: the result of the first two passes.
type Plan struct {
	Used   *Map // the inodes in use
	Dumped *Map // those in the archive
	Dirs   *Map // the directories among Dumped

	// Records is how many records the archive has up to the padding at its end: of
	// 1024 bytes. Exact tells that it is no estimate.
	Records uint64
	Exact   bool
}

// Bytes returns the length of the archive that o makes of p, padding and all.
func (p *Plan) Bytes(o *Options) uint64 {
	return (p.Records/uint64(o.Blocking) + 1) * uint64(o.Blocking) * RecordSize
}
