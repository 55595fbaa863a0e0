package fs

import (
	"cmp"

	"varve/internal/inode"
	"varve/internal/oplog"
)

// MaxDepth is how many levels of directories there may be below the root. A
// directory that is moved into another brings its own with it, so there can be
// more; but none is made or moved below them.
const MaxDepth = 4096

// Rename gives an object another name, at once: what had that name so far goes
// if it is of the same sort, a directory only if it is empty. Where both names
// are of one object nothing happens. It returns the attributes of both
// directories. ErrNoEnt, ErrExist (never), ErrNotDir, ErrIsDir, ErrNotEmpty,
// ErrInval (into itself), ErrNameTooLong (a directory below MaxDepth), ErrXDev, ErrAccess, ErrPerm, ErrMLink,
// ErrNameTooLong, ErrReadOnly, ErrStale.
func (f *FS) Rename(c *Call, from Handle, fromName string, to Handle, toName string) (Wcc, Wcc, uint64, error) {
	if from.Dataset != to.Dataset || from.Moment != to.Moment {
		return Wcc{}, Wcc{}, 0, ErrXDev
	}
	for _, name := range [...]string{fromName, toName} {
		if err := checkMoved(name); err != nil {
			return Wcc{}, Wcc{}, 0, err
		}
	}
	if to.SnapDir {
		return Wcc{}, Wcc{}, 0, ErrReadOnly
	}
	p, err := f.present(c, from)
	if err != nil {
		return Wcc{}, Wcc{}, 0, err
	}
	m := mover{place: p, c: c, op: newOp(c, oplog.Move)}
	m.op.Dir, m.op.Name, m.op.Dir2, m.op.Name2 = from.Ino, fromName, to.Ino, toName
	err = p.share.head.Change(m.op, m.judge, m.after)
	switch err {
	case nil:
		return m.from, m.to, m.op.LSN, nil
	case errNothing:
		return m.from, m.to, m.seen, nil
	}
	return m.from, m.to, 0, f.settle(p.share, err)
}

func checkMoved(name string) error {
	switch name {
	case ".", "..":
		return ErrInval
	case SnapshotDir:
		return errReserved
	}
	return checkName(name)
}

// mover is one call of Rename at work.
type mover struct {
	place
	c        *Call
	op       *oplog.Op
	from, to Wcc
	seen     uint64 // the share's last operation, where there is nothing to do
}

func (m *mover) judge(r inode.Reader) error {
	m.from, m.to = Wcc{}, Wcc{}
	op := m.op
	op.Ino, op.Ino2 = 0, 0
	d, err := m.enter(r, op.Dir, &m.from)
	target, err2 := m.enter(r, op.Dir2, &m.to)
	if err = cmp.Or(err, err2); err != nil {
		return err
	}
	e, ok, err := inode.Lookup(r, m.Seed(), op.Dir, op.Name)
	switch {
	case err != nil:
		return err
	case !ok:
		return ErrNoEnt
	}
	old, ok, err := inode.Lookup(r, m.Seed(), op.Dir2, op.Name2)
	switch {
	case err != nil:
		return err
	case ok && old.Ino == e.Ino:
		m.seen = m.share.head.ChangedLSN()
		return errNothing
	}
	op.Ino = e.Ino
	if ok {
		op.Ino2 = old.Ino
	}
	i, err := inode.Load(r, e.Ino)
	if err != nil {
		return err
	}
	away := i.IsDir() && op.Dir != op.Dir2 // to another parent
	if away {
		if err := m.notBelow(r, op.Dir2, target.Parent, op.Ino); err != nil {
			return err
		}
	}
	switch {
	case !m.c.Cred.may(&d, wantWrite):
		return ErrAccess
	case !m.c.Cred.mayTake(&d, &i):
		return ErrPerm
	case !m.c.Cred.may(&target, wantWrite):
		return ErrAccess
	}
	var replaced inode.Inode
	if ok {
		if replaced, err = m.removable(r, m.c, &target, old.Ino, i.IsDir()); err != nil {
			return err
		}
	}
	switch {
	case away && !m.c.Cred.may(&i, wantWrite): // its ".." changes
		return ErrAccess
	case replaced.Entries > 0:
		return ErrNotEmpty
	case away && !ok && target.Nlink >= inode.MaxLinks:
		return ErrMLink
	}
	return nil
}

// enter notes a directory in w, and judges whether the caller may look up names
// in it.
func (m *mover) enter(r inode.Reader, dir uint64, w *Wcc) (inode.Inode, error) {
	d, err := inode.Load(r, dir)
	if err != nil {
		return d, err
	}
	w.before(m.attr(dir, &d))
	return d, m.c.mayEnter(&d)
}

// notBelow refuses a directory, whose parent is known, as the place of another:
// if it is top or below it, or MaxDepth deep.
func (p *place) notBelow(r inode.Reader, dir, parent, top uint64) error {
	for range MaxDepth {
		switch {
		case dir == top:
			return ErrInval
		case dir == inode.Root:
			return nil
		}
		dir = parent
		i, err := inode.Load(r, dir)
		if err != nil {
			return err
		}
		parent = i.Parent
	}
	return errDepth
}

func (m *mover) after(r inode.Reader) {
	m.from.after(&m.place, r, m.op.Dir)
	m.to.after(&m.place, r, m.op.Dir2)
}
