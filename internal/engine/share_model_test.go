package engine_test

import (
	"cmp"
	"maps"
	"slices"

	"varve/internal/inode"
	"varve/internal/oplog"
)

// The plain model of a share: what each operation on files leaves, told with
// maps.

// object is one inode in the model. It never changes once its world is made.
type object struct {
	mode, links, uid, gid, flags uint32
	rdev, size, verifier, parent uint64
	atime, mtime, ctime, btime   instant
	blocks                       map[uint64]*[block]byte // of a file
	names                        map[string]entry        // of a directory
	target                       string
	xattrs                       map[string]string
}

// instant is the time of an operation, by its lsn, or one that a client chose.
type instant struct {
	lsn uint64
	ns  int64
}

// entry is a name in the model.
type entry struct {
	ino    uint64
	cookie uint64 // 0: nobody has looked
}

func (o *object) kind() uint32 { return o.mode & inode.ModeType }
func (o *object) isDir() bool  { return o.kind() == inode.ModeDir }
func (o *object) isFile() bool { return o.kind() == inode.ModeFile }

// emptyShare is the root directory that operation lsn makes.
func emptyShare(mode, uid, gid uint32, lsn uint64) map[uint64]*object {
	now := instant{lsn: lsn}
	return map[uint64]*object{inode.Root: {
		mode: inode.ModeDir | mode, links: 2, uid: uid, gid: gid, parent: inode.Root,
		atime: now, mtime: now, ctime: now, btime: now,
	}}
}

// editor changes a copy of a share's files.
type editor struct {
	files map[uint64]*object
	op    *oplog.Op
	now   instant
	large bool // a file of many blocks became shorter, or lost its last name
}

// after returns the share as op, which becomes operation lsn, leaves it. p is
// what a write carries.
func (d *disk) after(op *oplog.Op, lsn uint64, p []byte) *disk {
	n := *d
	e := editor{files: maps.Clone(d.files), op: op, now: instant{lsn: lsn}}
	n.files = e.files
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		e.create()
		n.next = op.Ino + 1
	case oplog.Link:
		e.at(op.Ino).links++
		e.enter(op.Dir, op.Name, op.Ino, 0)
	case oplog.Remove, oplog.Rmdir:
		e.leave(op.Dir, op.Name)
		e.unlink(op.Ino)
	case oplog.Move:
		e.move()
	case oplog.Setattr:
		e.setattr()
	case oplog.SetXattr, oplog.RemoveXattr:
		e.setXattr()
	case oplog.WriteFile:
		e.write(p)
	}
	n.large = d.large || e.large
	return &n
}

// at returns an object to change.
func (e *editor) at(ino uint64) *object {
	o := *e.files[ino]
	e.files[ino] = &o
	return &o
}

func (e *editor) create() {
	a := &e.op.Attr
	o := &object{links: 1, atime: e.now, mtime: e.now, ctime: e.now, btime: e.now}
	switch e.op.Kind {
	case oplog.Mkdir:
		o.links = 2
	case oplog.Symlink:
		o.target, o.size = e.op.Value, uint64(len(e.op.Value))
	}
	e.files[e.op.Ino] = o
	o.mode = a.Mode
	e.assign(o)
	e.enter(e.op.Dir, e.op.Name, e.op.Ino, 0)
}

// assign sets what the operation sets, but for the type.
func (e *editor) assign(o *object) {
	a := &e.op.Attr
	has := func(bit oplog.AttrMask) bool { return a.Mask&bit != 0 }
	o.ctime = e.now
	if has(oplog.SetMode) {
		o.mode = o.mode&inode.ModeType | a.Mode&^inode.ModeType
	}
	set(has(oplog.SetUID), &o.uid, a.UID)
	set(has(oplog.SetGID), &o.gid, a.GID)
	set(has(oplog.SetFlags), &o.flags, a.Flags)
	set(has(oplog.SetSize), &o.size, a.Size)
	set(has(oplog.SetRdev), &o.rdev, a.Rdev)
	set(has(oplog.SetVerifier), &o.verifier, a.Verifier)
	set(has(oplog.SetAtime), &o.atime, instant{ns: a.Atime})
	set(has(oplog.SetMtime), &o.mtime, instant{ns: a.Mtime})
	set(has(oplog.SetAtimeNow), &o.atime, e.now)
	set(has(oplog.SetMtimeNow), &o.mtime, e.now)
	set(has(oplog.SetBtime), &o.btime, instant{ns: a.Btime})
}

func set[T any](really bool, to *T, v T) {
	if really {
		*to = v
	}
}

