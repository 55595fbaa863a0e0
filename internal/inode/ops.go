package inode

import "varve/internal/oplog"

// resolve finds what the operation does, by reading alone.
func (e *edit) resolve() error {
	switch e.op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		return e.create()
	case oplog.Link:
		return e.link()
	case oplog.Remove, oplog.Rmdir:
		return e.remove()
	case oplog.Move:
		return e.move()
	case oplog.Setattr:
		return e.setattr()
	case oplog.SetXattr:
		return e.setXattr()
	case oplog.RemoveXattr:
		return e.removeXattr()
	case oplog.WriteFile:
		return e.write()
	}
	return e.bad("this is no operation on files")
}

// makes reports whether an operation of kind k may make an object of a mode.
func makes(k oplog.Kind, mode uint32) bool {
	switch mode & ModeType {
	case ModeFile:
		return k == oplog.Create
	case ModeDir:
		return k == oplog.Mkdir
	case ModeLink:
		return k == oplog.Symlink
	case ModeFIFO, ModeChar, ModeBlock, ModeSocket:
		return k == oplog.Mknod
	}
	return false
}

func (e *edit) create() error {
	op := e.op
	if _, err := e.directory(op.Dir); err != nil {
		return err // before the new one is held, which it must not be
	}
	switch _, taken, err := load(e.r, op.Ino, e.buf[:0]); {
	case err != nil:
		return err
	case taken || op.Ino <= Root:
		return e.bad("inode %d cannot be a new one", op.Ino)
	}
	o := e.hold(op.Ino, Inode{Nlink: 1, Atime: op.Shows(), Mtime: op.Shows(), Btime: op.Shows()})
	e.assign(o)
	if !makes(op.Kind, o.Mode) || o.Mode&^(ModeType|modeBits) != 0 {
		return e.bad("the new object has mode %#o", o.Mode)
	}
	switch o.Mode & ModeType {
	case ModeDir:
		o.Nlink = 2
	case ModeLink:
		o.Size = uint64(len(op.Value))
		if o.Size == 0 || o.Size > MaxTarget {
			return e.bad("a target of %d bytes cannot be", o.Size)
		}
		e.setPieces(itemKey(op.Ino, targetItem, 0), []byte(op.Value))
	}
	if o.Size > MaxSize || o.Size > 0 && o.Mode&ModeType != ModeFile && o.Mode&ModeType != ModeLink {
		return e.bad("the new object has %d bytes", o.Size)
	}
	cookie, err := e.vacant(op.Dir, op.Name)
	if err != nil {
		return err
	}
	e.effect.Inodes = 1
	return e.enter(op.Dir, cookie, op.Name, o)
}

func (e *edit) link() error {
	op := e.op
	o, err := e.inode(op.Ino)
	if err != nil {
		return err
	}
	if o.IsDir() || o.Nlink >= MaxLinks {
		return e.bad("inode %d with mode %#o and %d links gets no other name", op.Ino, o.Mode, o.Nlink)
	}
	cookie, err := e.vacant(op.Dir, op.Name)
	if err != nil {
		return err
	}
	o.Nlink++
	return e.enter(op.Dir, cookie, op.Name, o)
}

func (e *edit) remove() error {
	op := e.op
	o, err := e.inode(op.Ino)
	if err != nil {
		return err
	}
	if o.IsDir() != (op.Kind == oplog.Rmdir) {
		return e.bad("inode %d has mode %#o", op.Ino, o.Mode)
	}
	if _, err := e.leave(op.Dir, op.Name, o); err != nil {
		return err
	}
	return e.unlink(o)
}

// move gives an object another name. Nothing happens where the new name is
// one of the object's already (rename in POSIX.1-2024).
func (e *edit) move() error {
	op := e.op
	if op.Ino == op.Ino2 || op.Dir == op.Dir2 && op.Name == op.Name2 {
		return nil
	}
	o, err := e.inode(op.Ino)
	if err != nil {
		return err
	}
	if op.Ino == op.Dir2 {
		return e.bad("directory %d cannot move into itself", op.Ino)
	}
	if _, err := e.leave(op.Dir, op.Name, o); err != nil {
		return err
	}
	cookie, err := e.replace()
	if err != nil {
		return err
	}
	return e.enter(op.Dir2, cookie, op.Name2, o)
}

// replace makes room for the new name of a move, and returns its cookie: that
// of the name which it replaces, if there is one.
func (e *edit) replace() (cookie uint64, err error) {
	op := e.op
	if op.Ino2 == 0 {
		return e.vacant(op.Dir2, op.Name2)
	}
	o, err := e.inode(op.Ino2)
	if err != nil {
		return 0, err
	}
	if cookie, err = e.leave(op.Dir2, op.Name2, o); err != nil {
		return 0, err
	}
	return cookie, e.unlink(o)
}

