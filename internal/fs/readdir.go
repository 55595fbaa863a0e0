package fs

import (
	"varve/internal/inode"
)

// Dirent is one name in a directory.
type Dirent struct {
	Cookie uint64 // to go on after it; it never changes while the name is there
	FileID uint64
	Name   string
	Handle Handle
	Attr   Attr // only of Readdir with plus; Mode 0: it could not be had
}

// Cookies of the names that no directory stores. Those of stored names, and of
// snapshots, are higher.
const (
	cookieSelf   = 1
	cookieParent = 2
	cookieFirst  = 8
)

// readdirBatch is how many names are read in one hold of the dataset's lock.
const readdirBatch = 100

// Readdir appends names of a directory to dst, those after a cookie (0: from
// the beginning), at most max; "." and ".." come first. plus adds attributes.
// eof says that no name follows. A name that is there during a whole listing
// is in it once, whatever happens to others; no lock is held between batches
// of names. It returns the directory's attributes too. ErrNotDir, ErrAccess,
// ErrStale.
func (f *FS) Readdir(c *Call, h Handle, after uint64, max int, plus bool, dst []Dirent) (ents []Dirent, eof bool, dir Attr, err error) {
	p, err := f.place(h)
	if err != nil {
		return dst, false, Attr{}, err
	}
	defer p.close()
	l := lister{place: p, c: c, after: after, dst: dst}
	for room := max; ; {
		n := min(room, readdirBatch)
		from := len(l.dst)
		if err := l.batch(n); err != nil {
			return dst, false, l.dir, err
		}
		if plus {
			if err := l.plus(from); err != nil {
				return dst, false, l.dir, err
			}
		}
		if room -= n; l.eof || room <= 0 {
			return l.dst, l.eof, l.dir, nil
		}
	}
}

// lister is one call of Readdir at work.
type lister struct {
	place
	c     *Call
	after uint64
	dst   []Dirent
	dir   Attr
	up    uint64 // the parent directory
	eof   bool
}

// batch appends up to n names.
func (l *lister) batch(n int) error {
	from, start := len(l.dst), l.after
	if l.handle.SnapDir {
		return l.moments(n)
	}
	return l.Look(func(r inode.Reader) error {
		l.dst, l.after, l.eof = l.dst[:from], start, false
		d, err := l.directory(r, l.c, wantRead)
		if d.Mode != 0 {
			l.dir, l.up = l.attr(l.handle.Ino, &d), d.Parent
		}
		if err != nil {
			return err
		}
		if !l.dots(from + n) {
			return nil
		}
		l.eof = true
		return inode.List(r, l.handle.Ino, max(l.after, cookieFirst-1), func(e inode.Entry) bool {
			if len(l.dst) == from+n {
				l.eof = false
				return false
			}
			l.add(e.Cookie, e.Name, l.handle.at(e.Ino))
			return true
		})
	})
}

func (l *lister) add(cookie uint64, name string, h Handle) {
	l.dst = append(l.dst, Dirent{Cookie: cookie, FileID: h.fileID(), Name: name, Handle: h})
	l.after = cookie
}

// dots adds "." and "..", as long as there is room, and reports whether the
// listing is past them.
func (l *lister) dots(room int) bool {
	up := l.handle.at(l.up)
	if l.handle.SnapDir {
		up = l.handle.at(l.handle.Ino)
	}
	if l.after < cookieSelf && len(l.dst) < room {
		l.add(cookieSelf, ".", l.handle)
	}
	if l.after == cookieSelf && len(l.dst) < room {
		l.add(cookieParent, "..", up)
	}
	return l.after >= cookieParent
}

// moments is batch for a .snapshot.
func (l *lister) moments(n int) error {
	err := l.Look(func(r inode.Reader) error {
		d, err := l.directory(r, l.c, 0)
		if err == nil {
			l.dir = l.show(&d)
		}
		return err
	})
	if err != nil {
		return err
	}
	room := len(l.dst) + n
	if !l.dots(room) {
		return nil
	}
	snaps, eof, err := l.f.snapshots(l.handle, max(l.after, cookieFirst)-cookieFirst, room-len(l.dst))
	if err != nil {
		return err
	}
	for _, s := range snaps {
		l.add(s.ID+cookieFirst, s.Name, Handle{Dataset: l.handle.Dataset, Ino: l.handle.Ino, Moment: s.LSN})
	}
	l.eof = eof
	return nil
}

// plus adds the attributes of the names from from on. Those of moments would
// have to be opened for it: they come without.
func (l *lister) plus(from int) error {
	for i := from; i < len(l.dst); {
		err := l.Look(func(r inode.Reader) error {
			for ; i < len(l.dst); i++ {
				if err := l.fill(r, &l.dst[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) fill(r inode.Reader, e *Dirent) error {
	if e.Handle.Moment != l.handle.Moment {
		return nil
	}
	i, err := inode.Load(r, e.Handle.Ino)
	if CodeOf(err) == CodeStale {
		return nil // it went in between
	}
	if err != nil {
		return err
	}
	e.Attr = l.attr(e.Handle.Ino, &i)
	if e.Handle.SnapDir {
		l.f.snapDirAttr(&e.Attr, e.Handle)
	}
	return nil
}
