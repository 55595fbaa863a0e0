package dir

import (
	"fmt"
	"path/filepath"

	"varve/internal/fail"
)

// Spare segments are files of zeros with all their space, which have no number
// yet: log/1.spare and so on. They are there for the day when somebody else has
// filled the file system. Then Create takes one, so that what frees space can
// still be logged. They count as free; together with what segments occupy they
// fit into the capacity.
const spareSuffix = ".spare"

// spareShare is the part of a small pool's segments that may be spare ones.
const spareShare = 4

func (s *Store) sparePath(i int) string {
	return filepath.Join(s.logDir(), fmt.Sprintf("%d%s", i, spareSuffix))
}

// wantSpare is how many spare segments there should be. metaMu is held.
func (s *Store) wantSpare() int {
	return int(min(int64(s.spareMost), s.layout.capacity/s.layout.segmentSize/spareShare))
}

// loadSpare takes over a spare segment that an earlier opening left, or removes
// what is none.
func (s *Store) loadSpare(name string, allocated int64) error {
	var i int
	if _, err := fmt.Sscanf(name, "%d"+spareSuffix, &i); err == nil && i > 0 && i <= s.spareMost && allocated >= s.layout.segmentSize {
		s.spares[i] = true
		return nil
	}
	return s.fsys.Remove(filepath.Join(s.logDir(), name))
}

// freeSpare is the lowest spare's number that is not there; 0: there are as many
// as there should be. metaMu is held.
func (s *Store) freeSpare() int {
	if len(s.spares) >= s.wantSpare() {
		return 0
	}
	i := 1
	for s.spares[i] {
		i++
	}
	return i
}

// keepSpare makes one spare segment, where some are missing and there is space
// for it and another segment. It is no failure if it cannot.
func (s *Store) keepSpare() {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	i := s.freeSpare()
	if i == 0 {
		return
	}
	_, unspared, err := s.room()
	if err != nil || unspared < 2*s.SegmentSize() {
		return
	}
	name := s.sparePath(i)
	if err := s.fill(name+newSuffix, false); err != nil {
		s.fsys.Remove(name + newSuffix) // or the next Open does
		return
	}
	s.addSpare(i, name+newSuffix)
}

// addSpare gives a file its name as a spare segment. metaMu is held.
func (s *Store) addSpare(i int, file string) {
	if s.fsys.Rename(file, s.sparePath(i)) != nil {
		s.fsys.Remove(file)
		return
	}
	if s.fsys.SyncDir(s.logDir()) == nil {
		s.spares[i] = true
	}
}

// spareFrom makes the file of a segment that goes a spare one; false: it is
// still to be removed. metaMu is held.
func (s *Store) spareFrom(file string) bool {
	i := s.freeSpare()
	if i == 0 {
		return false
	}
	f, err := s.fsys.Open(file, readWrite, 0)
	if err != nil {
		return false
	}
	for _, step := range []func() error{
		func() error { return f.PunchHole(0, s.SegmentSize()) },
		func() error { return f.Allocate(0, s.SegmentSize()) },
		f.Sync,
		f.Close,
		func() error { return s.fsys.Rename(file, s.sparePath(i)) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		f.Close()
		return false
	}
	s.spares[i] = true
	return true
}

// fromSpare makes a spare segment the file of a segment. NoSpace: none is left.
func (s *Store) fromSpare(n uint64) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	for i := range s.spares {
		delete(s.spares, i)
		if err := s.fsys.Rename(s.sparePath(i), s.path(n)); err != nil {
			if fail.Is(err, fail.NotFound) {
				continue
			}
			return err
		}
		return s.fsys.SyncDir(s.logDir())
	}
	return fail.New(fail.NoSpace, "no space for segment %d in %s", n, s.dir)
}
