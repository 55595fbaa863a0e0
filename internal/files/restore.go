package files

import (
	"bytes"
	"context"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/when"
)

// Restore makes a path what it was at a moment, with all that is below it: what
// is the same stays as it is, what differs is replaced, what was not there
// goes. A guard snapshot, which the answer names, keeps what there was before.
// Each file changes at once, the whole does not; the path "/" is a rollback of
// the share, which does. NotFound if there was nothing at that path, or if the
// directory that it was in is gone.
func (f *Files) Restore(ctx context.Context, c engine.Caller, share, path string, w when.Spec, tell func(Progress)) (out Copied, err error) {
	names, err := split(path)
	if err != nil {
		return out, err
	}
	out.Path = Text(join(names))
	src, view, err := f.view(ctx, share, w)
	if err != nil {
		return out, err
	}
	defer src.close()
	out.Moment = src.moment
	if len(names) == 0 {
		d, err := f.e.Rollback(c, share, when.Spec{Kind: when.LSN, LSN: src.moment.LSN}, false)
		out.LSN, out.Guard = d.LSN, d.Guard
		return out, err
	}
	ino, i, err := src.find(path)
	if err != nil {
		return out, err
	}
	k, err := f.copier(ctx, c, src, view, share, tell)
	if err != nil {
		return out, err
	}
	dir, err := k.walk(names[:len(names)-1])
	if fail.Is(err, fail.NotFound) {
		err = fail.Wrap(fail.NotFound, err, "the directory of %s is gone", out.Path).WithHint("roll that back, or copy with varve cp")
	}
	if err != nil {
		return out, err
	}
	guard, err := f.e.Guard(c, share)
	if out.Guard = guard.Guard; err != nil {
		return out, err
	}
	err = k.restore(dir.handle, names[len(names)-1], ino, i)
	out.Progress, out.LSN = k.done, k.lsn
	if err != nil {
		return out, fail.Wrap(fail.Other, err, "restoring %s", out.Path).
			WithHint("a part of it may be restored; %s@%s is what it was before", share, out.Guard)
	}
	return out, f.e.Flush()
}

// restore makes a name what it was: an inode of the source.
func (k *copier) restore(dir fs.Handle, name string, ino uint64, i inode.Inode) error {
	there, taken, err := k.lookup(dir, name)
	switch {
	case err != nil:
		return err
	case !taken:
		_, err := k.make(dir, name, ino, i)
		return err
	case there.attr.Mode&inode.ModeType != i.Mode&inode.ModeType || i.IsDir() && there.handle.Ino != ino:
		if err := k.remove(dir, name, there); err != nil {
			return err
		}
		_, err := k.make(dir, name, ino, i)
		return err
	case i.IsDir():
		return k.restoreDir(there, ino, i)
	}
	same, err := k.same(there, ino, i)
	switch {
	case err != nil:
		return err
	case same:
		if i.Nlink > 1 {
			k.links[ino] = there.handle // names of it that are gone come back as such
		}
		return nil
	}
	return k.replace(dir, name, ino, i)
}

// restoreDir makes a directory what it was: first what was not there goes, then
// the rest comes, then it looks as it did.
func (k *copier) restoreDir(there place, ino uint64, i inode.Inode) error {
	if err := k.each(there.handle, func(e fs.Dirent) error { return k.unlessThere(there.handle, ino, e) }); err != nil {
		return err
	}
	err := k.children(ino, func(e inode.Entry, i inode.Inode) error { return k.restore(there.handle, e.Name, e.Ino, i) })
	if err != nil {
		return err
	}
	return k.dress(there.handle, ino, i)
}

// unlessThere removes what a directory of the source does not have.
func (k *copier) unlessThere(dir fs.Handle, was uint64, e fs.Dirent) error {
	found := false
	err := k.src.Look(func(r inode.Reader) (err error) {
		_, found, err = inode.Lookup(r, k.src.Seed(), was, e.Name)
		return err
	})
	if err != nil || found {
		return err
	}
	return k.remove(dir, e.Name, place{handle: e.Handle, attr: e.Attr})
}

// each visits what is in a directory of the present.
func (k *copier) each(dir fs.Handle, fn func(fs.Dirent) error) error {
	if err := k.enter(); err != nil {
		return err
	}
	defer k.leave()
	after := uint64(0)
	for {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		ents, eof, _, err := k.f.fs.Readdir(k.call, dir, after, listChunk, true, nil)
		if err != nil {
			return err
		}
		for _, e := range ents {
			after = e.Cookie
			if e.Name == "." || e.Name == ".." || e.Attr.Mode == 0 {
				continue
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if eof {
			return nil
		}
	}
}

// remove removes a name, and of a directory what is below it.
func (k *copier) remove(dir fs.Handle, name string, p place) error {
	if !p.isDir() {
		_, lsn, err := k.f.fs.Remove(k.call, dir, name)
		if err == nil {
			k.done.Removed++
		}
		return k.did(lsn, err)
	}
	err := k.each(p.handle, func(e fs.Dirent) error { return k.remove(p.handle, e.Name, place{handle: e.Handle, attr: e.Attr}) })
	if err != nil {
		return err
	}
	_, lsn, err := k.f.fs.Rmdir(k.call, dir, name)
	if err == nil {
		k.done.Removed++
		k.tell(k.done)
	}
	return k.did(lsn, err)
}

// same makes an object of the present what an inode of the source is, if that
// takes no more than its attributes, and reports whether it is the same then.
func (k *copier) same(there place, ino uint64, i inode.Inode) (bool, error) {
	a := there.attr
	if there.handle.Ino != ino || a.Size != i.Size {
		return false, nil
	}
	if a.Ctime == i.Ctime { // nothing changes an inode and leaves its ctime
		return true, nil
	}
	if i.Mode&inode.ModeType == inode.ModeFile {
		if same, err := k.sameBytes(there.handle, ino, i.Size); !same {
			return false, err
		}
	}
	return true, k.dress(there.handle, ino, i)
}

// sameBytes compares a file of the present with one of the source.
func (k *copier) sameBytes(there fs.Handle, ino, size uint64) (bool, error) {
	now := make([]byte, readSize)
	for off := uint64(0); off < size; {
		if err := k.ctx.Err(); err != nil {
			return false, err
		}
		n, _, _, err := k.f.fs.Read(k.call, there, now, off)
		if err != nil || n == 0 {
			return false, err
		}
		if err := k.view.ReadFile(ino, k.buf[:n], off); err != nil {
			return false, err
		}
		if !bytes.Equal(now[:n], k.buf[:n]) {
			return false, nil
		}
		off += uint64(n)
	}
	return true, nil
}
