package restore

import (
	"hash/maphash"
)

// nameIndex finds the names of one directory: their hashes, sorted, with their places.
type nameIndex struct {
	n *names
	s *sorted // hash<<32 | place
}

// indexDir indexes a directory. Close it.
func (n *names) indexDir(dir int) (*nameIndex, error) {
	s := n.sorter()
	defer s.close()
	err := n.each(dir, func(at uint32, e entry) error { return s.add(uint64(n.hash(e.name))<<32 | uint64(at)) })
	if err != nil {
		return nil, err
	}
	all, err := s.sorted()
	if err != nil {
		return nil, err
	}
	return &nameIndex{n, all}, nil
}

func (n *names) hash(name string) uint32 { return uint32(maphash.String(n.seed, name)) }

// has reports whether a directory has a name for the same inode; nil has none.
func (x *nameIndex) has(want entry) (there bool, err error) {
	if x == nil {
		return false, nil
	}
	hash := x.n.hash(want.name)
	serr := x.s.from(uint64(hash)<<32, func(v uint64) bool {
		if uint32(v>>32) != hash {
			return false
		}
		var e entry
		if e, _, err = x.n.entry(uint32(v)); err != nil || e.name != want.name {
			return err == nil
		}
		there = e.ino == want.ino
		return false
	})
	if err == nil {
		err = serr
	}
	return there, err
}

// each visits the places by hash, and those of one hash by place.
func (x *nameIndex) each(fn func(hash, at uint32) error) error {
	var err error
	serr := x.s.from(0, func(v uint64) bool {
		err = fn(uint32(v>>32), uint32(v))
		return err == nil
	})
	if err == nil {
		err = serr
	}
	return err
}

func (x *nameIndex) close() {
	if x != nil {
		x.s.close()
	}
}
