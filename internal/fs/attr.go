package fs

import (
	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Bits of a mode below its type.
const (
	permMask   = 0o7777
	modeSetuid = 0o4000
	modeSetgid = 0o2000
	modeSticky = 0o1000
	modeGroupX = 0o0010
	modeAnyX   = 0o0111
)

const blockSize = oplog.BlockSize

// Cred is who asks, after any squashing by an export's rules.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // further groups
}

// Call is what a request says about itself. It must not change while the
// request runs.
type Call struct {
	Cred     Cred
	Client   *oplog.Client  // as the log shows it; nil: the server itself
	Req      *oplog.Request // if the client may send it again
	ReadOnly bool           // the export is
	Memory   *engine.Memory // in which the payload of a Write came, and which that may take over; or nil
}

// Attr are the attributes of an object. Mode, whose type bits are
// those of package inode, is never 0 for one that is there.
type Attr struct {
	Mode         uint32 // type and permission bits, as in stat(2)
	Nlink        uint32
	UID, GID     uint32
	Size         uint64 // bytes
	Used         uint64 // bytes of payload
	Rdev         uint64 // of a device: major<<32 | minor
	FSID, FileID uint64
	Atime, Mtime int64 // Unix nanoseconds
	Ctime, Btime int64
	Flags        uint32
}

// Pre are the attributes of an object before an operation, for RFC 1813's
// weak cache consistency.
type Pre struct {
	Size         uint64
	Mtime, Ctime int64
	OK           bool
}

// Wcc are the attributes of an object before and after an operation, with
// nothing in between. They are there where an operation failed too, if the
// object could be looked at.
type Wcc struct {
	Before  Pre
	After   Attr
	AfterOK bool
}

// SetAttr says which attributes to set; what is nil stays.
type SetAttr struct {
	Mode, UID, GID     *uint32
	Size               *uint64
	Atime, Mtime       *int64 // Unix nanoseconds
	AtimeNow, MtimeNow bool   // to the operation's own time
	Flags              *uint32
	Guard              *int64 // the ctime that must still hold, else ErrNotSync
}

// attr shows an inode of the place. It may run only where Floor may.
func (p *place) attr(ino uint64, i *inode.Inode) Attr {
	h := p.handle.at(ino)
	a := Attr{
		Mode: i.Mode, Nlink: i.Nlink, UID: i.UID, GID: i.GID, Size: i.Size, Used: i.Blocks * blockSize, Rdev: i.Rdev,
		FSID: p.f.fsid(h.Dataset), FileID: h.fileID(),
		Atime: i.Atime, Mtime: i.Mtime, Ctime: max(i.Ctime, p.Floor()), Btime: i.Btime, Flags: i.Flags,
	}
	if i.IsDir() {
		// What a directory of that many names takes elsewhere: programs show
		// it, none relies on it.
		a.Size = (1 + i.Entries/64) * blockSize
		a.Used = a.Size
	}
	return a
}

// before notes an object as it is: before the operation, and, if that is
// refused, after it.
func (w *Wcc) before(a Attr) {
	w.Before = Pre{Size: a.Size, Mtime: a.Mtime, Ctime: a.Ctime, OK: true}
	w.After, w.AfterOK = a, true
}

// after notes an object as an operation left it.
func (w *Wcc) after(p *place, r inode.Reader, ino uint64) {
	i, err := inode.Load(r, ino)
	if w.AfterOK = err == nil; w.AfterOK {
		w.After = p.attr(ino, &i)
	}
}

func isRegular(i *inode.Inode) bool { return i.Mode&inode.ModeType == inode.ModeFile }
