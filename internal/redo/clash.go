package redo

import (
	"varve/internal/inode"
	"varve/internal/oplog"
)

// The causes of conflicts: why an operation does not fit where others are left
// out.
const (
	nameTaken     = "the name is taken"
	otherType     = "the object is of another type"
	hasName       = "the object has that name already"
	nameGone      = "the name is not there, or is another object's"
	parentMissing = "its directory is missing"
	objectMissing = "the object is missing"
	notEmpty      = "the directory is not empty"
	intoItself    = "the directory would be in itself"
	bytesOverlap  = "its bytes were written by an operation left out"
	attrOverlap   = "the attribute was set by an operation left out"
	attrGone      = "the extended attribute is not there"
	tooManyLinks  = "the object has too many names"
	beyondEnd     = "it reaches beyond the end of the volume"
)

// clash ends a judge: the operation does not fit.
type clash struct {
	cause string
	ino   uint64 // of what has the name
	typ   uint8
}

func (c *clash) Error() string { return c.cause }

// maxUp bounds how far directories are followed upwards.
const maxUp = 8192

// fits says whether an operation on files means something in the state of r, and
// what is in its way. It fills in what the operation replaces.
func fits(r inode.Reader, seed uint64, op *oplog.Op) error {
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		return vacant(r, seed, op.Dir, op.Name)
	}
	i, err := load(r, op.Ino)
	if err != nil {
		return err
	}
	if !suits(op, &i) {
		return &clash{cause: otherType}
	}
	switch op.Kind {
	case oplog.Link:
		if i.Nlink >= inode.MaxLinks {
			return &clash{cause: tooManyLinks}
		}
		return vacantFor(r, seed, op)
	case oplog.Remove, oplog.Rmdir:
		if i.IsDir() && i.Entries > 0 {
			return &clash{cause: notEmpty}
		}
		return bound(r, seed, op.Dir, op.Name, op.Ino)
	case oplog.Move:
		return mayMove(r, seed, op, &i)
	case oplog.RemoveXattr:
		if _, ok, err := inode.Xattr(r, seed, op.Ino, op.Name); err != nil || !ok {
			return orClash(err, attrGone)
		}
	}
	return nil
}

// suits reports whether an operation can be on an object of that type. Of the log
// of a dataset all are; what has the path in another one may be of another type.
func suits(op *oplog.Op, i *inode.Inode) bool {
	switch {
	case op.Kind == oplog.WriteFile, op.Kind == oplog.Setattr && op.Attr.Mask&oplog.SetSize != 0:
		return i.Mode&inode.ModeType == inode.ModeFile
	case op.Kind == oplog.Link, op.Kind == oplog.Remove:
		return !i.IsDir()
	case op.Kind == oplog.Rmdir:
		return i.IsDir()
	}
	return true
}

func orClash(err error, cause string) error {
	if err != nil {
		return err
	}
	return &clash{cause: cause}
}

func load(r inode.Reader, ino uint64) (inode.Inode, error) {
	i, ok, err := inode.Find(r, ino)
	if err != nil || !ok {
		return i, orClash(err, objectMissing)
	}
	return i, nil
}

// vacant says whether a directory is there and a name in it is free.
func vacant(r inode.Reader, seed, dir uint64, name string) error {
	d, ok, err := inode.Find(r, dir)
	if err != nil || !ok || !d.IsDir() {
		return orClash(err, parentMissing)
	}
	e, ok, err := inode.Lookup(r, seed, dir, name)
	if err != nil || ok {
		if err == nil {
			err = &clash{cause: nameTaken, ino: e.Ino, typ: e.Type}
		}
		return err
	}
	return nil
}

// vacantFor is vacant for another name of an object. The name that is its own is
// not in its way: who took that over would remove what is to be linked.
func vacantFor(r inode.Reader, seed uint64, op *oplog.Op) error {
	err := vacant(r, seed, op.Dir, op.Name)
	if c, ok := err.(*clash); ok && c.ino == op.Ino {
		return &clash{cause: hasName}
	}
	return err
}

// bound says whether a name is that of an object.
func bound(r inode.Reader, seed, dir uint64, name string, ino uint64) error {
	e, ok, err := inode.Lookup(r, seed, dir, name)
	if err != nil || !ok || e.Ino != ino {
		return orClash(err, nameGone)
	}
	return nil
}

func mayMove(r inode.Reader, seed uint64, op *oplog.Op, i *inode.Inode) error {
	if err := bound(r, seed, op.Dir, op.Name, op.Ino); err != nil {
		return err
	}
	d, ok, err := inode.Find(r, op.Dir2)
	if err != nil || !ok || !d.IsDir() {
		return orClash(err, parentMissing)
	}
	if i.IsDir() { // first: what has the name may be removed for a move that is possible
		if err := outside(r, op.Dir2, op.Ino); err != nil {
			return err
		}
	}
	e, ok, err := inode.Lookup(r, seed, op.Dir2, op.Name2)
	switch {
	case err != nil:
		return err
	case !ok:
		op.Ino2 = 0 // what it replaced is not there, which is as well
	case e.Ino == op.Ino:
		op.Ino2 = op.Ino // two names of one object: nothing happens
	case e.Ino != op.Ino2:
		return &clash{cause: nameTaken, ino: e.Ino, typ: e.Type}
	default:
		return replaceable(r, op.Ino2, i)
	}
	return nil
}

// replaceable says whether a move of i may take the place of an object.
func replaceable(r inode.Reader, ino uint64, i *inode.Inode) error {
	o, err := load(r, ino)
	if err == nil && o.IsDir() && o.Entries > 0 {
		err = &clash{cause: notEmpty}
	}
	if err == nil && o.IsDir() != i.IsDir() {
		err = &clash{cause: nameTaken, ino: ino, typ: o.Type()}
	}
	return err
}

// outside says whether dir is not below ino.
func outside(r inode.Reader, dir, ino uint64) error {
	for range maxUp {
		if dir == ino {
			return &clash{cause: intoItself}
		}
		if dir == inode.Root {
			return nil
		}
		d, ok, err := inode.Find(r, dir)
		if err != nil || !ok {
			return orClash(err, parentMissing)
		}
		dir = d.Parent
	}
	return &clash{cause: intoItself}
}
