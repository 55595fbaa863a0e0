package dump

import (
	"bytes"
	"encoding/binary"

	"varve/internal/fail"
)

// RecordSize is the unit of an archive, in bytes.
const RecordSize = 1024

// Type is what a header announces.
type Type int32

// The types of headers.
const (
	TypeTape  Type = 1 // the beginning of a volume
	TypeInode Type = 2 // a file or directory, with data
	TypeBits  Type = 3 // the map of the inodes that are in the archive
	TypeAddr  Type = 4 // more data of the last TypeInode
	TypeEnd   Type = 5 // nothing more
	TypeClri  Type = 6 // the map of the inodes that are in use
)

// The magics of headers.
const (
	MagicOld  = 60011      // 4.2BSD; nobody writes it
	MagicNew  = 60012      // Linux, and FreeBSD of UFS1
	MagicUFS2 = 0x19540119 // FreeBSD of UFS2; 64-bit times
)

// Bits of Header.Flags.
const (
	FlagNewHeader  = 1
	FlagNewInode   = 2
	FlagCompressed = 0x80   // Linux: blocks after the first have a prefix
	FlagMetaOnly   = 0x100  // Linux: no data
	FlagXattrs     = 0x8000 // Linux: the data are extended attributes
)

// checksum is what the words of a header sum up to.
const checksum = 84446

// maxAddr is how many entries Header.Addr has; only maps may have a larger Count.
const maxAddr = 512

// XattrsExt is Header.Xattr of Linux where the data of a header with FlagXattrs are
// what ext2, ext3 and ext4 have.
const XattrsExt = 3

/*
Header is the record that begins everything in an archive. Bytes of a record;
L: Linux, F: FreeBSD, V: varve, where they differ.

	   0 type i32, date, ddate i32, volume i32, tapea u32, inumber u32
	  24 magic u32, checksum u32
	  32 mode u16, L: nlink u16, old uid u16, old gid u16
	  40 size u64
	  48 atime s i32, us (F: ns), 56 mtime s, us, 64 L: ctime s, us
	  72 rdev u32
	  76 F: birth ns i32, birth s i64, 88 atime s i64, 96 mtime s i64, 104 extsize u32
	 132 flags u32, 144 uid u32, 148 gid u32
	 160 count i32, 164 addr [512]u8
	 676 label [16], 692 level i32, 696 filesys [64], 760 dev [64], 824 host [64]
	 888 flags i32, 892 firstrec i32
	 896 L: ntrec i32, 900 extattributes i32
	 896 F: date i64, 904 ddate i64, 912 tapea i64, 920 firstrec i64
	 928 V: "varv", 932 nlink u32, 936 flags u32, 940 major u32, 944 minor u32,
	     948 ns u32 of atime, mtime, ctime, birth
	     964 unused, 968 s i64 of atime, mtime, ctime, birth
	1000 unused, up to 1024

What V names lies in bytes that Linux and FreeBSD leave 0 and do not look at: so
what the format cannot express costs no record, and no other restore shows it. Exact
tells whether it is there.
*/
type Header struct {
	Type        Type
	Magic       uint32
	Date, DDate int64 // of this dump and of its base, in seconds since 1970
	Volume      int32
	TapeA       int64 // the number of this record in the archive
	FirstRec    int64
	Ino         uint32

	Mode         uint16
	Nlink        uint32 // 0 if the archive does not tell
	UID, GID     uint32
	Size         uint64
	Atime, Mtime Time
	Ctime, Birth Time   // zero if the archive does not tell
	Rdev         uint32 // as Linux encodes 32 bits
	ExtSize      uint32 // FreeBSD: bytes of extended attributes after the data
	FileFlags    uint32 // of the file system that was dumped, with its meaning

	Count int32
	Addr  [maxAddr]byte // 1: a record of data follows; 0: a hole

	Label, Filesys, Dev, Host string
	Level                     int32
	Flags                     int32
	NTRec                     int32 // Linux: records of a block
	Xattr                     int32 // Linux: what the data of FlagXattrs are

	// Exact: the fields that only varve writes are there. Times then have all
	// nanoseconds, and Major, Minor and Special hold.
	Exact        bool
	Major, Minor uint32
	Special      Flags
}

// varveMagic marks the fields that only varve writes: "varv".
const varveMagic = 0x76726176

