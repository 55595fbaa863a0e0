package files

import (
	"context"
	"slices"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/tree"
	"varve/internal/when"
)

// The kinds of Difference.
const (
	Created  = "created"
	Removed  = "removed"
	Modified = "modified"   // its bytes, or it is another file now
	Renamed  = "renamed"    // it may be modified too: then there are both
	Changed  = "attributes" // mode, owner, times or the like, and nothing else
)

// Difference is one way in which a later moment of a share differs from an
// earlier one.
type Difference struct {
	What string `json:"change" enum:"created,removed,modified,renamed,attributes"`
	Path Text   `json:"path"`
	From Text   `json:"from,omitempty" doc:"Of what was renamed: its old path"`
	Type string `json:"type"`
	Ino  uint64 `json:"ino"`
}

// maxDifferences bounds what a comparison holds in memory.
const maxDifferences = 1 << 20

// Compare visits the differences of two moments of a share below a path, by path.
// What it costs depends on how much changed, not on how large the share is;
// and on the length of the directories in which names changed. TooBig where
// there are more than a million.
func (f *Files) Compare(ctx context.Context, share, path string, from, to when.Spec, fn func(Difference) error) (a, b engine.Moment, err error) {
	below, err := split(path)
	if err != nil {
		return a, b, err
	}
	was, va, err := f.view(ctx, share, from)
	if err != nil {
		return a, b, err
	}
	defer was.close()
	a = *was.moment
	is, vb, err := f.view(ctx, share, to)
	if err != nil {
		return a, b, err
	}
	defer is.close()
	b = *is.moment
	c := comparison{was: side{state: was}, is: side{state: is}, inodes: make(map[uint64]*difference), dirs: make(map[uint64]bool)}
	if err := va.ItemDiff(ctx, vb, c.item); err != nil {
		return a, b, err
	}
	list, err := c.list()
	if err != nil {
		return a, b, err
	}
	prefix := strings.TrimSuffix(join(below), "/")
	for _, d := range list {
		if !within(prefix, d.Path) && !within(prefix, d.From) {
			continue
		}
		if err := fn(d); err != nil {
			return a, b, err
		}
	}
	return a, b, nil
}

func within(prefix string, path Text) bool {
	return prefix == "" && path != "" || string(path) == prefix || strings.HasPrefix(string(path), prefix+"/")
}

// comparison is what two states are found to differ in.
type comparison struct {
	was, is    side
	inodes     map[uint64]*difference
	gone, come []name
	dirs       map[uint64]bool // directories in which names came or went
}

// difference is how an inode differs. Nil: it is not there.
type difference struct {
	was, is *inode.Inode
	data    bool // what is in it
	more    bool // extended attributes
}

// name is an entry of a directory.
type name struct {
	dir uint64
	inode.Entry
}

// mode returns the type of what has the name, as modes have it.
func (n *name) mode() uint32 { return uint32(n.Type) << 12 }

func (n *name) isDir() bool { return n.mode() == inode.ModeDir }

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// item notes that an item differs: it came, it went, or its value is another.
func (c *comparison) item(k tree.Key, was, is []byte) error {
	ino, lo := k.Split()
	if lo>>inode.ItemShift == inode.EntryItem {
		c.dirs[ino] = true
		cookie := lo & (1<<inode.ItemShift - 1)
		if err := c.entry(&c.gone, &c.was, ino, cookie, was); err != nil {
			return err
		}
		return c.entry(&c.come, &c.is, ino, cookie, is)
	}
	d := c.inodes[ino]
	if d == nil {
		if len(c.inodes) >= maxDifferences {
			return tooMany
		}
		d = &difference{}
		c.inodes[ino] = d
	}
	switch lo >> inode.ItemShift {
	case inode.ExtentItem, inode.TargetItem:
		d.data = true
	case inode.XattrItem:
		d.more = true
	case inode.InodeItem:
		return errorOf(d.parse(&d.was, was), d.parse(&d.is, is))
	}
	return nil
}

var tooMany = fail.New(fail.TooBig, "more than %d files differ", maxDifferences).WithHint("compare moments that are nearer to each other")

func (d *difference) parse(to **inode.Inode, v []byte) error {
	if v == nil {
		return nil
	}
	i, err := inode.Parse(v)
	*to = &i
	return err
}

// entry reads the entry at a cookie, which one side has if its item has a
// value.
func (c *comparison) entry(to *[]name, s *side, dir, cookie uint64, v []byte) error {
	if v == nil {
		return nil
	}
	if len(*to) >= maxDifferences {
		return tooMany
	}
	return s.Look(func(r inode.Reader) error {
		return inode.List(r, dir, cookie-1, func(e inode.Entry) bool {
			*to = append(*to, name{dir, e})
			return false
		})
	})
}