// touch returns a directory whose names change.
func (e *editor) touch(dir uint64) *object {
	d := e.at(dir)
	d.names = maps.Clone(d.names)
	if d.names == nil {
		d.names = map[string]entry{}
	}
	d.mtime, d.ctime = e.now, e.now
	return d
}

func (e *editor) enter(dir uint64, name string, ino, cookie uint64) {
	d := e.touch(dir)
	d.names[name] = entry{ino, cookie}
	o := e.at(ino)
	if o.isDir() {
		d.links++
	}
	o.parent, o.ctime = dir, e.now
}

func (e *editor) leave(dir uint64, name string) {
	d := e.touch(dir)
	if e.files[d.names[name].ino].isDir() {
		d.links--
	}
	delete(d.names, name)
}

// unlink takes one name from what a name led to.
func (e *editor) unlink(ino uint64) {
	o := e.at(ino)
	if !o.isDir() && o.links > 1 {
		o.links--
		o.ctime = e.now
		return
	}
	delete(e.files, ino)
	e.large = e.large || len(o.blocks) >= largeFile
}

func (e *editor) move() {
	op := e.op
	if op.Ino == op.Ino2 || op.Dir == op.Dir2 && op.Name == op.Name2 {
		return // POSIX: both names stay
	}
	e.leave(op.Dir, op.Name)
	cookie := uint64(0)
	if op.Ino2 != 0 {
		cookie = e.files[op.Dir2].names[op.Name2].cookie
		e.leave(op.Dir2, op.Name2)
		e.unlink(op.Ino2)
	}
	e.enter(op.Dir2, op.Name2, op.Ino, cookie)
}

func (e *editor) setattr() {
	a, o := &e.op.Attr, e.at(e.op.Ino)
	e.large = a.Mask&oplog.SetSize != 0 && a.Size < o.size && len(o.blocks) >= largeFile
	e.assign(o)
	if a.Mask&oplog.SetSize == 0 {
		return
	}
	if a.Mask&(oplog.SetMtime|oplog.SetMtimeNow) == 0 {
		o.mtime = e.now
	}
	kept := map[uint64]*[block]byte{}
	for b, data := range o.blocks {
		switch {
		case b*block >= a.Size:
			continue
		case (b+1)*block > a.Size:
			part := *data
			clear(part[a.Size%block:])
			data = &part
		}
		kept[b] = data
	}
	o.blocks = kept
}

func (e *editor) setXattr() {
	o := e.at(e.op.Ino)
	o.xattrs = maps.Clone(o.xattrs)
	if o.xattrs == nil {
		o.xattrs = map[string]string{}
	}
	o.xattrs[e.op.Name] = e.op.Value
	if e.op.Kind == oplog.RemoveXattr {
		delete(o.xattrs, e.op.Name)
	}
	o.ctime = e.now
}

func (e *editor) write(p []byte) {
	o := e.at(e.op.Ino)
	o.blocks = overwritten(o.blocks, p, e.op.Off)
	o.size = max(o.size, e.op.Off+uint64(len(p)))
	o.mtime, o.ctime = e.now, e.now
	if e.op.UID != 0 {
		o.mode &^= 0o4000
		if o.mode&0o010 != 0 {
			o.mode &^= 0o2000
		}
	}
}

// dirent is a name and where it is.
type dirent struct {
	dir  uint64
	name string
	ino  uint64
}

// places returns the names that lead to objects which fit, in an order that
// does not depend on chance.
func (d *disk) places(fits func(*object) bool) (out []dirent) {
	for dir, o := range d.files {
		for name, e := range o.names {
			if fits(d.files[e.ino]) {
				out = append(out, dirent{dir, name, e.ino})
			}
		}
	}
	slices.SortFunc(out, func(a, b dirent) int {
		return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.name, b.name))
	})
	return out
}

// inos returns the objects that fit, in order.
func (d *disk) inos(fits func(*object) bool) (out []uint64) {
	for ino, o := range d.files {
		if fits(o) {
			out = append(out, ino)
		}
	}
	slices.Sort(out)
	return out
}

// within reports whether directory dir is ino, or below it.
func (d *disk) within(dir, ino uint64) bool {
	for dir != ino && dir != inode.Root {
		dir = d.files[dir].parent
	}
	return dir == ino
}

// mapped returns how many blocks of a dataset have payload.
func (d *disk) mapped() int {
	n := len(d.blocks)
	for _, o := range d.files {
		n += len(o.blocks)
	}
	return n
}
