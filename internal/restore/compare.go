package restore

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"varve/internal/dump"
	"varve/internal/fail"
)

// compare tells how a tree differs from what the archive has: types, modes, owners,
// times of modification, sizes, contents, targets, device numbers, extended
// attributes, hard links. What the archive does not have is not looked at, nor is the
// time of the root, which a table of restored names changes.
func (r *restorer) compare() error {
	r.cache()
	for _, d := range r.names.down {
		if _, itself := r.wanted.wantsDir(int(d)); !itself || r.names.dirs[d].dress == 0 {
			continue
		}
		if err := r.compareDir(int(d)); err != nil {
			return err
		}
	}
	return r.files(r.compareOne)
}

// differ tells of a difference.
func (r *restorer) differ(ino uint32, path, format string, args ...any) error {
	r.out.Differences++
	return r.Say(Message{Difference: &Difference{ino, show(path), fmt.Sprintf(format, args...)}})
}

func (r *restorer) compareDir(d int) error {
	rec := r.names.dirs[d]
	a, err := r.dress.get(rec.dress)
	if err != nil {
		return err
	}
	var found []string
	err = r.within(d, func(dir Dir) error {
		s, err := dir.Stat("")
		if err != nil {
			return err
		}
		if rec.up == uint32(d) {
			s.Mtime = a.Mtime
		}
		found = compareAttr(a, &s, dump.ModeDir)
		more, err := compareXattrs(dir, "", a)
		found = append(found, more...)
		return err
	})
	if err != nil && fatal(err) {
		return err
	}
	if err != nil {
		found = append(found, absent(err))
	}
	return r.found(rec.ino, d, "", found)
}

// absent says why something cannot be compared.
func absent(err error) string {
	if fail.Is(err, fail.NotFound) {
		return "is not there"
	}
	return err.Error()
}

// found tells what was found of an object: in a directory under a name or, with "", of
// the directory itself.
func (r *restorer) found(ino uint32, dir int, name string, found []string) error {
	for _, what := range found {
		if err := r.differ(ino, r.names.path(dir, name), "%s", what); err != nil {
			return err
		}
	}
	return r.told(ino, dir, name)
}

// compareAttr compares what stat(2) tells.
func compareAttr(a *Attr, s *Stat, kind uint32) (found []string) {
	differ := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if kind != s.Mode&dump.ModeType {
		return []string{fmt.Sprintf("is a %s, and was a %s", kindName(s.Mode), kindName(kind))}
	}
	if mode := s.Mode & permissions; mode != a.Mode && kind != dump.ModeLink {
		differ("mode %04o, and was %04o", mode, a.Mode)
	}
	if s.UID != a.UID || s.GID != a.GID {
		differ("owner %d:%d, and was %d:%d", s.UID, s.GID, a.UID, a.GID)
	}
	if !sameTime(s.Mtime, a.Mtime) {
		differ("modified at %s, and was at %s", showTime(s.Mtime), showTime(a.Mtime))
	}
	return found
}

// sameTime compares times to what the archive has of them: whole microseconds may be
// all.
func sameTime(have, archived dump.Time) bool {
	if archived.Nsec%1000 == 0 {
		have.Nsec -= have.Nsec % 1000
	}
	return have == archived
}

func showTime(t dump.Time) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

func kindName(mode uint32) string {
	switch mode & dump.ModeType {
	case dump.ModeFile:
		return "file"
	case dump.ModeDir:
		return "directory"
	case dump.ModeLink:
		return "symbolic link"
	case dump.ModeFIFO:
		return "FIFO"
	case dump.ModeSocket:
		return "socket"
	case dump.ModeChar:
		return "character device"
	case dump.ModeBlock:
		return "block device"
	}
	return fmt.Sprintf("object of type %o", mode&dump.ModeType)
}

// compareXattrs compares those that restoring sets.
func compareXattrs(d Dir, name string, a *Attr) (found []string, err error) {
	list, err := d.Xattrs(name)
	if err != nil && !fail.Is(err, fail.Unsupported) {
		return nil, err
	}
	for _, x := range a.Xattrs {
		i := slices.IndexFunc(list, func(have dump.Xattr) bool { return have.Name == x.Name })
		switch {
		case i < 0:
			found = append(found, fmt.Sprintf("has no extended attribute %q", x.Name))
		case !bytes.Equal(list[i].Value, x.Value) && !sameACL(x.Name, list[i].Value, x.Value):
			found = append(found, fmt.Sprintf("has another value of extended attribute %q", x.Name))
		}
	}
	for _, x := range list {
		if removable(x.Name) && !named(a.Xattrs, x.Name) {
			found = append(found, fmt.Sprintf("has the extended attribute %q, and had not", x.Name))
		}
	}
	return found, nil
}

// sameACL compares ACLs, in which the ids of entries without a name mean nothing.
func sameACL(name string, a, b []byte) bool {
	if !strings.HasPrefix(name, "system.posix_acl_") || len(a) != len(b) || len(a) < 4 || !bytes.Equal(a[:4], b[:4]) {
		return false
	}
	for at := 4; at+8 <= len(a); at += 8 {
		n := 4
		if a[at] == 2 || a[at] == 8 {
			n = 8
		}
		if !bytes.Equal(a[at:at+n], b[at:at+n]) {
			return false
		}
	}
	return true
}