// MetaOnly reports whether h is of a file whose data are in an earlier level.
func (h *Header) MetaOnly() bool { return h.Flags&FlagMetaOnly != 0 && h.Magic != MagicUFS2 }

// Encode writes h into b, a record, whose checksum it makes. The times of 32 bits
// are written with every magic; microseconds in the fields that FreeBSD takes for
// nanoseconds, so that both restores can read them.
func (h *Header) Encode(b []byte, o binary.ByteOrder) {
	b = b[:RecordSize]
	clear(b)
	u32 := func(at int, v uint32) { o.PutUint32(b[at:], v) }
	u64 := func(at int, v uint64) { o.PutUint64(b[at:], v) }
	for i, v := range [...]uint32{uint32(h.Type), uint32(h.Date), uint32(h.DDate), uint32(h.Volume), uint32(h.TapeA), h.Ino, h.Magic} {
		u32(4*i, v)
	}
	o.PutUint16(b[32:], h.Mode)
	o.PutUint16(b[34:], uint16(min(h.Nlink, 0xffff)))
	o.PutUint16(b[36:], uint16(h.UID))
	o.PutUint16(b[38:], uint16(h.GID))
	u64(40, h.Size)
	for i, t := range [...]Time{h.Atime, h.Mtime, h.Ctime} {
		u32(48+8*i, uint32(clampSeconds(t.Sec)))
		u32(52+8*i, t.Nsec/1000)
	}
	u32(72, h.Rdev)
	for i, v := range [...]uint32{h.FileFlags, 0, 0, h.UID, h.GID} {
		u32(132+4*i, v)
	}
	u32(160, uint32(h.Count))
	copy(b[164:676], h.Addr[:])
	copy(b[676:691], h.Label)
	u32(692, uint32(h.Level))
	copy(b[696:759], h.Filesys)
	copy(b[760:823], h.Dev)
	copy(b[824:887], h.Host)
	u32(888, uint32(h.Flags))
	u32(892, uint32(h.FirstRec))
	if h.Magic == MagicUFS2 {
		u32(76, h.Birth.Nsec/1000)
		for i, v := range [...]int64{h.Birth.Sec, h.Atime.Sec, h.Mtime.Sec} {
			u64(80+8*i, uint64(v))
		}
		u32(104, h.ExtSize)
		for i, v := range [...]int64{h.Date, h.DDate, h.TapeA, h.FirstRec} {
			u64(896+8*i, uint64(v))
		}
	} else {
		u32(896, uint32(h.NTRec))
		u32(900, uint32(h.Xattr))
	}
	if h.Exact {
		h.encodeExact(b, o)
	}
	u32(28, 0)
	u32(28, checksum-sum(b, o))
}

func (h *Header) encodeExact(b []byte, o binary.ByteOrder) {
	for i, v := range [...]uint32{varveMagic, h.Nlink, uint32(h.Special), h.Major, h.Minor} {
		o.PutUint32(b[928+4*i:], v)
	}
	for i, t := range [...]Time{h.Atime, h.Mtime, h.Ctime, h.Birth} {
		o.PutUint32(b[948+4*i:], t.Nsec)
		o.PutUint64(b[968+8*i:], uint64(t.Sec))
	}
}

// clampSeconds bounds a time to what 32 bits hold.
func clampSeconds(s int64) int32 { return int32(max(-1<<31, min(1<<31-1, s))) }

func sum(b []byte, o binary.ByteOrder) uint32 {
	var s uint32
	if o == binary.ByteOrder(binary.LittleEndian) {
		for i := 0; i < RecordSize; i += 4 {
			s += binary.LittleEndian.Uint32(b[i:])
		}
		return s
	}
	for i := 0; i < RecordSize; i += 4 {
		s += o.Uint32(b[i:])
	}
	return s
}

// IsHeader reports whether record b is a header whose checksum holds, and in which
// byte order.
func IsHeader(b []byte) (binary.ByteOrder, bool) {
	if len(b) < RecordSize {
		return nil, false
	}
	for _, o := range [...]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch o.Uint32(b[24:]) {
		case MagicOld, MagicNew, MagicUFS2:
			if sum(b, o) == checksum {
				return o, true
			}
		}
	}
	return nil, false
}

