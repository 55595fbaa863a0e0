package nfsclient

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is nfsstat3 (RFC 1813, 2.6). MOUNT's statuses have the same numbers.
type Status uint32

// The statuses.
const (
	OK             Status = 0
	ErrPerm        Status = 1
	ErrNoent       Status = 2
	ErrIO          Status = 5
	ErrNxio        Status = 6
	ErrAcces       Status = 13
	ErrExist       Status = 17
	ErrXdev        Status = 18
	ErrNodev       Status = 19
	ErrNotdir      Status = 20
	ErrIsdir       Status = 21
	ErrInval       Status = 22
	ErrFbig        Status = 27
	ErrNospc       Status = 28
	ErrRofs        Status = 30
	ErrMlink       Status = 31
	ErrNametoolong Status = 63
	ErrNotempty    Status = 66
	ErrDquot       Status = 69
	ErrStale       Status = 70
	ErrRemote      Status = 71
	ErrBadhandle   Status = 10001
	ErrNotSync     Status = 10002
	ErrBadCookie   Status = 10003
	ErrNotsupp     Status = 10004
	ErrToosmall    Status = 10005
	ErrServerfault Status = 10006
	ErrBadtype     Status = 10007
	ErrJukebox     Status = 10008
)

var statusNames = map[Status]string{
	OK: "OK", ErrPerm: "PERM", ErrNoent: "NOENT", ErrIO: "IO", ErrNxio: "NXIO", ErrAcces: "ACCES", ErrExist: "EXIST",
	ErrXdev: "XDEV", ErrNodev: "NODEV", ErrNotdir: "NOTDIR", ErrIsdir: "ISDIR", ErrInval: "INVAL", ErrFbig: "FBIG",
	ErrNospc: "NOSPC", ErrRofs: "ROFS", ErrMlink: "MLINK", ErrNametoolong: "NAMETOOLONG", ErrNotempty: "NOTEMPTY",
	ErrDquot: "DQUOT", ErrStale: "STALE", ErrRemote: "REMOTE", ErrBadhandle: "BADHANDLE", ErrNotSync: "NOT_SYNC",
	ErrBadCookie: "BAD_COOKIE", ErrNotsupp: "NOTSUPP", ErrToosmall: "TOOSMALL", ErrServerfault: "SERVERFAULT",
	ErrBadtype: "BADTYPE", ErrJukebox: "JUKEBOX",
}

func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return fmt.Sprintf("status %d", uint32(s))
}

// Outcome is how a call ended. It is part of every result.
type Outcome struct {
	Err    error  // there is no result: the connection ended, a *Refusal, or ErrProtocol
	Status Status // where Err is nil
	Order  uint64 // the reply's place among those of its connection, from 1
}

// Want returns an error unless the call ended with one of the statuses.
func (o Outcome) Want(statuses ...Status) error {
	if o.Err != nil {
		return o.Err
	}
	if slices.Contains(statuses, o.Status) {
		return nil
	}
	var names []string
	for _, s := range statuses {
		names = append(names, s.String())
	}
	return fmt.Errorf("status %v, want %s", o.Status, strings.Join(names, " or "))
}

// FH is a file handle, as opaque to the client as it should be.
type FH string

// The limits of NFS (RFC 1813, 2.4).
const (
	MaxFH   = 64
	maxName = 255
	maxPath = 4096 // of a symlink; the RFC has no limit
)

// Type is ftype3.
type Type uint32

// The types of objects.
const (
	Reg  Type = 1
	Dir  Type = 2
	Blk  Type = 3
	Chr  Type = 4
	Lnk  Type = 5
	Sock Type = 6
	Fifo Type = 7
)

// Time is nfstime3.
type Time struct{ Sec, Nsec uint32 }

// Std is the time as Go's.
func (t Time) Std() time.Time { return time.Unix(int64(t.Sec), int64(t.Nsec)) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t.Std().Before(u.Std()) }

// Attr is fattr3.
type Attr struct {
	Type                Type
	Mode                uint32 // permission bits
	Nlink, UID, GID     uint32
	Size, Used          uint64 // bytes
	Major, Minor        uint32 // of a device
	FSID, FileID        uint64
	Atime, Mtime, Ctime Time
}

