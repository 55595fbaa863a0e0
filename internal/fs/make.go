package fs

import (
	"errors"

	"varve/internal/inode"
	"varve/internal/oplog"
)

// Made is what became of making an object.
type Made struct {
	Handle Handle
	Attr   Attr
	Dir    Wcc    // of the directory, also after an error
	LSN    uint64 // for Commit; where nothing had to change, the share's last operation
}

// errNothing ends a judge that finds nothing to do: a success without an
// operation. Where it relies on what the judge saw, that may not be durable
// yet: then the LSN returned is the last that changed the share.
var errNothing = errors.New("nothing to do")

// errThere ends the judge of an unchecked create that finds a file, which is
// to be truncated.
var errThere = errors.New("the file is there")

// Modes for those that ask for none.
const (
	defaultFile = 0o644
	defaultDir  = 0o755
)

// Create makes a regular file. Where the name is taken: with a verifier,
// success if the object is a regular file that was made with the same
// verifier, else ErrExist; if exclusive, ErrExist; otherwise a regular file is
// taken as it is, but truncated if set has a size, and anything else is
// ErrExist. Of UID and GID in set, what the caller may not give away is left
// out. Further errors: ErrAccess, ErrNotDir, ErrNameTooLong, ErrInval,
// ErrQuota, ErrReadOnly, ErrStale.
func (f *FS) Create(c *Call, dir Handle, name string, set SetAttr, exclusive bool, verifier *uint64) (Made, error) {
	for {
		m := maker{c: c, kind: oplog.Create, typ: inode.ModeFile, set: set, exclusive: exclusive}
		if verifier != nil {
			m.verifier = stored(*verifier)
		}
		made, err := f.make(&m, dir, name)
		switch {
		case err == errThere:
			w, lsn, err := f.Setattr(c, made.Handle, SetAttr{Size: set.Size})
			if CodeOf(err) == CodeStale {
				continue // it was removed meanwhile
			}
			made.Attr, made.LSN = w.After, lsn
			return made, err
		case err == errNothing:
			return made, nil
		}
		return made, err
	}
}

// stored is how an exclusive create's verifier is kept: 0 is of files that were
// made otherwise.
func stored(verifier uint64) uint64 {
	if verifier == 0 {
		return ^uint64(0)
	}
	return verifier
}

// Mkdir makes a directory. ErrExist, ErrMLink, ErrNameTooLong also below
// MaxDepth, and as Create.
func (f *FS) Mkdir(c *Call, dir Handle, name string, set SetAttr) (Made, error) {
	return f.make(&maker{c: c, kind: oplog.Mkdir, typ: inode.ModeDir, set: set, exclusive: true}, dir, name)
}

// Symlink makes a symbolic link, whose mode is always 0777. ErrNameTooLong if
// the target is longer than 4095 bytes, and as Mkdir.
func (f *FS) Symlink(c *Call, dir Handle, name, target string, set SetAttr) (Made, error) {
	switch {
	case target == "":
		return Made{}, ErrInval
	case len(target) > inode.MaxTarget:
		return Made{}, ErrNameTooLong
	}
	mode := uint32(0o777)
	set.Mode, set.Size = &mode, nil
	return f.make(&maker{c: c, kind: oplog.Symlink, typ: inode.ModeLink, set: set, target: target, exclusive: true}, dir, name)
}

// Mknod makes a FIFO, a socket or, for root, a device; the upper bits of mode
// say which. ErrBadType, ErrPerm, and as Mkdir.
func (f *FS) Mknod(c *Call, dir Handle, name string, mode uint32, rdev uint64, set SetAttr) (Made, error) {
	m := maker{c: c, kind: oplog.Mknod, typ: mode & inode.ModeType, set: set, exclusive: true}
	m.set.Size = nil
	switch m.typ {
	case inode.ModeChar, inode.ModeBlock:
		if c.Cred.UID != 0 {
			return Made{}, ErrPerm
		}
		m.rdev = rdev
	case inode.ModeFIFO, inode.ModeSocket:
	default:
		return Made{}, ErrBadType
	}
	return f.make(&m, dir, name)
}

// maker is one call at work that makes an object.
type maker struct {
	place
	c         *Call
	kind      oplog.Kind
	typ       uint32 // of the mode
	set       SetAttr
	target    string
	rdev      uint64
	verifier  uint64 // 0: none
	exclusive bool
	limits    limits
	made      Made
	op        *oplog.Op
}

