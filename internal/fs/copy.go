package fs

import (
	"context"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
)

// Copied says what a copy made.
type Copied struct {
	Objects uint64 `json:"objects"`
	Bytes   uint64 `json:"bytes"` // of payload
	LSN     uint64 `json:"lsn"`   // of the last operation, for Commit
}

// CopyFrom copies a file, or a tree, which may be of the past or of another
// share, to a new name: by ordinary operations, one after the other, with what
// the caller may read and write. Payload is copied; modes, times, flags,
// extended attributes, holes, and hard links within the tree are kept; owners
// are if the caller is root. What was copied before an error stays. ErrExist,
// ErrInval (a directory into itself), and those of the operations.
func (f *FS) CopyFrom(ctx context.Context, c *Call, src, dir Handle, name string) (Copied, error) {
	x := newCopier(ctx, f, c)
	if src.SnapDir {
		return x.done, ErrInval
	}
	if src.Moment == 0 && src.Dataset == dir.Dataset {
		if err := x.outside(src, dir); err != nil {
			return x.done, err
		}
	}
	_, err := x.copy(src, dir, name, 0)
	return x.done, err
}

// maxLinked bounds the files with several names that a copy remembers.
const maxLinked = 1 << 20

// copyWindow is how much of a file is looked through for holes at a time:
// bytes.
const copyWindow = 64 << 20

// copier copies trees. links has the copies of what has further names to come.
type copier struct {
	ctx   context.Context
	f     *FS
	c     *Call
	links map[uint64]linked
	spans []engine.Span
	buf   []byte
	done  Copied
}

type linked struct {
	copy Handle
	left uint32 // names still to come
}

func newCopier(ctx context.Context, f *FS, c *Call) *copier {
	return &copier{ctx: ctx, f: f, c: c, links: make(map[uint64]linked), buf: make([]byte, engine.MaxWrite)}
}

// outside refuses a copy of a directory into itself or below.
func (x *copier) outside(src, dir Handle) error {
	p, err := x.f.place(dir)
	if err != nil {
		return err
	}
	defer p.close()
	return p.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, src.Ino)
		if err != nil || !i.IsDir() {
			return err
		}
		d, err := inode.Load(r, dir.Ino)
		if err != nil {
			return err
		}
		return p.notBelow(r, dir.Ino, d.Parent, src.Ino)
	})
}

// copy copies an object to a new name and returns the copy.
func (x *copier) copy(src, dir Handle, name string, depth int) (Handle, error) {
	if err := x.ctx.Err(); err != nil {
		return Handle{}, fail.Wrap(fail.Canceled, err, "copying %s", name)
	}
	if depth > maxDepth {
		return Handle{}, errDepth
	}
	a, err := x.f.Getattr(x.c, src)
	if err != nil {
		return Handle{}, err
	}
	if l, ok := x.links[src.Ino]; ok {
		return l.copy, x.link(src.Ino, l, dir, name)
	}
	made, err := x.make(src, &a, dir, name)
	if err != nil {
		return Handle{}, err
	}
	h := made.Handle
	x.done.Objects++
	switch a.Mode & inode.ModeType {
	case inode.ModeDir:
		err = x.below(src, h, depth+1)
	case inode.ModeFile:
		err = x.data(src, h, a.Size)
	}
	if err != nil {
		return h, err
	}
	if err := x.note(src.Ino, &a, h); err != nil {
		return h, err
	}
	return h, x.dress(src, &a, h)
}

// link gives the copy of an object one more name.
func (x *copier) link(ino uint64, l linked, dir Handle, name string) error {
	_, _, lsn, err := x.f.Link(x.c, l.copy, dir, name)
	if err != nil {
		return err
	}
	x.done.LSN = lsn
	if l.left--; l.left == 0 {
		delete(x.links, ino)
	} else {
		x.links[ino] = l
	}
	return nil
}

// note remembers a copy whose original has more names.
func (x *copier) note(ino uint64, a *Attr, copy Handle) error {
	if a.Nlink < 2 || a.Mode&inode.ModeType == inode.ModeDir {
		return nil
	}
	if len(x.links) >= maxLinked {
		return fail.New(fail.TooBig, "more than %d files have further names", maxLinked).WithHint("copy parts of the tree")
	}
	x.links[ino] = linked{copy, a.Nlink - 1}
	return nil
}

// make makes an object like the original, so far for its maker alone.
func (x *copier) make(src Handle, a *Attr, dir Handle, name string) (made Made, err error) {
	private := uint32(0o700)
	set := SetAttr{Mode: &private}
	switch a.Mode & inode.ModeType {
	case inode.ModeDir:
		made, err = x.f.Mkdir(x.c, dir, name, set)
	case inode.ModeFile:
		made, err = x.f.Create(x.c, dir, name, set, true, nil)
	case inode.ModeLink:
		var target string
		if target, _, err = x.f.Readlink(x.c, src); err == nil {
			made, err = x.f.Symlink(x.c, dir, name, target, set)
		}
	default:
		made, err = x.f.Mknod(x.c, dir, name, a.Mode, a.Rdev, set)
	}
	if err == nil {
		x.done.LSN = made.LSN
	}
	return made, err
}

