package restore

import (
	"cmp"
	"slices"
)

// openDirs is how many directories of the target are kept open.
const openDirs = 256

// dirCache keeps directories of a tree open. Those that are pinned stay so.
type dirCache struct {
	root  Dir
	where func(dir int) (parent int, name string, err error) // parent = dir: the root
	open  map[int]*openDir
	clock uint64
}

type openDir struct {
	Dir
	pins int
	used uint64
}

func newDirCache(root Dir, where func(int) (int, string, error)) *dirCache {
	return &dirCache{root: root, where: where, open: make(map[int]*openDir)}
}

// with calls fn with a directory, open.
func (c *dirCache) with(dir int, fn func(d Dir) error) error {
	d, err := c.get(dir)
	if err != nil {
		return err
	}
	defer c.unpin(d)
	return fn(d.Dir)
}

// get opens a directory. It stays open until it is unpinned.
func (c *dirCache) get(dir int) (*openDir, error) {
	c.clock++
	if d := c.open[dir]; d != nil {
		d.used = c.clock
		d.pins++
		return d, nil
	}
	parent, name, err := c.where(dir)
	if err != nil {
		return nil, err
	}
	if parent == dir {
		return &openDir{Dir: c.root, pins: 1}, nil
	}
	up, err := c.get(parent)
	if err != nil {
		return nil, err
	}
	defer c.unpin(up)
	d, err := up.Open(name)
	if err != nil {
		return nil, err
	}
	if len(c.open) >= openDirs {
		c.evict()
	}
	o := &openDir{Dir: d, pins: 1, used: c.clock}
	c.open[dir] = o
	return o, nil
}

func (c *dirCache) unpin(d *openDir) { d.pins-- }

// evict closes half of the directories that nobody uses, the oldest.
func (c *dirCache) evict() {
	var idle []int
	for i, d := range c.open {
		if d.pins == 0 {
			idle = append(idle, i)
		}
	}
	slices.SortFunc(idle, func(a, b int) int { return cmp.Compare(c.open[a].used, c.open[b].used) })
	for _, i := range idle[:(len(idle)+1)/2] {
		c.drop(i)
	}
}

// drop closes a directory, if it is open.
func (c *dirCache) drop(dir int) {
	if d := c.open[dir]; d != nil {
		d.Close()
		delete(c.open, dir)
	}
}

func (c *dirCache) close() {
	for i := range c.open {
		c.drop(i)
	}
}
