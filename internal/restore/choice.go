package restore

import (
	"strings"

	"varve/internal/dump"
	"varve/internal/fail"
)

// choice is which names of a tree are wanted. The zero value wants all.
type choice struct {
	some bool
	dirs []bool          // by index: all names in them
	own  map[uint32]bool // single names, by place
	up   []bool          // by index: directories that lead to what is wanted
	self []bool          // by index: directories that are wanted themselves
}

// has reports whether a name in a directory is wanted.
func (c *choice) has(dir int, at uint32) bool { return !c.some || c.dirs[dir] || c.own[at] }

// choose finds the paths that are wanted.
func (r *restorer) choose() (*choice, error) {
	c := &choice{}
	if r.Op == Update || len(r.Paths) == 0 && !r.Shallow {
		return c, nil
	}
	n := r.names
	c.some, c.own = true, make(map[uint32]bool)
	c.dirs, c.up, c.self = make([]bool, len(n.dirs)), make([]bool, len(n.dirs)), make([]bool, len(n.dirs))
	paths := r.Paths
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, p := range paths {
		if err := r.chooseOne(c, p); err != nil {
			return nil, err
		}
	}
	for _, d := range n.down { // what is below is wanted too
		if up := n.dirs[d].up; up != d && c.dirs[up] {
			c.dirs[d], c.self[d] = true, true
		}
	}
	return c, nil
}

// chooseOne wants one path.
func (r *restorer) chooseOne(c *choice, path string) error {
	n := r.names
	d, _ := n.dir(dump.RootIno)
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		if part == "." {
			continue
		}
		at, ino, err := r.find(d, part)
		if err != nil {
			return err
		}
		if at == nowhere {
			return fail.New(fail.NotFound, "%s is not in the archive", quote(path)).WithHint("-t lists what is")
		}
		c.up[d] = true
		below, isDir := n.dir(ino)
		isDir = isDir && n.dirs[below].at == at
		if !isDir && i < len(parts)-1 {
			return fail.New(fail.NotFound, "%s is not in the archive: %s is no directory in it", quote(path), quote(strings.Join(parts[:i+1], "/")))
		}
		if !isDir {
			c.own[at] = true
			return nil
		}
		d = below
	}
	c.self[d], c.dirs[d] = true, !r.Shallow
	if at := n.dirs[d].at; n.dirs[d].up != uint32(d) {
		c.own[at] = true
	}
	return nil
}

// find looks a name up in a directory.
func (r *restorer) find(dir int, name string) (at, ino uint32, err error) {
	at = nowhere
	err = r.names.each(dir, func(place uint32, e entry) error {
		if e.name == name {
			at, ino = place, e.ino
		}
		return nil
	})
	return at, ino, err
}

// wantsDir reports whether a directory has to be there, and whether it is restored
// itself.
func (c *choice) wantsDir(d int) (needed, itself bool) {
	if !c.some {
		return true, true
	}
	return c.self[d] || c.up[d], c.self[d]
}