// below copies what is in a directory.
func (x *copier) below(src, dst Handle, depth int) error {
	return x.f.each(x.c, src, func(e *Dirent) error {
		_, err := x.copy(e.Handle, dst, e.Name, depth)
		if CodeOf(err) == CodeStale && src.Moment == 0 {
			return nil // it went meanwhile
		}
		return err
	})
}

// each calls fn for the names in a directory, but "." and "..". Names that come
// meanwhile may be left out.
func (f *FS) each(c *Call, dir Handle, fn func(e *Dirent) error) error {
	var ents []Dirent
	for after := uint64(cookieParent); ; {
		var eof bool
		var err error
		if ents, eof, _, err = f.Readdir(c, dir, after, readdirBatch, false, ents[:0]); err != nil {
			return err
		}
		for i := range ents {
			if err := fn(&ents[i]); err != nil {
				return err
			}
			after = ents[i].Cookie
		}
		if eof {
			return nil
		}
	}
}

// data copies a file's payload, and its length.
func (x *copier) data(src, dst Handle, size uint64) error {
	for off := uint64(0); off < size; off += copyWindow {
		n := min(copyWindow, size-off)
		x.spans = x.spans[:0]
		if err := x.f.Map(x.c, src, off, n, func(s engine.Span) bool {
			x.spans = append(x.spans, s)
			return true
		}); err != nil {
			return err
		}
		at := off
		for _, s := range x.spans {
			if !s.Hole {
				if err := x.span(src, dst, at, s.Len); err != nil {
					return err
				}
			}
			at += s.Len
		}
	}
	return x.resize(dst, size)
}

func (x *copier) span(src, dst Handle, off, n uint64) error {
	for n > 0 {
		if err := x.ctx.Err(); err != nil {
			return fail.Wrap(fail.Canceled, err, "copying")
		}
		p := x.buf[:min(n, uint64(len(x.buf)))]
		k, _, _, err := x.f.Read(x.c, src, p, off)
		if err != nil || k == 0 {
			return err
		}
		if err := x.write(dst, p[:k], off); err != nil {
			return err
		}
		off, n = off+uint64(k), n-uint64(k)
	}
	return nil
}

func (x *copier) write(dst Handle, p []byte, off uint64) error {
	_, lsn, err := x.f.Write(x.c, dst, p, off)
	if err != nil {
		return err
	}
	x.done.LSN = lsn
	x.done.Bytes += uint64(len(p))
	return nil
}

func (x *copier) resize(h Handle, size uint64) error {
	a, err := x.f.Getattr(x.c, h)
	if err != nil || a.Size == size {
		return err
	}
	return x.set(h, SetAttr{Size: &size})
}

func (x *copier) set(h Handle, set SetAttr) error {
	_, lsn, err := x.f.Setattr(x.c, h, set)
	if err == nil && lsn > 0 {
		x.done.LSN = lsn
	}
	return err
}

// dress gives a copy the attributes of the original.
func (x *copier) dress(src Handle, a *Attr, h Handle) error {
	if err := x.xattrs(src, h); err != nil {
		return err
	}
	have, err := x.f.Getattr(x.c, h)
	if err != nil {
		return err
	}
	if x.c.Cred.UID == 0 && (have.UID != a.UID || have.GID != a.GID) {
		if err := x.set(h, SetAttr{UID: &a.UID, GID: &a.GID}); err != nil {
			return err
		}
		have.UID, have.GID = a.UID, a.GID
	}
	perm := a.Mode & permMask
	if have.UID != a.UID || have.GID != a.GID {
		perm &^= modeSetuid | modeSetgid // they would be another's
	}
	return x.set(h, SetAttr{Mode: &perm, Atime: &a.Atime, Mtime: &a.Mtime, Flags: &a.Flags})
}

// xattrs makes the extended attributes of h those of src. What the caller may
// not read or set is left out, unless it is root.
func (x *copier) xattrs(src, h Handle) error {
	want, err := x.values(src)
	if err != nil {
		return err
	}
	have, err := x.values(h)
	if err != nil {
		return err
	}
	for name, v := range want {
		if old, ok := have[name]; ok && old == v {
			continue
		}
		lsn, err := x.f.SetXattr(x.c, h, name, []byte(v), XattrSet)
		if err != nil {
			return err
		}
		x.done.LSN = lsn
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			lsn, err := x.f.RemoveXattr(x.c, h, name)
			if err != nil {
				return err
			}
			x.done.LSN = lsn
		}
	}
	return nil
}

// values reads the extended attributes of h that the caller could set too.
func (x *copier) values(h Handle) (map[string]string, error) {
	names, err := x.f.Xattrs(x.c, h)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	all := make(map[string]string, len(names))
	for _, name := range names {
		if x.c.Cred.UID != 0 && !isUserXattr(name) {
			continue
		}
		v, err := x.f.Xattr(x.c, h, name)
		switch CodeOf(err) {
		case CodeNone:
			all[name] = string(v)
		case CodeAccess, CodeNoData:
		default:
			return nil, err
		}
	}
	return all, nil
}