// list puts what was noted into words.
func (c *comparison) list() ([]Difference, error) {
	if err := c.fillIn(); err != nil {
		return nil, err
	}
	var out []Difference
	add := func(what string, path, from string, ino uint64, typ uint32) {
		out = append(out, Difference{What: what, Path: Text(path), From: Text(from), Ino: ino, Type: typeNames[typ]})
	}
	came, moved, err := c.arrivals()
	if err != nil {
		return nil, err
	}
	fresh := make(map[string]*arrival) // by path, what is new there
	for i, n := range came {
		if !n.moved {
			fresh[n.path] = &came[i]
		}
	}
	replaced := make(map[string]bool)
	for _, n := range c.gone {
		path, err := c.was.path(n.dir, n.Name)
		if err != nil {
			return nil, err
		}
		here, err := c.wouldBe(n.dir, n.Name)
		switch {
		case err != nil:
			return nil, err
		case moved[n.Ino] != "":
			add(Renamed, moved[n.Ino], path, n.Ino, n.mode())
			delete(moved, n.Ino)
		case fresh[here] != nil && fresh[here].isDir() == n.isDir():
			replaced[here] = true
		default:
			add(Removed, path, "", n.Ino, n.mode())
		}
	}
	for _, n := range came {
		switch {
		case n.moved:
		case replaced[n.path]:
			add(Modified, n.path, "", n.Ino, n.mode())
		default:
			add(Created, n.path, "", n.Ino, n.mode())
		}
	}
	err = c.stayed(func(what, path string, ino uint64, i *inode.Inode) {
		add(what, path, "", ino, i.Mode&inode.ModeType)
	})
	slices.SortFunc(out, func(a, b Difference) int {
		return strings.Compare(string(a.Path)+"\x00"+a.What, string(b.Path)+"\x00"+b.What)
	})
	return out, err
}

// arrival is a name that came.
type arrival struct {
	name
	path  string
	moved bool // from another name
}

// arrivals finds the paths of the names that came, and for each inode that
// also left a name, the path that it has now.
func (c *comparison) arrivals() (came []arrival, moved map[uint64]string, err error) {
	left := make(map[uint64]bool)
	for _, n := range c.gone {
		left[n.Ino] = true
	}
	moved = make(map[uint64]string)
	for _, n := range c.come {
		a := arrival{name: n}
		if a.path, err = c.is.path(n.dir, n.Name); err != nil {
			return nil, nil, err
		}
		if left[n.Ino] && moved[n.Ino] == "" {
			moved[n.Ino], a.moved = a.path, true
		}
		came = append(came, a)
	}
	return came, moved, nil
}

// wouldBe returns where a name that went would be now, had it stayed: the
// directories that it was in may have other names now.
func (c *comparison) wouldBe(dir uint64, name string) (string, error) {
	for range maxDepth {
		err := c.is.Look(func(r inode.Reader) error {
			_, err := inode.Load(r, dir)
			return err
		})
		if !isGone(err) {
			if err != nil {
				return "", err
			}
			return c.is.path(dir, name)
		}
		d, err := c.was.dir(dir)
		if err != nil {
			return "", err
		}
		dir, name = d.parent, d.name+"/"+name
	}
	return "", fail.New(fail.Corrupt, "directory %d of %s is deeper than any path", dir, c.was.share)
}

// fillIn reads the inodes that are the same on both sides, of which only other
// items differ.
func (c *comparison) fillIn() error {
	for ino, d := range c.inodes {
		if d.was != nil || d.is != nil {
			continue
		}
		for _, s := range []struct {
			state *state
			to    **inode.Inode
		}{{c.was.state, &d.was}, {c.is.state, &d.is}} {
			err := s.state.Look(func(r inode.Reader) error {
				i, err := inode.Load(r, ino)
				*s.to = &i
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// stayed visits the inodes that were there and still are, and differ in more
// than their names.
func (c *comparison) stayed(fn func(what, path string, ino uint64, i *inode.Inode)) error {
	what := make(map[uint64]string)
	for ino, d := range c.inodes {
		if d.was == nil || d.is == nil {
			continue
		}
		switch {
		case d.data || !d.is.IsDir() && d.was.Size != d.is.Size:
			what[ino] = Modified
		case d.more || d.attributes(c.dirs[ino]):
			what[ino] = Changed
		}
	}
	return c.is.paths(what, func(ino uint64, path string) { fn(what[ino], path, ino, c.inodes[ino].is) })
}

// attributes reports whether what people see of an inode differs. The times of
// a directory in which names changed do not count.
func (d *difference) attributes(names bool) bool {
	a, b := d.was, d.is
	times := a.Mtime != b.Mtime || a.Atime != b.Atime
	return a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Flags != b.Flags || a.Rdev != b.Rdev || times && !names
}
