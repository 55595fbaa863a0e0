package fs

import (
	"strings"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/when"
)

// Walk finds "/SHARE/path", "/SHARE@WHEN/path" or a path through a .snapshot,
// as the caller may. Slashes may be many, and at the end: then it must be a
// directory. It follows no symbolic links and leaves no share. NotFound,
// OutsideHistory and Invalid name what is wrong; and the errors of Lookup.
func (f *FS) Walk(c *Call, path string) (Handle, Attr, error) {
	name, rest, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	h, err := f.top(name)
	if err != nil {
		return Handle{}, Attr{}, err
	}
	return f.walkFrom(c, h, rest, "/"+name)
}

// top finds SHARE or SHARE@WHEN.
func (f *FS) top(name string) (Handle, error) {
	name, moment, past := strings.Cut(name, "@")
	s, err := f.Share(name)
	if err != nil {
		return Handle{}, err
	}
	h := Handle{Dataset: s.ID, Ino: inode.Root}
	if !past {
		return h, nil
	}
	w, err := when.Parse(moment, f.loc)
	if err != nil {
		return Handle{}, err
	}
	h.Moment, err = f.moment(s.ID, name, w)
	return h, err
}

// walkFrom finds a path below h, which is called shown.
func (f *FS) walkFrom(c *Call, h Handle, path, shown string) (Handle, Attr, error) {
	a, err := f.Getattr(c, h)
	if err != nil {
		return Handle{}, Attr{}, fail.Wrap(fail.Other, err, "%s", shown)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		shown += "/" + part
		if h, a, _, err = f.Lookup(c, h, part); err != nil {
			return Handle{}, Attr{}, fail.Wrap(fail.Other, err, "%s", shown)
		}
	}
	if strings.HasSuffix(path, "/") && a.Mode&inode.ModeType != inode.ModeDir {
		return Handle{}, Attr{}, fail.Wrap(fail.Other, ErrNotDir, "%s", shown)
	}
	return h, a, nil
}