// WccAttr is wcc_attr: what an object was before an operation.
type WccAttr struct {
	Size         uint64
	Mtime, Ctime Time
}

// Wcc is wcc_data; what the server left out is nil.
type Wcc struct {
	Before *WccAttr
	After  *Attr
}

func (d *decoder) time() Time {
	t := Time{d.u32(), d.u32()}
	if t.Nsec >= 1e9 {
		d.fault("a time with %d nanoseconds", t.Nsec)
	}
	return t
}

func (d *decoder) fh() FH {
	h := d.opaque(MaxFH)
	if d.err == nil && len(h) == 0 {
		d.fault("an empty file handle")
	}
	return FH(h)
}

func (d *decoder) attr() *Attr {
	a := &Attr{Type: Type(d.u32()), Mode: d.u32(), Nlink: d.u32(), UID: d.u32(), GID: d.u32(), Size: d.u64(), Used: d.u64(),
		Major: d.u32(), Minor: d.u32(), FSID: d.u64(), FileID: d.u64(), Atime: d.time(), Mtime: d.time(), Ctime: d.time()}
	switch {
	case d.err != nil:
	case a.Type < Reg || a.Type > Fifo:
		d.fault("file type %d", a.Type)
	case a.Mode > 0o7777:
		d.fault("mode %#o", a.Mode)
	case a.Nlink == 0:
		d.fault("an object without a link")
	case a.FileID == 0:
		d.fault("a file id of 0")
	}
	return a
}

func (d *decoder) postAttr() *Attr {
	if !d.bool() {
		return nil
	}
	return d.attr()
}

func (d *decoder) postFH() FH {
	if !d.bool() {
		return ""
	}
	return d.fh()
}

func (d *decoder) wcc() Wcc {
	var w Wcc
	if d.bool() {
		w.Before = &WccAttr{d.u64(), d.time(), d.time()}
	}
	w.After = d.postAttr()
	return w
}

// name reads the name of an entry.
func (d *decoder) name() string {
	s := d.string(maxName)
	if d.err == nil && (s == "" || strings.ContainsAny(s, "/\x00")) {
		d.fault("an entry called %q", s)
	}
	return s
}

// TimeHow says how a time is set.
type TimeHow uint32

// The ways to set a time.
const (
	Keep       TimeHow = 0
	ServerTime TimeHow = 1
	ClientTime TimeHow = 2
)

// Sattr is sattr3: nil fields stay as they are.
type Sattr struct {
	Mode, UID, GID       *uint32
	Size                 *uint64
	AtimeHow, MtimeHow   TimeHow
	AtimeWant, MtimeWant Time // with ClientTime
}

// Mode begins a set of attributes with permission bits.
func Mode(m uint32) Sattr { return Sattr{Mode: &m} }

// Owner begins a set of attributes with an owner.
func Owner(uid, gid uint32) Sattr { return Sattr{UID: &uid, GID: &gid} }

// Size begins a set of attributes with a size.
func Size(n uint64) Sattr { return Sattr{Size: &n} }

// Mtime begins a set of attributes with a time of change.
func Mtime(t Time) Sattr { return Sattr{MtimeHow: ClientTime, MtimeWant: t} }

// WithOwner adds an owner.
func (s Sattr) WithOwner(uid, gid uint32) Sattr {
	s.UID, s.GID = &uid, &gid
	return s
}

// WithMode adds permission bits.
func (s Sattr) WithMode(m uint32) Sattr {
	s.Mode = &m
	return s
}

func (e *encoder) sattr(s Sattr) {
	for _, v := range []*uint32{s.Mode, s.UID, s.GID} {
		e.bool(v != nil)
		if v != nil {
			e.u32(*v)
		}
	}
	e.bool(s.Size != nil)
	if s.Size != nil {
		e.u64(*s.Size)
	}
	e.setTime(s.AtimeHow, s.AtimeWant)
	e.setTime(s.MtimeHow, s.MtimeWant)
}

func (e *encoder) setTime(how TimeHow, t Time) {
	e.u32(uint32(how))
	if how == ClientTime {
		e.time(t)
	}
}

func (e *encoder) time(t Time) {
	e.u32(t.Sec)
	e.u32(t.Nsec)
}
