package restore

import (
	"slices"

	"varve/internal/dump"
)

// missing tells which inodes should be in the archive and did not come.
func (r *restorer) missing() error {
	if r.a.Dumped == nil {
		return r.lose(0, nil, nil, "the map of what is in the archive: what did not come is not known")
	}
	for ino := r.a.Dumped.Next(1); ino != 0; ino = r.a.Dumped.Next(ino + 1) {
		if r.came(ino) {
			continue
		}
		at, err := r.links(ino)
		if err != nil {
			return err
		}
		all, err := r.names.links(ino)
		if err != nil {
			return err
		}
		switch {
		case len(at) > 0:
			err = r.lose(ino, r.paths(at), nil, "the whole inode: it is missing in the archive")
		case len(all) == 0:
			err = r.lose(ino, nil, nil, "inode %d, which is missing in the archive, as its names are", ino)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// came reports whether an inode was read.
func (r *restorer) came(ino uint32) bool {
	at := int(ino / 64)
	return at < len(r.a.seen) && r.a.seen[at]>>(ino%64)&1 != 0
}

// dressDirs gives directories their attributes, children first, so that neither
// what is done in them nor their permissions are in the way.
func (r *restorer) dressDirs(order []uint32, wanted func(d int) bool) error {
	for _, d := range slices.Backward(order) {
		rec := r.names.dirs[d]
		if !wanted(int(d)) || rec.dress == 0 {
			continue
		}
		if err := r.dressDir(int(d)); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) dressDir(d int) error {
	if r.Root != nil {
		a, err := r.dress.get(r.names.dirs[d].dress)
		if err != nil {
			return err
		}
		var lost []string
		err = r.within(d, func(dir Dir) error {
			lost, err = dir.Dress("", a)
			return err
		})
		if err != nil && fatal(err) {
			return err
		}
		if err != nil {
			lost = append(lost, err.Error())
		}
		for _, what := range lost {
			if err := r.lose(r.names.dirs[d].ino, []string{show(r.names.path(d, ""))}, nil, "of the directory: %s", what); err != nil {
				return err
			}
		}
	}
	return r.told(r.names.dirs[d].ino, d, "")
}

// list tells the names that are in the archive, parents first.
func (r *restorer) list() error {
	root := r.rootDir()
	if r.wanted.dirs == nil || r.wanted.self[root] {
		if err := r.toldPath(dump.RootIno, "."); err != nil {
			return err
		}
	}
	return r.listDir(root, "./", 0)
}

func (r *restorer) listDir(dir int, prefix string, depth int) error {
	return r.names.each(dir, func(at uint32, e entry) error {
		if r.dumped(e.ino) && r.wanted.has(dir, at) {
			if err := r.toldPath(e.ino, prefix+e.name); err != nil {
				return err
			}
		}
		if d, ok := r.names.dir(e.ino); ok && depth < maxDepth && r.names.dirs[d].up == uint32(dir) && r.names.dirs[d].at == at {
			return r.listDir(d, prefix+e.name+"/", depth+1)
		}
		return nil
	})
}