// compareOne compares an object under all its names.
func (r *restorer) compareOne(o *Object, at []link) error {
	var first Stat
	var found []string
	err := r.within(at[0].dir, func(d Dir) (err error) {
		first, found, err = r.compareObject(o, d, at)
		return err
	})
	if err != nil && fatal(err) {
		return err
	}
	if err != nil {
		found = append(found, absent(err))
	}
	for _, l := range at[1:] {
		var s Stat
		err := r.within(l.dir, func(d Dir) (err error) {
			s, err = d.Stat(l.name)
			return err
		})
		what := "is another object than " + show(r.names.path(at[0].dir, at[0].name))
		switch {
		case err != nil && fatal(err):
			return err
		case err != nil:
			what = absent(err)
		case s.ID == first.ID:
			continue
		}
		if err := r.differ(o.Ino, r.names.path(l.dir, l.name), "%s", what); err != nil {
			return err
		}
	}
	return r.found(o.Ino, at[0].dir, at[0].name, found)
}

func (r *restorer) compareObject(o *Object, d Dir, at []link) (s Stat, found []string, err error) {
	name := at[0].name
	if s, err = d.Stat(name); err != nil {
		return s, nil, err
	}
	a := o.attr(nil)
	found = compareAttr(a, &s, o.Type)
	if s.Mode&dump.ModeType != o.Type {
		return s, found, nil
	}
	switch {
	case o.Type == dump.ModeFile && !o.MetaOnly():
		what, err := r.compareData(o, d, at)
		if err != nil {
			return s, nil, err
		}
		if s.Size != o.Size {
			what = fmt.Sprintf("size %d, and was %d", s.Size, o.Size)
		}
		if what != "" {
			found = append(found, what)
		}
	case o.Type == dump.ModeLink:
		target, err := r.target(o)
		if err != nil {
			return s, found, err
		}
		now, err := d.Readlink(name)
		if err != nil {
			return s, found, err
		}
		if now != target {
			found = append(found, fmt.Sprintf("leads to %s, and led to %s", quote(now), quote(target)))
		}
	case o.Type == dump.ModeChar || o.Type == dump.ModeBlock:
		if major, minor := o.device(); major != s.Major || minor != s.Minor {
			found = append(found, fmt.Sprintf("device %d,%d, and was %d,%d", s.Major, s.Minor, major, minor))
		}
	}
	xattrs, lost, err := r.xattrs()
	if err != nil {
		return s, nil, err
	}
	for _, what := range lost {
		if err := r.lose(o.Ino, r.paths(at), nil, "%s", what); err != nil {
			return s, nil, err
		}
	}
	a.Xattrs = xattrs
	more, err := compareXattrs(d, name, a)
	return s, append(found, more...), err
}

// compareData compares contents, and says what differs, if anything.
func (r *restorer) compareData(o *Object, d Dir, at []link) (string, error) {
	f, err := d.Read(at[0].name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	c := &contents{f: f, buf: make([]byte, 64<<10)}
	gone, err := r.data(func(off uint64, p []byte) error {
		if err := c.zeros(off); err != nil {
			return err
		}
		r.out.Bytes += uint64(len(p))
		if err := c.same(p); err != nil {
			return err
		}
		return r.progress()
	})
	if err != nil {
		return "", err
	}
	if len(gone) > 0 {
		return "", r.lose(o.Ino, r.paths(at), gone, "data of the file, which were not compared")
	}
	if err := c.zeros(o.Size); err != nil {
		return "", err
	}
	if c.differs {
		return fmt.Sprintf("contents, from byte %d on", c.first), nil
	}
	return "", nil
}

// contents is a file that is compared from its beginning.
type contents struct {
	f       io.Reader
	buf     []byte
	off     uint64
	first   uint64 // the first byte that differs
	differs bool
	ended   bool
}

// next reads n bytes, or less at the end of the file.
func (c *contents) next(n int) ([]byte, error) {
	k, err := io.ReadFull(c.f, c.buf[:n])
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		c.ended = true
	case nil:
	default:
		return nil, fail.Wrap(fail.IO, err, "compare")
	}
	return c.buf[:k], nil
}

func (c *contents) mark(at uint64) {
	if !c.differs {
		c.differs, c.first = true, at
	}
}

// skipper is a file that knows its own holes.
type skipper interface {
	// skipHole goes from byte off to the next data, or to byte to if that is first, and
	// returns where it is.
	skipHole(off, to int64) (int64, error)
}

// zeros compares what is before byte to with a hole. An archive says with few bytes
// that there are very many: a hole of the file is not read.
func (c *contents) zeros(to uint64) error {
	for c.off < to && !c.ended && !c.differs {
		if s, ok := c.f.(skipper); ok {
			at, err := s.skipHole(int64(c.off), int64(to))
			if err != nil {
				return err
			}
			if c.off = uint64(at); c.off == to {
				return nil
			}
		}
		b, err := c.next(int(min(uint64(len(c.buf)), to-c.off)))
		if err != nil {
			return err
		}
		for i, x := range b {
			if x != 0 {
				c.mark(c.off + uint64(i))
				break
			}
		}
		c.off += uint64(len(b))
	}
	return nil
}

func (c *contents) same(p []byte) error {
	for len(p) > 0 && !c.ended && !c.differs {
		b, err := c.next(min(len(c.buf), len(p)))
		if err != nil {
			return err
		}
		if !bytes.Equal(b, p[:len(b)]) {
			for i := range b {
				if b[i] != p[i] {
					c.mark(c.off + uint64(i))
					break
				}
			}
		}
		c.off += uint64(len(b))
		p = p[len(b):]
	}
	return nil
}
