package restore

import (
	"slices"
	"strconv"

	"varve/internal/dump"
	"varve/internal/fail"
)

// change is the way of a tree from one level to the next, up to where files are
// made.
type change struct {
	*restorer
	old       *names
	where     *dirCache // directories by their index in old, wherever they are just now
	stage     Dir
	staged    []bool          // directories, by their index in old
	files     map[uint32]bool // inodes in the stage: whether they have a name in the new tree
	left      uint64          // names of what is in no archive
	oldPlaces []uint32        // old.byPlace, once it is needed
	lastDir   int             // of which there is an index: in the new tree
	lastIndex *nameIndex
}

// stageDir is the stage in change.where.
const stageDir = -1

func (r *restorer) change() error {
	if err := r.openStage(); err != nil {
		return err
	}
	return r.inStage(func(stage Dir) error {
		c := &change{restorer: r, old: r.old.names, stage: stage, files: make(map[uint32]bool)}
		c.staged = make([]bool, len(c.old.dirs))
		c.where = newDirCache(r.Root, c.place)
		defer c.where.close()
		defer func() { c.lastIndex.close() }()
		return c.run()
	})
}

func (c *change) run() error {
	for _, step := range []func() error{
		c.stageDirs, c.takeNames, c.emptyDirs, c.placeDirs, c.giveNames, c.clearStage,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if c.left > 0 {
		return c.note("%d names lead to inodes that are in none of the archives, as where they are marked nodump; they are left out", c.left)
	}
	return nil
}

// place says where a directory of the old tree is just now.
func (c *change) place(i int) (int, string, error) {
	root, _ := c.old.dir(dump.RootIno)
	switch {
	case i == stageDir:
		return root, stageName, nil
	case c.staged[i]:
		return stageDir, stagedDir(c.old.dirs[i].ino), nil
	}
	d := c.old.dirs[i]
	if d.up == uint32(i) {
		return i, "", nil
	}
	e, _, err := c.old.entry(d.at)
	return int(d.up), e.name, err
}

func stagedDir(ino uint32) string  { return "d" + strconv.FormatUint(uint64(ino), 10) }
func stagedFile(ino uint32) string { return "f" + strconv.FormatUint(uint64(ino), 10) }

// kept returns the index in the new tree of a directory of the old one that stays.
func (c *change) kept(i int) (int, bool) {
	n, ok := c.names.dir(c.old.dirs[i].ino)
	return n, ok && c.names.placed(n)
}

// keptOld is the reverse.
func (c *change) keptOld(n int) (int, bool) {
	i, ok := c.old.dir(c.names.dirs[n].ino)
	return i, ok && c.old.placed(i)
}

// settle decides about the error of one step: what is not there any more needs
// nothing done, and what goes wrong with one name is its loss.
func (c *change) settle(ino uint32, path string, err error) error {
	switch {
	case err == nil, fail.Is(err, fail.NotFound):
		return nil
	case fatal(err):
		return err
	}
	return c.lose(ino, []string{show(path)}, nil, "its change from the last level: %v", err)
}

// stageDirs brings directories that have another place now to the stage.
func (c *change) stageDirs() error {
	for _, o := range c.old.down[1:] {
		i := int(o)
		n, ok := c.kept(i)
		if !ok {
			continue
		}
		was, _, err := c.old.entry(c.old.dirs[i].at)
		if err != nil {
			return err
		}
		is, _, err := c.names.entry(c.names.dirs[n].at)
		if err != nil {
			return err
		}
		oldUp, newUp := c.old.dirs[c.old.dirs[i].up].ino, c.names.dirs[c.names.dirs[n].up].ino
		if was.name == is.name && oldUp == newUp {
			continue
		}
		err = c.where.with(int(c.old.dirs[i].up), func(d Dir) error { return d.Rename(was.name, c.stage, stagedDir(c.old.dirs[i].ino)) })
		if err == nil {
			c.staged[i] = true
		}
		if err := c.settle(c.old.dirs[i].ino, c.old.path(i, ""), err); err != nil {
			return err
		}
	}
	return nil
}

// takeNames takes away the names of files that are no more.
func (c *change) takeNames() error {
	for _, o := range c.old.down {
		i := int(o)
		n, kept := c.kept(i)
		if kept && !c.dumped(c.old.dirs[i].ino) {
			continue // what is in it did not change
		}
		if err := c.takeNamesOf(i, n, kept); err != nil {
			return err
		}
	}
	return nil
}

// takeNamesOf takes names of a directory, which is n now if it is kept.
func (c *change) takeNamesOf(i, n int, kept bool) error {
	var now *nameIndex
	if kept {
		var err error
		if now, err = c.names.indexDir(n); err != nil {
			return err
		}
		defer now.close()
	}
	return c.old.each(i, func(at uint32, e entry) error {
		if d, ok := c.old.dir(e.ino); ok && c.old.dirs[d].at == at && c.old.placed(d) {
			return nil // a directory
		}
		if there, err := now.has(e); there && !c.isDir(e.ino) || err != nil {
			return err
		}
		return c.settle(e.ino, c.old.path(i, e.name), c.takeName(i, e))
	})
}

func (c *change) takeName(dir int, e entry) error {
	stays, err := c.stays(e.ino)
	if err != nil {
		return err
	}
	return c.where.with(dir, func(d Dir) error {
		if _, there := c.files[e.ino]; !there && stays {
			err := d.Rename(e.name, c.stage, stagedFile(e.ino))
			if err == nil {
				c.files[e.ino] = false
			}
			return err
		}
		err := d.Remove(e.name)
		if err == nil {
			c.out.Removed++
		}
		return err
	})
}

// emptyDirs removes directories that are no more.
func (c *change) emptyDirs() error {
	for _, o := range slices.Backward(c.old.down[1:]) {
		i := int(o)
		if _, kept := c.kept(i); kept {
			continue
		}
		e, _, err := c.old.entry(c.old.dirs[i].at)
		if err != nil {
			return err
		}
		c.where.drop(i)
		err = c.where.with(int(c.old.dirs[i].up), func(d Dir) error { return d.Rmdir(e.name) })
		if fail.Is(err, fail.Exists) {
			err = fail.New(fail.Exists, "the directory is to go, and holds what no archive knows of")
		}
		if err == nil {
			c.out.Removed++
		}
		if err := c.settle(e.ino, c.old.path(i, ""), err); err != nil {
			return err
		}
	}
	return nil
}

// placeDirs makes directories, and brings those back that are in the stage.
func (c *change) placeDirs() error {
	for _, o := range c.names.down[1:] {
		n := int(o)
		rec := c.names.dirs[n]
		i, there := c.keptOld(n)
		if !there {
			if _, err := c.makeDir(n); err != nil {
				return err
			}
			continue
		}
		if !c.staged[i] {
			continue
		}
		e, _, err := c.names.entry(rec.at)
		if err != nil {
			return err
		}
		err = c.within(int(rec.up), func(up Dir) error { return c.stage.Rename(stagedDir(rec.ino), up, e.name) })
		c.staged[i] = err != nil
		if err := c.settle(rec.ino, c.names.path(n, ""), err); err != nil {
			return err
		}
	}
	return nil
}

// giveNames gives inodes with unchanged data the names that they did not have.
func (c *change) giveNames() error {
	for _, o := range c.names.down {
		n := int(o)
		if !c.dumped(c.names.dirs[n].ino) {
			continue
		}
		if err := c.giveNamesIn(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) giveNamesIn(n int) error {
	var before *nameIndex
	if i, ok := c.keptOld(n); ok {
		var err error
		if before, err = c.old.indexDir(i); err != nil {
			return err
		}
		defer before.close()
	}
	return c.names.each(n, func(_ uint32, e entry) error {
		if c.dumped(e.ino) || c.isDir(e.ino) {
			return nil
		}
		if there, err := before.has(e); there || err != nil {
			return err
		}
		return c.settle(e.ino, c.names.path(n, e.name), c.giveName(n, e))
	})
}

func (c *change) giveName(dir int, e entry) error {
	if _, there := c.files[e.ino]; there {
		err := c.within(dir, func(d Dir) error { return linkOver(c.stage, stagedFile(e.ino), d, e.name) })
		c.files[e.ino] = c.files[e.ino] || err == nil
		return err
	}
	from, ok, err := c.unmovedName(e.ino)
	if err != nil {
		return err
	}
	if ok {
		return c.link(from, link{dir, e.name})
	}
	c.left++
	return nil
}

// unmovedName returns a name of an inode that both trees have.
func (c *change) unmovedName(ino uint32) (link, bool, error) {
	places, err := c.old.links(ino)
	for _, at := range places {
		if l, ok, err := c.unmoved(at); ok || err != nil {
			return l, ok, err
		}
	}
	return link{}, false, err
}

// unmoved returns a name of the old tree as one of the new, if it is there too.
func (c *change) unmoved(at uint32) (link, bool, error) {
	if c.oldPlaces == nil {
		c.oldPlaces = c.old.byPlace()
	}
	i := c.old.holder(at, c.oldPlaces)
	n, ok := c.kept(i)
	if !ok || !c.old.placed(i) {
		return link{}, false, nil
	}
	e, _, err := c.old.entry(at)
	if err != nil {
		return link{}, false, err
	}
	if c.lastIndex == nil || c.lastDir != n {
		c.lastIndex.close()
		c.lastDir = n
		if c.lastIndex, err = c.names.indexDir(n); err != nil {
			return link{}, false, err
		}
	}
	there, err := c.lastIndex.has(e)
	return link{n, e.name}, there, err
}

// clearStage removes the stage's names of inodes that have others.
func (c *change) clearStage() error {
	for ino, named := range c.files {
		if !named {
			var err error
			if _, named, err = c.unmovedName(ino); err != nil {
				return err
			}
		}
		if !named {
			continue // its data are nowhere else
		}
		if err := c.stage.Remove(stagedFile(ino)); err != nil {
			return err
		}
	}
	return nil
}
