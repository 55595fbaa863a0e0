package fs

import (
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Setattr sets attributes. A mode, a flag or an explicit time is for the owner,
// another owner for root, another group for the owner who is in it; a size,
// and both times if now, are for who may write, and for the owner. It returns
// the attributes before and after. ErrPerm, ErrAccess, ErrNotSync, ErrIsDir
// and ErrInval (a size of what has none), ErrFBig, ErrReadOnly, ErrStale.
func (f *FS) Setattr(c *Call, h Handle, set SetAttr) (Wcc, uint64, error) {
	if set.Size != nil && *set.Size > inode.MaxSize {
		return Wcc{}, 0, ErrFBig
	}
	p, err := f.present(c, h)
	if err != nil {
		return Wcc{}, 0, err
	}
	var w Wcc
	op := newOp(c, oplog.Setattr)
	op.Ino = h.Ino
	judge := func(r inode.Reader) error {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return err
		}
		a := p.attr(h.Ino, &i)
		w.before(a)
		if set.Guard != nil && *set.Guard != a.Ctime {
			return ErrNotSync
		}
		op.Attr, err = c.Cred.plan(&i, &set)
		if err == nil && op.Attr.Mask == 0 {
			err = errNothing
		}
		return err
	}
	after := func(r inode.Reader) { w.after(&p, r, h.Ino) }
	if set.Size != nil {
		op.Attr.Size = *set.Size // Truncate needs it before the judge
		err = p.share.head.Truncate(op, judge, after)
	} else {
		err = p.share.head.Change(op, judge, after)
	}
	switch err {
	case nil:
		return w, op.LSN, nil
	case errNothing:
		return w, 0, nil
	}
	return w, 0, f.settle(p.share, err)
}

// plan judges what the caller wants to set of i, and makes the operation's
// attributes of it.
func (c *Cred) plan(i *inode.Inode, set *SetAttr) (a oplog.Attr, err error) {
	if err = c.planOwner(&a, i, set); err != nil {
		return a, err
	}
	if err = c.planMode(&a, i, set); err != nil {
		return a, err
	}
	if set.Size != nil {
		if err = c.planSize(&a, i, *set.Size); err != nil {
			return a, err
		}
	}
	explicit := set.Atime != nil || set.Mtime != nil
	now := set.AtimeNow || set.MtimeNow
	switch {
	case c.owns(i):
	case explicit, set.Flags != nil:
		return a, ErrPerm
	case now && !c.may(i, wantWrite):
		return a, ErrAccess
	}
	setTimes(&a, set)
	if set.Flags != nil {
		a.Mask, a.Flags = a.Mask|oplog.SetFlags, *set.Flags
	}
	return a, nil
}

func (c *Cred) planOwner(a *oplog.Attr, i *inode.Inode, set *SetAttr) error {
	if set.UID != nil {
		if c.UID != 0 && (c.UID != i.UID || *set.UID != i.UID) {
			return ErrPerm
		}
		a.Mask, a.UID = a.Mask|oplog.SetUID, *set.UID
	}
	if set.GID != nil {
		if c.UID != 0 && (c.UID != i.UID || *set.GID != i.GID && !c.in(*set.GID)) {
			return ErrPerm
		}
		a.Mask, a.GID = a.Mask|oplog.SetGID, *set.GID
	}
	return nil
}

// planMode plans the mode that is asked for, and what a new owner or group, or
// a truncation by another than root, takes away from it: the set-id bits of
// what is no directory. A set-group-id bit without the right to execute is no
// such bit, unless the caller is outside the group.
func (c *Cred) planMode(a *oplog.Attr, i *inode.Inode, set *SetAttr) error {
	mode := i.Mode
	gid := i.GID
	if set.GID != nil {
		gid = *set.GID
	}
	if set.Mode != nil {
		if !c.owns(i) {
			return ErrPerm
		}
		mode = i.Mode&inode.ModeType | *set.Mode&permMask
		if c.UID != 0 && !c.in(gid) {
			mode &^= modeSetgid
		}
	}
	chown := set.UID != nil || set.GID != nil
	if !i.IsDir() && (chown || set.Size != nil && c.UID != 0) {
		mode &^= modeSetuid
		if mode&modeGroupX != 0 || c.UID != 0 && !c.in(i.GID) {
			mode &^= modeSetgid
		}
	}
	if set.Mode != nil || mode != i.Mode {
		a.Mask, a.Mode = a.Mask|oplog.SetMode, mode
	}
	return nil
}

func (c *Cred) planSize(a *oplog.Attr, i *inode.Inode, size uint64) error {
	switch {
	case i.IsDir():
		return ErrIsDir
	case !isRegular(i):
		return ErrInval
	case !c.mayWrite(i):
		return ErrAccess
	}
	a.Mask, a.Size = a.Mask|oplog.SetSize, size
	return nil
}

// setTimes plans the times that are asked for.
func setTimes(a *oplog.Attr, set *SetAttr) {
	switch {
	case set.AtimeNow:
		a.Mask |= oplog.SetAtimeNow
	case set.Atime != nil:
		a.Mask, a.Atime = a.Mask|oplog.SetAtime, *set.Atime
	}
	switch {
	case set.MtimeNow:
		a.Mask |= oplog.SetMtimeNow
	case set.Mtime != nil:
		a.Mask, a.Mtime = a.Mask|oplog.SetMtime, *set.Mtime
	}
}
