package fs

import (
	"sync"

	"varve/internal/inode"
)

// Getattr returns the attributes of an object. ErrStale.
func (f *FS) Getattr(c *Call, h Handle) (Attr, error) {
	g := glances.Get().(*glance)
	defer g.end()
	var err error
	if g.place, err = f.place(h); err != nil {
		return Attr{}, err
	}
	err = g.Look(g.atObject)
	return g.found, err
}

// A glance is one Getattr, Access or Lookup at work. They are used again, and
// the functions for Look are bound once: a server does little else all day, and
// what each call made would be garbage.
type glance struct {
	place
	c      *Call
	name   string
	child  Handle // of what has the name
	found  Attr   // of it, or of the object
	dir    Attr
	rights uint32

	atObject, atRights, atName func(inode.Reader) error
}

var glances = sync.Pool{New: func() any {
	g := new(glance)
	g.atObject, g.atRights, g.atName = g.object, g.access, g.entry
	return g
}}

func (g *glance) end() {
	g.close()
	*g = glance{atObject: g.atObject, atRights: g.atRights, atName: g.atName}
	glances.Put(g)
}

func (g *glance) object(r inode.Reader) error {
	i, err := inode.Load(r, g.handle.Ino)
	if err != nil {
		return err
	}
	g.found = g.show(&i)
	return nil
}

func (g *glance) access(r inode.Reader) error {
	i, err := inode.Load(r, g.handle.Ino)
	if err != nil {
		return err
	}
	g.found = g.show(&i)
	i.Mode = g.found.Mode // a snapshot directory has its own
	g.rights = g.c.Cred.access(&i)
	return nil
}

func (g *glance) entry(r inode.Reader) error {
	g.dir = Attr{} // of a run that missed a node
	i, err := inode.Load(r, g.handle.Ino)
	if err != nil {
		return err
	}
	g.dir = g.attr(g.handle.Ino, &i)
	g.child, g.found, err = g.lookup(r, g.c, &i, g.name)
	return err
}

// show is attr for the object of the place itself, which may be a snapshot
// directory.
func (p *place) show(i *inode.Inode) Attr {
	a := p.attr(p.handle.Ino, i)
	if p.handle.SnapDir {
		p.f.snapDirAttr(&a, p.handle)
	}
	return a
}

// directory loads the directory of the place, and checks that the caller may
// do with it what is wanted. The inode is valid where the error has a code of
// its own.
func (p *place) directory(r inode.Reader, c *Call, want uint32) (inode.Inode, error) {
	d, err := inode.Load(r, p.handle.Ino)
	switch {
	case err != nil:
		return d, err
	case !d.IsDir():
		return d, ErrNotDir
	case !c.Cred.may(&d, want):
		return d, ErrAccess
	}
	return d, nil
}

// Lookup finds a name in a directory and returns the object's handle and
// attributes, and the directory's attributes, which are there after an error
// too if their Mode is not 0. "." and ".." are names; so is ".snapshot", and
// in it anything that names a moment. ErrNoEnt, ErrNotDir, ErrAccess,
// ErrNameTooLong, ErrStale.
func (f *FS) Lookup(c *Call, dir Handle, name string) (Handle, Attr, Attr, error) {
	if dir.SnapDir {
		return f.lookupMoment(c, dir, name)
	}
	g := glances.Get().(*glance)
	defer g.end()
	var err error
	if g.place, err = f.place(dir); err != nil {
		return Handle{}, Attr{}, Attr{}, err
	}
	g.c, g.name = c, name
	err = g.Look(g.atName)
	return g.child, g.found, g.dir, err
}

func (p *place) lookup(r inode.Reader, c *Call, dir *inode.Inode, name string) (Handle, Attr, error) {
	if err := c.mayEnter(dir); err != nil {
		return Handle{}, Attr{}, err
	}
	h := p.handle
	switch name {
	case ".":
	case "..":
		h.Ino = dir.Parent
	case SnapshotDir:
		if h.Moment != 0 {
			return Handle{}, Attr{}, ErrNoEnt
		}
		h.SnapDir = true
		a := p.attr(h.Ino, dir)
		p.f.snapDirAttr(&a, h)
		return h, a, nil
	default:
		if err := checkName(name); err != nil {
			return Handle{}, Attr{}, err
		}
		e, ok, err := inode.Lookup(r, p.Seed(), h.Ino, name)
		if err != nil {
			return Handle{}, Attr{}, err
		}
		if !ok {
			return Handle{}, Attr{}, ErrNoEnt
		}
		h.Ino = e.Ino
	}
	i, err := inode.Load(r, h.Ino)
	if err != nil {
		return Handle{}, Attr{}, err
	}
	return h, p.attr(h.Ino, &i), nil
}

// The bits of Access (RFC 1813 section 3.3.4).
const (
	AccessRead    = 0x01
	AccessLookup  = 0x02
	AccessModify  = 0x04
	AccessExtend  = 0x08
	AccessDelete  = 0x10
	AccessExecute = 0x20
)

const accessChange = AccessModify | AccessExtend | AccessDelete

// Access says which of the wanted rights the caller has, by the permission
// bits: what an owner may beyond them is not counted.
func (f *FS) Access(c *Call, h Handle, want uint32) (uint32, Attr, error) {
	g := glances.Get().(*glance)
	defer g.end()
	var err error
	if g.place, err = f.place(h); err != nil {
		return 0, Attr{}, err
	}
	g.c = c
	err = g.Look(g.atRights)
	have := g.rights
	if c.ReadOnly || h.Moment != 0 || h.SnapDir {
		have &^= accessChange
	}
	return have & want, g.found, err
}

func (c *Cred) access(i *inode.Inode) (have uint32) {
	if c.may(i, wantRead) {
		have |= AccessRead
	}
	if i.IsDir() {
		if c.may(i, wantExec) {
			have |= AccessLookup
		}
		if c.may(i, wantExec|wantWrite) {
			have |= accessChange
		}
		return have
	}
	if c.may(i, wantWrite) {
		have |= AccessModify | AccessExtend
	}
	if c.may(i, wantExec) {
		have |= AccessExecute
	}
	return have
}

// Readlink returns the target of a symbolic link. ErrInval: it is none.
func (f *FS) Readlink(c *Call, h Handle) (string, Attr, error) {
	p, err := f.place(h)
	if err != nil {
		return "", Attr{}, err
	}
	defer p.close()
	var a Attr
	var target string
	err = p.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return err
		}
		if a = p.show(&i); i.Mode&inode.ModeType != inode.ModeLink {
			return ErrInval
		}
		target, err = inode.Target(r, h.Ino)
		return err
	})
	return target, a, err
}
