package fs

import (
	"varve/internal/inode"
	"varve/internal/oplog"
)

// maxDepth bounds the nesting of directories that a rename looks through.
const maxDepth = 4096

// Rename gives an object another name, at once: what had that name so far goes
// if it is of the same sort, a directory only if it is empty. Where both names
// are of one object nothing happens. It returns the attributes of both
// directories. ErrNoEnt, ErrExist (never), ErrNotDir, ErrIsDir, ErrNotEmpty,
// ErrInval (into itself), ErrXDev, ErrAccess, ErrPerm, ErrMLink,
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
		return m.from, m.to, 0, nil
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
}

func (m *mover) judge(r inode.Reader) error {
	m.from, m.to = Wcc{}, Wcc{}
	op := m.op
	op.Ino, op.Ino2 = 0, 0
	target, err := inode.Load(r, op.Dir2)
	if err != nil {
		return err
	}
	m.to.before(m.attr(op.Dir2, &target))
	d, e, err := m.named(r, m.c, op.Dir, op.Name, &m.from)
	switch {
	case err != nil:
		return err
	case !target.IsDir():
		return ErrNotDir
	case !m.c.Cred.may(&target, wantExec):
		return ErrAccess
	}
	old, ok, err := inode.Lookup(r, m.Seed(), op.Dir2, op.Name2)
	switch {
	case err != nil:
		return err
	case ok && old.Ino == e.Ino:
		return errNothing
	}
	op.Ino = e.Ino
	if ok {
		op.Ino2 = old.Ino
	}
	i, err := inode.Load(r, e.Ino)
	switch {
	case err != nil:
		return err
	case !m.c.Cred.mayTake(&d, &i):
		return ErrPerm
	case !m.c.Cred.may(&target, wantWrite):
		return ErrAccess
	}
	if i.IsDir() {
		if err := m.directoryMay(r, &i, &target, ok); err != nil {
			return err
		}
	}
	if ok {
		return m.removable(r, m.c, &target, old.Ino, i.IsDir())
	}
	return nil
}

// directoryMay judges the directory i as one that moves into target; replaces
// says that it takes another directory's place there.
func (m *mover) directoryMay(r inode.Reader, i, target *inode.Inode, replaces bool) error {
	op := m.op
	if op.Dir == op.Dir2 {
		return nil
	}
	if err := m.notBelow(r, op.Dir2, target.Parent, op.Ino); err != nil {
		return err
	}
	switch {
	case !m.c.Cred.may(i, wantWrite): // its ".." changes
		return ErrAccess
	case !replaces && target.Nlink >= inode.MaxLinks:
		return ErrMLink
	}
	return nil
}

// notBelow refuses a directory, whose parent is known, that is top or below
// it.
func (p *place) notBelow(r inode.Reader, dir, parent, top uint64) error {
	for range maxDepth {
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