func (e *edit) setattr() error {
	op, a := e.op, &e.op.Attr
	o, err := e.inode(op.Ino)
	if err != nil {
		return err
	}
	old := o.Inode
	e.assign(o)
	if a.Mask&oplog.SetMode != 0 {
		if t := a.Mode &^ modeBits; t != 0 && t != old.Mode&ModeType {
			return e.bad("mode %#o is not of inode %d, which has %#o", a.Mode, op.Ino, old.Mode)
		}
		o.Mode = old.Mode&ModeType | a.Mode&modeBits
	}
	if a.Mask&oplog.SetSize == 0 {
		return nil
	}
	if old.Mode&ModeType != ModeFile || o.Size > MaxSize {
		return e.bad("inode %d with mode %#o cannot get %d bytes", op.Ino, old.Mode, o.Size)
	}
	if a.Mask&(oplog.SetMtime|oplog.SetMtimeNow) == 0 {
		o.Mtime = op.Shows()
	}
	if from := blocksOf(o.Size); from < blocksOf(old.Size) && old.Blocks > 0 {
		e.cut(o, from, blocksOf(old.Size))
	}
	return nil
}

// assign gives an object the attributes that the operation sets. Only what
// the mask names is in the log.
func (e *edit) assign(o *held) {
	now, a := e.op.Shows(), &e.op.Attr
	o.Ctime = now
	for _, f := range [...]struct {
		bit oplog.AttrMask
		set func()
	}{
		{oplog.SetMode, func() { o.Mode = a.Mode }},
		{oplog.SetUID, func() { o.UID = a.UID }},
		{oplog.SetGID, func() { o.GID = a.GID }},
		{oplog.SetSize, func() { o.Size = a.Size }},
		{oplog.SetAtime, func() { o.Atime = a.Atime }},
		{oplog.SetMtime, func() { o.Mtime = a.Mtime }},
		{oplog.SetAtimeNow, func() { o.Atime = now }},
		{oplog.SetMtimeNow, func() { o.Mtime = now }},
		{oplog.SetFlags, func() { o.Flags = a.Flags }},
		{oplog.SetRdev, func() { o.Rdev = a.Rdev }},
		{oplog.SetVerifier, func() { o.Verifier = a.Verifier }},
		{oplog.SetBtime, func() { o.Btime = a.Btime }},
	} {
		if a.Mask&f.bit != 0 {
			f.set()
		}
	}
}

// write makes a file as long as the bytes written need. Who is not root takes
// the set-id bits from it.
func (e *edit) write() error {
	op := e.op
	o, err := e.inode(op.Ino)
	if err != nil {
		return err
	}
	if o.Mode&ModeType != ModeFile || op.Off > MaxSize || op.Len > MaxSize-op.Off {
		return e.bad("%d bytes at %d cannot go into inode %d with mode %#o", op.Len, op.Off, op.Ino, o.Mode)
	}
	if op.Len > 0 {
		o.Size = max(o.Size, op.Off+op.Len)
	}
	o.Mtime, o.Ctime = op.Shows(), op.Shows()
	if op.UID != 0 {
		o.Mode &^= setUID
		if o.Mode&groupExecute != 0 {
			o.Mode &^= setGID
		}
	}
	return nil
}

// xattr finds an xattr of the operation's object, and a place for it.
func (e *edit) xattr() (*xattrSpot, error) {
	op := e.op
	o, err := e.inode(op.Ino)
	if err != nil {
		return nil, err
	}
	if !validXattr(op.Name) || len(op.Value) > MaxXattr {
		return nil, e.bad("%q with %d bytes cannot be an extended attribute", op.Name, len(op.Value))
	}
	o.Ctime = op.Shows()
	low := e.xattrs(op.Name)
	e.reads = append(e.reads, span{xattrKey(op.Ino, low), xattrKey(op.Ino, low+slots<<pieceBits)})
	x, err := e.findXattr(e.r, op.Ino, op.Name)
	if err != nil {
		return nil, err
	}
	for i := range x.pieces {
		e.gone = append(e.gone, xattrKey(op.Ino, x.low+i))
	}
	return x, nil
}

func (e *edit) setXattr() error {
	op := e.op
	x, err := e.xattr()
	if err != nil {
		return err
	}
	if x.full(e.xattrs(op.Name)) {
		return errFull(op.Ino, op.Name)
	}
	start := len(e.memory)
	e.memory = append(appendHead(e.memory, op.Name, len(op.Value)), op.Value...)
	e.setPieces(xattrKey(op.Ino, x.low), e.memory[start:])
	return nil
}

func (e *edit) removeXattr() error {
	x, err := e.xattr()
	if err == nil && !x.found {
		return e.bad("inode %d has no extended attribute %q", e.op.Ino, e.op.Name)
	}
	return err
}
