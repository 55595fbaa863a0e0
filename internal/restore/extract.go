package restore

import (
	"crypto/rand"
	"errors"
	"io"
	"slices"

	"varve/internal/dump"
	"varve/internal/fail"
)

// maxTarget is the longest target of a symbolic link: bytes.
const maxTarget = 4095

// extract makes what is wanted. What is in the way of a file is replaced, each at
// once; directories that are there stay. The attributes of the root are not set.
func (r *restorer) extract() error {
	r.cache()
	made, err := r.makeDirs()
	if err != nil {
		return err
	}
	if err := r.files(r.restore); err != nil {
		return err
	}
	err = r.dressDirs(r.names.down, func(d int) bool {
		_, itself := r.wanted.wantsDir(d)
		return itself && r.names.dirs[d].up != uint32(d) || made[d]
	})
	if err != nil || r.Root == nil {
		return err
	}
	return r.Root.Sync()
}

// cache opens directories of the tree as it is to be.
func (r *restorer) cache() {
	r.dirs = newDirCache(r.Root, func(dir int) (int, string, error) {
		d := r.names.dirs[dir]
		if d.up == uint32(dir) {
			return dir, "", nil
		}
		e, _, err := r.names.entry(d.at)
		return int(d.up), e.name, err
	})
}

// readError is an error of reading the archive, which is no matter of one object.
type readError struct{ error }

// Unwrap returns the error itself.
func (e *readError) Unwrap() error { return e.error }

// data is Archive.Data, whose errors end the work.
func (r *restorer) data(fn func(off uint64, p []byte) error) ([]Range, error) {
	gone, err := r.a.Data(fn)
	if err != nil {
		err = &readError{err}
	}
	return gone, err
}

// xattrs is Archive.Xattrs, whose errors end the work.
func (r *restorer) xattrs() ([]dump.Xattr, []string, error) {
	list, lost, err := r.a.Xattrs()
	if err != nil {
		err = &readError{err}
	}
	return list, lost, err
}

// fatal reports whether an error is no matter of one object.
func fatal(err error) bool {
	var read *readError
	if errors.As(err, &read) {
		return true
	}
	switch fail.KindOf(err) {
	case fail.Denied, fail.Exists, fail.Invalid, fail.NotFound, fail.Unsupported, fail.TooBig, fail.Busy, fail.Stale:
		return false
	}
	return true
}

// within calls fn with the directory of a name, open.
func (r *restorer) within(dir int, fn func(d Dir) error) error {
	return r.dirs.with(dir, fn)
}

// makeDirs makes the directories that are needed, parents first, and returns which
// were not there.
func (r *restorer) makeDirs() ([]bool, error) {
	made := make([]bool, len(r.names.dirs))
	if r.Root == nil {
		return made, nil
	}
	for _, d := range r.names.down {
		if needed, _ := r.wanted.wantsDir(int(d)); !needed || r.names.dirs[d].up == d {
			continue
		}
		fresh, err := r.makeDir(int(d))
		if err != nil {
			return nil, err
		}
		made[d] = fresh
	}
	return made, nil
}

// makeDir makes a directory, unless it is there.
func (r *restorer) makeDir(d int) (fresh bool, err error) {
	rec := r.names.dirs[d]
	e, _, err := r.names.entry(rec.at)
	if err != nil {
		return false, err
	}
	err = r.within(int(rec.up), func(up Dir) error {
		err := up.Mkdir(e.name)
		fresh = err == nil
		if !fail.Is(err, fail.Exists) {
			return err
		}
		s, err := up.Stat(e.name)
		if err == nil && s.Mode&dump.ModeType != dump.ModeDir {
			err = fail.New(fail.Exists, "there is something else already, which is no directory")
		}
		return err
	})
	if err != nil && !fatal(err) {
		return false, r.lose(rec.ino, []string{show(r.names.path(d, ""))}, nil, "the directory and what is in it: %v", err)
	}
	return fresh, err
}

