package fs

import (
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Remove takes a name away from what is no directory; with the last name the
// object goes. ErrNoEnt, ErrIsDir, ErrAccess, ErrPerm (a sticky directory),
// ErrNotDir, ErrInval, ErrReadOnly, ErrStale.
func (f *FS) Remove(c *Call, dir Handle, name string) (Wcc, uint64, error) {
	return f.remove(c, oplog.Remove, dir, name)
}

// Rmdir removes an empty directory. ErrNotEmpty, and as Remove.
func (f *FS) Rmdir(c *Call, dir Handle, name string) (Wcc, uint64, error) {
	return f.remove(c, oplog.Rmdir, dir, name)
}

func (f *FS) remove(c *Call, kind oplog.Kind, dir Handle, name string) (Wcc, uint64, error) {
	if err := checkOld(name); err != nil {
		return Wcc{}, 0, err
	}
	p, err := f.present(c, dir)
	if err != nil {
		return Wcc{}, 0, err
	}
	var w Wcc
	op := newOp(c, kind)
	op.Dir, op.Name = dir.Ino, name
	err = p.share.head.Change(op, func(r inode.Reader) error {
		d, e, err := p.named(r, c, op.Dir, name, &w)
		if err != nil {
			return err
		}
		op.Ino = e.Ino
		i, err := p.removable(r, c, &d, e.Ino, kind == oplog.Rmdir)
		if err == nil && i.Entries > 0 {
			err = ErrNotEmpty
		}
		return err
	}, func(r inode.Reader) { w.after(&p, r, op.Dir) })
	if err != nil {
		return w, 0, f.settle(p.share, err)
	}
	return w, op.LSN, nil
}

// named judges a name in a directory that is to be changed: the directory is
// noted in w, is one, and may be written; the name is there.
func (p *place) named(r inode.Reader, c *Call, dir uint64, name string, w *Wcc) (d inode.Inode, e inode.Entry, err error) {
	if d, err = inode.Load(r, dir); err != nil {
		return d, e, err
	}
	w.before(p.attr(dir, &d))
	if err := c.mayEnter(&d); err != nil {
		return d, e, err
	}
	e, ok, err := inode.Lookup(r, p.Seed(), dir, name)
	switch {
	case err != nil:
		return d, e, err
	case !ok:
		return d, e, ErrNoEnt
	case !c.Cred.may(&d, wantWrite):
		return d, e, ErrAccess
	}
	return d, e, nil
}

// removable judges an object whose name in d is to go, by a call for
// directories or one for the rest. Whether a directory is empty is not judged.
func (p *place) removable(r inode.Reader, c *Call, d *inode.Inode, ino uint64, asDir bool) (inode.Inode, error) {
	i, err := inode.Load(r, ino)
	switch {
	case err != nil:
	case !c.Cred.mayTake(d, &i):
		err = ErrPerm
	case asDir && !i.IsDir():
		err = ErrNotDir
	case !asDir && i.IsDir():
		err = ErrIsDir
	}
	return i, err
}

// Link gives a file another name. It returns the file's attributes and the
// directory's. ErrPerm: directories have one name; ErrXDev, ErrExist,
// ErrMLink, ErrAccess, ErrNotDir, ErrNameTooLong, ErrReadOnly, ErrStale.
func (f *FS) Link(c *Call, file, dir Handle, name string) (Attr, Wcc, uint64, error) {
	if file.Dataset != dir.Dataset || file.Moment != dir.Moment {
		return Attr{}, Wcc{}, 0, ErrXDev
	}
	if err := checkNew(name); err != nil {
		return Attr{}, Wcc{}, 0, err
	}
	p, err := f.present(c, dir)
	switch {
	case err != nil:
		return Attr{}, Wcc{}, 0, err
	case file.SnapDir:
		return Attr{}, Wcc{}, 0, ErrPerm
	}
	l := linker{place: p, c: c, file: file.Ino, op: newOp(c, oplog.Link)}
	l.op.Ino, l.op.Dir, l.op.Name = file.Ino, dir.Ino, name
	if err := p.share.head.Change(l.op, l.judge, l.after); err != nil {
		return l.attrs.After, l.wcc, 0, f.settle(p.share, err)
	}
	return l.attrs.After, l.wcc, l.op.LSN, nil
}

// linker is one call of Link at work.
type linker struct {
	place
	c     *Call
	file  uint64
	op    *oplog.Op
	attrs Wcc // of the file
	wcc   Wcc // of the directory
}

func (l *linker) judge(r inode.Reader) error {
	l.attrs, l.wcc = Wcc{}, Wcc{}
	i, err := inode.Load(r, l.file)
	if err != nil {
		return err
	}
	l.attrs.before(l.attr(l.file, &i))
	d, err := inode.Load(r, l.handle.Ino)
	if err != nil {
		return err
	}
	l.wcc.before(l.attr(l.handle.Ino, &d))
	if err := l.c.mayEnter(&d); err != nil {
		return err
	}
	_, ok, err := inode.Lookup(r, l.Seed(), l.handle.Ino, l.op.Name)
	switch {
	case err != nil:
		return err
	case ok:
		return ErrExist
	case !l.c.Cred.may(&d, wantWrite):
		return ErrAccess
	case i.IsDir():
		return ErrPerm
	case i.Nlink >= inode.MaxLinks:
		return ErrMLink
	}
	return nil
}

func (l *linker) after(r inode.Reader) {
	l.attrs.after(&l.place, r, l.file)
	l.wcc.after(&l.place, r, l.handle.Ino)
}
