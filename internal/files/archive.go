package files

import (
	"context"
	"io"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/restore"
)

// RestoreArchive does with an archive of dump(8) what o says, in a directory of the
// present of a share. o.Root is not looked at. Each object changes at once, the whole
// does not. What was done is durable, and an error too.
func (f *Files) RestoreArchive(ctx context.Context, c engine.Caller, share, path string, v restore.Volumes, o restore.Options) (restore.Result, error) {
	info, err := f.share(share)
	if err != nil {
		return restore.Result{}, err
	}
	names, err := split(path)
	if err != nil {
		return restore.Result{}, err
	}
	call := &fs.Call{Client: &oplog.Client{Name: c.Proto + " " + c.Addr}}
	k := &copier{ctx: ctx, f: f, call: call, share: info}
	p, err := k.walk(names)
	switch {
	case err != nil:
		return restore.Result{}, err
	case !p.isDir():
		return restore.Result{}, fail.New(fail.Invalid, "%s of %s is no directory", path, share)
	}
	t := &archiveTree{f: f, call: call}
	o.Root = &archiveDir{t, p.handle}
	r, err := restore.Run(ctx, v, o)
	if ferr := f.e.Flush(); err == nil {
		err = ferr
	}
	r.LSN = t.lsn
	return r, err
}

// archiveTree is a tree of a share in which an archive is restored.
type archiveTree struct {
	f    *Files
	call *fs.Call
	lsn  uint64
}

// did notes an operation, and gives its error a kind that package restore knows.
func (t *archiveTree) did(lsn uint64, err error) error {
	t.lsn = max(t.lsn, lsn)
	if fs.CodeOf(err) == fs.CodeNotEmpty {
		return fail.Wrap(fail.Exists, err, "")
	}
	return err
}

// archiveDir is a directory of it: a restore.Dir.
type archiveDir struct {
	*archiveTree
	h fs.Handle
}

// Close implements restore.Dir, as the others do.
func (d *archiveDir) Close() error { return nil }

func (d *archiveDir) Sync() error { return d.f.e.Flush() }

// lookup finds a name, or with "" the directory itself. The past is no part of a
// tree.
func (d *archiveDir) lookup(name string) (fs.Handle, fs.Attr, error) {
	switch name {
	case "":
		a, err := d.f.fs.Getattr(d.call, d.h)
		return d.h, a, err
	case fs.SnapshotDir, ".", "..":
		return fs.Handle{}, fs.Attr{}, fail.New(fail.Invalid, "%s cannot be a name in a share", name)
	}
	h, a, _, err := d.f.fs.Lookup(d.call, d.h, name)
	return h, a, err
}

func (d *archiveDir) Open(name string) (restore.Dir, error) {
	h, a, err := d.lookup(name)
	switch {
	case err != nil:
		return nil, err
	case a.Mode&inode.ModeType != inode.ModeDir:
		return nil, fail.New(fail.Invalid, "%s is no directory", Text(name))
	}
	return &archiveDir{d.archiveTree, h}, nil
}

func (d *archiveDir) Stat(name string) (restore.Stat, error) {
	_, a, err := d.lookup(name)
	return restore.Stat{
		Mode: a.Mode, UID: a.UID, GID: a.GID, Size: a.Size, Mtime: dump.TimeOf(a.Mtime),
		Major: uint32(a.Rdev >> 32), Minor: uint32(a.Rdev), ID: [2]uint64{a.FSID, a.FileID},
	}, err
}

// bareAttr is what something has that is not yet whole: only root may look at it.
func bareAttr(mode uint32) fs.SetAttr {
	root := uint32(0)
	return fs.SetAttr{Mode: &mode, UID: &root, GID: &root}
}

func (d *archiveDir) Mkdir(name string) error {
	m, err := d.f.fs.Mkdir(d.call, d.h, name, bareAttr(0o700))
	return d.did(m.LSN, err)
}

func (d *archiveDir) Symlink(target, name string) error {
	m, err := d.f.fs.Symlink(d.call, d.h, name, target, bareAttr(0o600))
	return d.did(m.LSN, err)
}

func (d *archiveDir) Mknod(name string, mode, major, minor uint32) error {
	m, err := d.f.fs.Mknod(d.call, d.h, name, mode&inode.ModeType, uint64(major)<<32|uint64(minor), bareAttr(0o600))
	return d.did(m.LSN, err)
}

func (d *archiveDir) Link(from restore.Dir, fromName, name string) error {
	h, _, err := from.(*archiveDir).lookup(fromName)
	if err != nil {
		return err
	}
	_, _, lsn, err := d.f.fs.Link(d.call, h, d.h, name)
	return d.did(lsn, err)
}

func (d *archiveDir) Rename(name string, to restore.Dir, toName string) error {
	_, _, lsn, err := d.f.fs.Rename(d.call, d.h, name, to.(*archiveDir).h, toName)
	return d.did(lsn, err)
}

func (d *archiveDir) Remove(name string) error {
	_, lsn, err := d.f.fs.Remove(d.call, d.h, name)
	return d.did(lsn, err)
}

func (d *archiveDir) Rmdir(name string) error {
	_, lsn, err := d.f.fs.Rmdir(d.call, d.h, name)
	return d.did(lsn, err)
}

func (d *archiveDir) Create(name string) (restore.File, error) {
	m, err := d.f.fs.Create(d.call, d.h, name, bareAttr(0o600), true, nil)
	return &archiveFile{d.archiveTree, m.Handle}, d.did(m.LSN, err)
}

func (d *archiveDir) Dress(name string, a *restore.Attr) ([]string, error) {
	h, _, err := d.lookup(name)
	if err != nil {
		return nil, err
	}
	return d.dress(h, a)
}

func (d *archiveDir) Readlink(name string) (string, error) {
	h, _, err := d.lookup(name)
	if err != nil {
		return "", err
	}
	target, _, err := d.f.fs.Readlink(d.call, h)
	return target, err
}

func (d *archiveDir) Read(name string) (io.ReadCloser, error) {
	h, a, err := d.lookup(name)
	switch {
	case err != nil:
		return nil, err
	case a.Mode&inode.ModeType != inode.ModeFile:
		return nil, fail.New(fail.Invalid, "%s is no file", Text(name))
	}
	return &archiveReader{d.archiveTree, h, 0}, nil
}

// Xattrs returns those of an object, all of them.
func (d *archiveDir) Xattrs(name string) ([]dump.Xattr, error) {
	h, _, err := d.lookup(name)
	if err != nil {
		return nil, err
	}
	return d.xattrs(h)
}

func (t *archiveTree) xattrs(h fs.Handle) ([]dump.Xattr, error) {
	names, err := t.f.fs.Xattrs(t.call, h)
	var list []dump.Xattr
	for _, n := range names {
		value, err := t.f.fs.Xattr(t.call, h, n)
		if err != nil {
			return nil, err
		}
		list = append(list, dump.Xattr{Name: n, Value: value})
	}
	return list, err
}

// archiveReader reads a file from its beginning.
type archiveReader struct {
	*archiveTree
	h   fs.Handle
	off uint64
}

func (r *archiveReader) Read(p []byte) (int, error) {
	n, eof, _, err := r.f.fs.Read(r.call, r.h, p, r.off)
	r.off += uint64(n)
	if err == nil && n == 0 && eof {
		err = io.EOF
	}
	return n, err
}

func (r *archiveReader) Close() error { return nil }