// files visits everything that is no directory, and tells what did not come.
func (r *restorer) files(do func(o *Object, at []link) error) error {
	for o := r.next; o != nil; {
		if o.Type == dump.ModeDir {
			if err := r.a.hurt(r.a.s.offset(), "directory %d comes after files, where no directory can be; it is left out", o.Ino); err != nil {
				return err
			}
		} else if err := r.file(o, do); err != nil {
			return err
		}
		var err error
		if o, err = r.a.Next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return r.missing()
}

func (r *restorer) file(o *Object, do func(o *Object, at []link) error) error {
	at, err := r.links(o.Ino)
	switch {
	case err != nil:
		return err
	case len(at) > 0:
		return do(o, at)
	}
	if all, err := r.names.links(o.Ino); err != nil || r.wanted.some && len(all) > 0 {
		return err
	}
	return r.lose(o.Ino, nil, nil, "inode %d, which no name leads to", o.Ino)
}

// restore makes an object under all its names.
func (r *restorer) restore(o *Object, at []link) error {
	lost, err := r.make(o, at)
	if err != nil && fatal(err) {
		return err
	}
	if err != nil {
		return r.lose(o.Ino, r.paths(at), nil, "%v", err)
	}
	for _, what := range lost {
		if err := r.lose(o.Ino, r.paths(at), nil, "%s", what); err != nil {
			return err
		}
	}
	for _, l := range at[1:] {
		if r.Root == nil {
			break
		}
		err := r.link(at[0], l)
		if err != nil && fatal(err) {
			return err
		}
		if err != nil {
			if err := r.lose(o.Ino, r.paths([]link{l}), nil, "%v", err); err != nil {
				return err
			}
		}
	}
	return r.told(o.Ino, at[0].dir, at[0].name)
}

// make makes an object under its first name, and returns what is lost of it.
func (r *restorer) make(o *Object, at []link) ([]string, error) {
	if r.Root == nil {
		return r.readOnly(o, at)
	}
	var lost []string
	err := r.within(at[0].dir, func(d Dir) (err error) {
		switch {
		case o.MetaOnly():
			lost, err = r.metaOnly(o, d, at[0].name)
		case o.Type == dump.ModeFile:
			lost, err = r.makeFile(o, d, at)
		default:
			lost, err = r.makeOther(o, d, at[0])
		}
		return err
	})
	return lost, err
}

func (r *restorer) rootDir() int {
	i, _ := r.names.dir(dump.RootIno)
	return i
}

// free returns a name under which something can be made: the one that is wanted if
// nothing has it, else another, to be renamed.
func free(d Dir, name string) (string, error) {
	s, err := d.Stat(name)
	switch {
	case fail.Is(err, fail.NotFound):
		return name, nil
	case err != nil:
		return "", err
	case s.Mode&dump.ModeType == dump.ModeDir:
		return "", fail.New(fail.Exists, "a directory is there already, and what the archive has is none")
	}
	return tempName + rand.Text(), nil
}

// tempName begins the names of what replaces something else once it is whole.
const tempName = ".varve-"

// settle gives what was made under another name its own.
func settle(d Dir, made, name string) error {
	if made == name {
		return nil
	}
	err := d.Rename(made, d, name)
	if err != nil {
		d.Remove(made)
	}
	return err
}

func (r *restorer) makeFile(o *Object, d Dir, at []link) (lost []string, err error) {
	name, err := free(d, at[0].name)
	if err != nil {
		return nil, err
	}
	f, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	lost, err = r.fill(f, o, at)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		r.discard(o.Ino, d, at[0].dir, name)
		return nil, err
	}
	return lost, settle(d, name, at[0].name)
}

// discard removes what was made in part, whatever went wrong, or tells that it stays.
func (r *restorer) discard(ino uint32, d Dir, dir int, name string) {
	if err := d.Remove(name); err != nil && !fail.Is(err, fail.NotFound) {
		r.lose(ino, []string{show(r.names.path(dir, name))}, nil, "it is there in part, and cannot be removed: %v", err)
	}
}

// fill gives a new file its data and everything else.
func (r *restorer) fill(f File, o *Object, at []link) ([]string, error) {
	var failed error
	end := uint64(0)
	gone, err := r.data(func(off uint64, p []byte) error {
		if failed == nil {
			_, failed = f.WriteAt(p, int64(off))
		}
		if failed != nil && fatal(failed) {
			return failed
		}
		end = off + uint64(len(p))
		r.out.Bytes += uint64(len(p))
		return r.progress()
	})
	if err != nil {
		return nil, err
	}
	xattrs, lost, err := r.xattrs()
	if err != nil {
		return nil, err
	}
	if failed == nil && end != o.Size {
		failed = f.Truncate(int64(o.Size))
	}
	if failed != nil {
		return nil, failed
	}
	if len(gone) > 0 {
		if err := r.lose(o.Ino, r.paths(at), gone, "data of the file"); err != nil {
			return nil, err
		}
	}
	more, err := f.Dress(o.attr(xattrs))
	return append(lost, more...), err
}

