package restore

import (
	"varve/internal/fail"
)

/*
Update makes a tree of level n-1 one of level n. What the archive does not have of
directories is as in the table of the last level. Then, in an order in which no two
things want one name at a time:

	1  stage   directories that have another place now go to the stage, a directory in the root
	2  take    names that are no more go; of what stays an inode with unchanged data, to the stage
	3  empty   directories that are no more go, children first
	4  place   directories are made, or come back from the stage, parents first
	5  name    unchanged inodes get their new names
	6  files   what the archive has is made, in place of what was there
	7  dress   the directories that are in the archive get their attributes, the root last of all
	8  table   is written into the stage, renamed over the old one; the stage goes

While the stage is there the tree is neither of one level nor of the other, and
nothing goes on from it: what was interrupted begins anew with level 0.
*/
const stageName = ".varve-restore"

// stageMark is a file in the stage from its making until the table is in place.
const stageMark = "changing"

// chain finds out where the tree is, and whether the archive follows.
func (r *restorer) chain() error {
	h := &r.a.First
	if _, err := r.Root.Stat(stageName); err == nil {
		if err := r.Root.Rmdir(stageName); err != nil {
			return fail.New(fail.Corrupt, "a restore of the next level was interrupted here, and the tree is between two levels").
				WithHint("restore level 0 and those after it anew into an empty directory")
		}
	} else if !fail.Is(err, fail.NotFound) {
		return err
	}
	f, err := r.Root.Read(TableName)
	switch {
	case fail.Is(err, fail.NotFound) && h.DDate == 0:
		return nil
	case fail.Is(err, fail.NotFound):
		return fail.New(fail.BaseMissing, "the archive is of level %d and goes on from the dump of %s, which was not restored here", h.Level, date(h.DDate)).
			WithHint("restore level 0 first, then each level in order; -x extracts from this archive alone")
	case err != nil:
		return err
	}
	defer f.Close()
	if h.DDate == 0 {
		return fail.New(fail.Exists, "a chain of dumps was restored here already: %s is there", TableName).
			WithHint("restore level 0 into an empty directory")
	}
	if r.old, err = loadTable(f, r.memory); err != nil {
		return err
	}
	if r.old.date != h.DDate {
		return fail.New(fail.BaseMissing, "the archive goes on from the dump of %s, and the last that was restored here is of %s (level %d)",
			date(h.DDate), date(r.old.date), r.old.level).WithHint("restore the levels in order, each on the one it was made from")
	}
	if was, is := r.old.filesystem, h.Filesys[:min(len(h.Filesys), 255)]; was != "" && is != "" && was != is && !r.GoOn {
		return fail.New(fail.BaseMissing, "the archive is of %s, and what was restored here is of %s", quote(is), quote(was)).
			WithHint("restore it on its own chain; if it is the same file system under another name, -y goes on")
	}
	if r.a.Used == nil || r.a.Dumped == nil {
		return fail.New(fail.Corrupt, "the maps of the archive are damaged: what was removed is not known").
			WithHint("-x extracts what there is into another directory")
	}
	return nil
}

// inherit adds the directories that the archive does not have to those that it has.
func (r *restorer) inherit() error {
	old := r.old.names
	for i := range old.dirs {
		d := &old.dirs[i]
		if r.dumped(d.ino) || !r.a.Used.Has(d.ino) || !old.placed(i) {
			continue
		}
		r.names.beginDir(d.ino)
		err := old.each(i, func(_ uint32, e entry) error {
			_, err := r.names.add(e)
			return err
		})
		if err == nil {
			err = r.names.endDir(func(string) {})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) update() error {
	r.cache()
	var err error
	if r.Root != nil && r.old != nil {
		err = r.change()
	} else {
		_, err = r.makeDirs()
	}
	if err != nil {
		return err
	}
	if err := r.files(r.restore); err != nil {
		return err
	}
	root := uint32(r.rootDir())
	if err := r.dressDirs(r.names.down[1:], func(int) bool { return true }); err != nil || r.Root == nil {
		return err
	}
	if r.old == nil {
		if err := r.openStage(); err != nil {
			return err
		}
	}
	if err := r.Root.Sync(); err != nil {
		return err
	}
	if err := r.saveTable(); err != nil {
		return err
	}
	if r.names.dirs[root].dress != 0 {
		if err := r.dressDir(int(root)); err != nil {
			return err
		}
	}
	return r.Root.Sync()
}

func (r *restorer) openStage() error {
	if err := r.Root.Mkdir(stageName); err != nil {
		return err
	}
	return r.inStage(func(stage Dir) error {
		f, err := stage.Create(stageMark)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	})
}

func (r *restorer) inStage(fn func(stage Dir) error) error {
	stage, err := r.Root.Open(stageName)
	if err != nil {
		return err
	}
	defer stage.Close()
	return fn(stage)
}

// saveTable puts the new table in place, and removes the stage.
func (r *restorer) saveTable() error {
	t := &table{date: r.a.First.Date, level: r.a.First.Level, filesystem: r.a.First.Filesys, names: r.names}
	err := r.inStage(func(stage Dir) error {
		f, err := stage.Create(TableName)
		if err != nil {
			return err
		}
		if err = writeTable(&appending{f: f}, t); err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = stage.Rename(TableName, r.Root, TableName)
		}
		if err == nil {
			err = stage.Remove(stageMark)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.Root.Rmdir(stageName); err != nil && !fail.Is(err, fail.Exists) {
		return err
	} else if err != nil {
		return r.lose(0, nil, nil, "%s is not empty: it holds what had no place in the new tree", stageName)
	}
	return nil
}

// appending writes a file from its beginning.
type appending struct {
	f   File
	off int64
}

func (a *appending) Write(p []byte) (int, error) {
	n, err := a.f.WriteAt(p, a.off)
	a.off += int64(n)
	return n, err
}

// isDir reports whether an inode is a directory in the tree as it is to be.
func (r *restorer) isDir(ino uint32) bool {
	d, ok := r.names.dir(ino)
	return ok && r.names.placed(d)
}

// stays reports whether an inode with unchanged data is in the new tree.
func (r *restorer) stays(ino uint32) (bool, error) {
	if r.dumped(ino) || !r.a.Used.Has(ino) || r.isDir(ino) {
		return false, nil
	}
	places, err := r.names.links(ino)
	return len(places) > 0, err
}
