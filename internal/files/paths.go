package files

import (
	"varve/internal/fail"
	"varve/internal/inode"
)

// maxDepth bounds how deep directories are followed upwards: deeper ones than
// any path can name are a circle.
const maxDepth = maxPath

// side is a state of which paths are asked for: it remembers the names of
// directories.
type side struct {
	*state
	dirs map[uint64]dirName
}

type dirName struct {
	parent uint64
	name   string
}

// path returns the path of a name in a directory.
func (s *side) path(dir uint64, name string) (string, error) {
	var up []string
	for range maxDepth {
		up = append(up, name)
		if dir == inode.Root {
			for i, j := 0, len(up)-1; i < j; i, j = i+1, j-1 {
				up[i], up[j] = up[j], up[i]
			}
			return join(up), nil
		}
		d, err := s.dir(dir)
		if err != nil {
			return "", err
		}
		dir, name = d.parent, d.name
	}
	return "", fail.New(fail.Corrupt, "directory %d of %s is deeper than any path", dir, s.share)
}

// dir finds the name of a directory.
func (s *side) dir(ino uint64) (dirName, error) {
	if d, ok := s.dirs[ino]; ok {
		return d, nil
	}
	if s.dirs == nil {
		s.dirs = make(map[uint64]dirName)
	}
	var parent uint64
	err := s.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, ino)
		parent = i.Parent
		return err
	})
	if err != nil {
		return dirName{}, err
	}
	err = s.names(parent, func(chunk []inode.Entry) error {
		for _, e := range chunk {
			if uint32(e.Type)<<12 == inode.ModeDir {
				s.dirs[e.Ino] = dirName{parent, e.Name}
			}
		}
		return nil
	})
	if err != nil {
		return dirName{}, err
	}
	d, ok := s.dirs[ino]
	if !ok {
		return d, fail.New(fail.Corrupt, "directory %d of %s has no name", ino, s.share)
	}
	return d, nil
}

// paths finds all paths of each inode that is wanted. It looks where the inodes
// say that they are; those that have more names are searched for everywhere.
func (s *side) paths(wanted map[uint64]string, fn func(ino uint64, path string)) error {
	in := make(map[uint64]bool)     // directories to look into
	left := make(map[uint64]uint32) // names to be found
	for ino := range wanted {
		if ino == inode.Root {
			fn(ino, "/")
			continue
		}
		err := s.Look(func(r inode.Reader) error {
			i, err := inode.Load(r, ino)
			in[i.Parent] = true
			left[ino] = i.Nlink
			if i.IsDir() {
				left[ino] = 1
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	look := func(dir uint64, chunk []inode.Entry) error {
		for _, e := range chunk {
			if left[e.Ino] == 0 {
				continue
			}
			path, err := s.path(dir, e.Name)
			if err != nil {
				return err
			}
			fn(e.Ino, path)
			if left[e.Ino]--; left[e.Ino] == 0 {
				delete(left, e.Ino)
			}
		}
		return nil
	}
	for dir := range in {
		if err := s.names(dir, func(chunk []inode.Entry) error { return look(dir, chunk) }); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	return s.everywhere(inode.Root, func(dir uint64, chunk []inode.Entry) error {
		if in[dir] {
			return nil
		}
		return look(dir, chunk)
	})
}

// everywhere visits the entries of all directories.
func (s *side) everywhere(root uint64, look func(dir uint64, chunk []inode.Entry) error) error {
	dirs := []uint64{root}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		err := s.names(dir, func(chunk []inode.Entry) error {
			for _, e := range chunk {
				if uint32(e.Type)<<12 == inode.ModeDir {
					dirs = append(dirs, e.Ino)
				}
			}
			return look(dir, chunk)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