// target reads the target of a symbolic link.
func (r *restorer) target(o *Object) (string, error) {
	var b []byte
	gone, err := r.data(func(off uint64, p []byte) error {
		if len(b)+len(p) <= maxTarget && off == uint64(len(b)) {
			b = append(b, p...)
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case len(gone) > 0:
		return "", fail.New(fail.Invalid, "the target of the symbolic link is damaged in the archive")
	case uint64(len(b)) != o.Size || len(b) == 0 || slices.Contains(b, 0):
		return "", fail.New(fail.Invalid, "the target of the symbolic link has %d bytes, or NUL in it, and cannot be one", o.Size)
	}
	return string(b), nil
}

// makeOther makes what has no data: symbolic links, devices, FIFOs, sockets.
func (r *restorer) makeOther(o *Object, d Dir, at link) ([]string, error) {
	var target string
	var err error
	switch o.Type {
	case dump.ModeLink:
		target, err = r.target(o)
	case dump.ModeChar, dump.ModeBlock, dump.ModeFIFO, dump.ModeSocket:
	default:
		return nil, fail.New(fail.Unsupported, "inode %d has the unknown type %o", o.Ino, o.Type)
	}
	if err != nil {
		return nil, err
	}
	if o.Type != dump.ModeLink {
		if _, err := r.data(func(uint64, []byte) error { return nil }); err != nil {
			return nil, err
		}
	}
	xattrs, lost, err := r.xattrs()
	if err != nil {
		return nil, err
	}
	fresh, err := free(d, at.name)
	if err != nil {
		return nil, err
	}
	if o.Type == dump.ModeLink {
		err = d.Symlink(target, fresh)
	} else {
		major, minor := uint32(0), uint32(0)
		if o.Type == dump.ModeChar || o.Type == dump.ModeBlock {
			major, minor = o.device()
		}
		err = d.Mknod(fresh, o.Type, major, minor)
	}
	if err != nil {
		return nil, err
	}
	more, err := d.Dress(fresh, o.attr(xattrs))
	if err != nil {
		r.discard(o.Ino, d, at.dir, fresh)
		return nil, err
	}
	return append(lost, more...), settle(d, fresh, at.name)
}

// metaOnly sets the attributes of a file whose data did not change.
func (r *restorer) metaOnly(o *Object, d Dir, name string) ([]string, error) {
	xattrs, lost, err := r.xattrs()
	if err != nil {
		return nil, err
	}
	if r.Op != Update {
		return nil, fail.New(fail.BaseMissing, "its data are in an earlier level: this one was made with dump -m").WithHint("-r restores level by level")
	}
	more, err := d.Dress(name, o.attr(xattrs))
	return append(lost, more...), err
}

// readOnly reads all of an object, and makes nothing.
func (r *restorer) readOnly(o *Object, at []link) ([]string, error) {
	gone, err := r.data(func(_ uint64, p []byte) error {
		r.out.Bytes += uint64(len(p))
		return r.progress()
	})
	if err != nil {
		return nil, err
	}
	if len(gone) > 0 {
		if err := r.lose(o.Ino, r.paths(at), gone, "data"); err != nil {
			return nil, err
		}
	}
	_, lost, err := r.xattrs()
	return lost, err
}

// link gives what has one name another, in place of what has that.
func (r *restorer) link(from, to link) error {
	return r.within(from.dir, func(f Dir) error {
		return r.within(to.dir, func(t Dir) error { return linkOver(f, from.name, t, to.name) })
	})
}

func linkOver(f Dir, from string, t Dir, name string) error {
	err := t.Link(f, from, name)
	if !fail.Is(err, fail.Exists) {
		return err
	}
	there, err := t.Stat(name)
	if err != nil {
		return err
	}
	mine, err := f.Stat(from)
	if err != nil || there.ID == mine.ID {
		return err
	}
	if there.Mode&dump.ModeType == dump.ModeDir {
		return fail.New(fail.Exists, "a directory is there already, and what the archive has is none")
	}
	fresh := tempName + rand.Text()
	if err := t.Link(f, from, fresh); err != nil {
		return err
	}
	return settle(t, fresh, name)
}