func (f *FS) make(m *maker, dir Handle, name string) (Made, error) {
	if err := checkNew(name); err != nil {
		return Made{}, err
	}
	if m.set.Size != nil && *m.set.Size > inode.MaxSize {
		return Made{}, ErrFBig
	}
	var err error
	if m.place, err = f.present(m.c, dir); err != nil {
		return Made{}, err
	}
	m.limits = m.share.current().limits
	m.op = newOp(m.c, m.kind)
	m.op.Dir, m.op.Name, m.op.Value = dir.Ino, name, m.target
	err = m.share.head.Change(m.op, m.judge, m.after)
	if err == nil {
		m.made.LSN = m.op.LSN
	}
	return m.made, f.settle(m.share, err)
}

func (m *maker) judge(r inode.Reader) error {
	m.made = Made{}
	d, err := inode.Load(r, m.handle.Ino)
	if err != nil {
		return err
	}
	m.made.Dir.before(m.attr(m.handle.Ino, &d))
	if err := m.c.mayEnter(&d); err != nil {
		return err
	}
	e, ok, err := inode.Lookup(r, m.Seed(), m.handle.Ino, m.op.Name)
	switch {
	case err != nil:
		return err
	case ok:
		return m.found(r, e)
	case !m.c.Cred.may(&d, wantWrite):
		return ErrAccess
	case m.typ == inode.ModeDir && d.Nlink >= inode.MaxLinks:
		return ErrMLink
	}
	if m.typ == inode.ModeDir {
		if err := m.notBelow(r, m.handle.Ino, d.Parent, 0); err != nil {
			return err
		}
	}
	if err := m.share.room(m.limits, 0, 1); err != nil {
		return err
	}
	m.op.Ino = m.share.head.NextIno()
	m.op.Attr = m.attrs(&d)
	return nil
}

// found judges an object that has the name.
func (m *maker) found(r inode.Reader, e inode.Entry) error {
	if m.kind != oplog.Create || m.exclusive && m.verifier == 0 {
		return ErrExist
	}
	i, err := inode.Load(r, e.Ino)
	if err != nil {
		return err
	}
	if !isRegular(&i) || m.verifier != 0 && i.Verifier != m.verifier {
		return ErrExist
	}
	m.made.Handle, m.made.Attr, m.made.LSN = m.handle.at(e.Ino), m.attr(e.Ino, &i), m.share.head.ChangedLSN()
	if m.verifier == 0 && m.set.Size != nil {
		return errThere
	}
	return errNothing
}

// attrs are the attributes of the new object in directory d.
func (m *maker) attrs(d *inode.Inode) oplog.Attr {
	cred, set := &m.c.Cred, &m.set
	a := oplog.Attr{
		Mask: oplog.SetMode | oplog.SetUID | oplog.SetGID, Mode: m.mode(), UID: cred.UID, GID: cred.GID,
		Verifier: m.verifier, Rdev: m.rdev,
	}
	inherits := d.Mode&modeSetgid != 0
	if inherits {
		a.GID = d.GID
	}
	if set.UID != nil && cred.UID == 0 {
		a.UID = *set.UID
	}
	if set.GID != nil && (cred.UID == 0 || cred.in(*set.GID)) {
		a.GID = *set.GID
	}
	switch {
	case m.typ == inode.ModeDir && inherits:
		a.Mode |= modeSetgid
	case m.typ != inode.ModeDir && cred.UID != 0 && !cred.in(a.GID):
		a.Mode &^= modeSetgid
	}
	if m.verifier != 0 {
		a.Mask |= oplog.SetVerifier
	}
	if m.rdev != 0 {
		a.Mask |= oplog.SetRdev
	}
	if set.Size != nil && m.kind == oplog.Create {
		a.Mask, a.Size = a.Mask|oplog.SetSize, *set.Size
	}
	setTimes(&a, set)
	if set.Flags != nil {
		a.Mask, a.Flags = a.Mask|oplog.SetFlags, *set.Flags
	}
	return a
}

func (m *maker) mode() uint32 {
	switch {
	case m.set.Mode != nil:
		return m.typ | *m.set.Mode&permMask
	case m.verifier != 0:
		return m.typ | 0o600 // until the client says more
	case m.typ == inode.ModeDir:
		return m.typ | defaultDir
	}
	return m.typ | defaultFile
}

func (m *maker) after(r inode.Reader) {
	m.made.Handle = m.handle.at(m.op.Ino)
	if i, err := inode.Load(r, m.op.Ino); err == nil {
		m.made.Attr = m.attr(m.op.Ino, &i)
	}
	m.made.Dir.after(&m.place, r, m.handle.Ino)
}