// Decode reads a header from record b. Corrupt if it is none: no known magic, a
// wrong checksum, an unknown type, a count or a size that cannot be.
func (h *Header) Decode(b []byte) (binary.ByteOrder, error) {
	o, ok := IsHeader(b)
	if !ok {
		return nil, fail.New(fail.Corrupt, "a record is no header: its magic or checksum is wrong")
	}
	b = b[:RecordSize]
	u32 := func(at int) uint32 { return o.Uint32(b[at:]) }
	i64 := func(at int) int64 { return int64(o.Uint64(b[at:])) }
	*h = Header{
		Type: Type(u32(0)), Date: int64(int32(u32(4))), DDate: int64(int32(u32(8))), Volume: int32(u32(12)),
		TapeA: int64(u32(16)), Ino: u32(20), Magic: u32(24), FirstRec: int64(int32(u32(892))),
		Mode: o.Uint16(b[32:]), Nlink: uint32(o.Uint16(b[34:])), UID: u32(144), GID: u32(148), Size: o.Uint64(b[40:]),
		Rdev: u32(72), FileFlags: u32(132), Count: int32(u32(160)), Level: int32(u32(692)), Flags: int32(u32(888)),
		Label: text(b[676:692]), Filesys: text(b[696:760]), Dev: text(b[760:824]), Host: text(b[824:888]),
	}
	copy(h.Addr[:], b[164:676])
	for i, t := range [...]*Time{&h.Atime, &h.Mtime, &h.Ctime} {
		*t = Time{Sec: int64(int32(u32(48 + 8*i))), Nsec: micros(u32(52 + 8*i))}
	}
	if h.Magic == MagicUFS2 {
		h.decodeUFS2(u32, i64)
	} else {
		h.NTRec, h.Xattr = int32(u32(896)), int32(u32(900))
	}
	if u32(928) == varveMagic {
		h.decodeExact(u32, i64)
	}
	return o, h.plausible()
}

func (h *Header) decodeUFS2(u32 func(int) uint32, i64 func(int) int64) {
	h.Birth = Time{i64(80), u32(76) % 1e9}
	h.Atime = Time{i64(88), u32(52) % 1e9}
	h.Mtime = Time{i64(96), u32(60) % 1e9}
	h.ExtSize = u32(104)
	h.Date, h.DDate, h.TapeA, h.FirstRec = i64(896), i64(904), i64(912), i64(920)
}

func (h *Header) decodeExact(u32 func(int) uint32, i64 func(int) int64) {
	h.Exact = true
	h.Nlink, h.Special, h.Major, h.Minor = u32(932), Flags(u32(936)), u32(940), u32(944)
	for i, t := range [...]*Time{&h.Atime, &h.Mtime, &h.Ctime, &h.Birth} {
		*t = Time{i64(968 + 8*i), u32(948+4*i) % 1e9}
	}
}

func (h *Header) plausible() error {
	switch {
	case h.Type < TypeTape || h.Type > TypeClri:
		return fail.New(fail.Corrupt, "a header has the unknown type %d", h.Type)
	case h.Count < 0, h.Count > maxAddr && h.Type != TypeBits && h.Type != TypeClri, h.Count > 1<<31/8/RecordSize:
		return fail.New(fail.Corrupt, "a header of type %d has the count %d", h.Type, h.Count)
	case h.Count > 0 && h.hasRuns() && h.endOfRuns() != int(h.Count):
		return fail.New(fail.Corrupt, "the addresses of inode %d end within a run", h.Ino)
	case h.Size > 1<<63-1, h.ExtSize > 1<<31-1:
		return fail.New(fail.Corrupt, "inode %d has size %d and %d bytes of extended attributes", h.Ino, h.Size, h.ExtSize)
	}
	return nil
}

// micros turns the microseconds of Linux into nanoseconds. What cannot be those are
// the nanoseconds of FreeBSD, whose archives of UFS1 have the same magic.
func micros(sub uint32) uint32 {
	if sub < 1e6 {
		return sub * 1000
	}
	return sub % 1e9
}

func text(b []byte) string {
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}

// Rdev encodes a device number as Linux does in 32 bits; false if it needs more.
func Rdev(major, minor uint32) (uint32, bool) {
	return minor&0xff | major&0xfff<<8 | minor&0xfff00<<12, major < 1<<12 && minor < 1<<20
}

// SplitRdev is the inverse of Rdev.
func SplitRdev(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
