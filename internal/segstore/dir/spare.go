package dir

import (
	"fmt"
	"path/filepath"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/vfs"
)

// Spare segments are files with all their space, of any content, which have no
// number now: log/1.spare and so on. Options.Spare of them are there for the day
// when somebody else has filled the file system. Then Create takes one, so that
// what frees space can still be logged.
//
// Beyond these there are some that were removed and will be needed again soon: to
// unlink a file and to make one takes a file system tens of milliseconds, and where
// it tells the disk what it frees all others wait for that too; to rename one takes
// less than one.
//
// All count as free; together with what segments occupy they fit into the capacity.
const spareSuffix = ".spare"

const (
	// spareShare is the part of a small pool's segments that may be spare ones.
	spareShare = 4

	// reuseMost is how many are kept beyond Options.Spare.
	reuseMost = 28
)

func (s *Store) sparePath(i int) string {
	return filepath.Join(s.logDir(), fmt.Sprintf("%d%s", i, spareSuffix))
}

// wantSpare is how many spare segments there should be, and mostSpare how many
// there may be. metaMu is held.
func (s *Store) wantSpare() int { return s.atMost(s.spareMost) }

func (s *Store) mostSpare() int {
	if s.spareMost == 0 {
		return 0
	}
	return s.atMost(s.spareMost + reuseMost)
}

func (s *Store) atMost(n int) int {
	return int(min(int64(n), s.layout.capacity/s.layout.segmentSize/spareShare))
}

// loadSpare takes over a spare segment that an earlier opening left, or removes
// what is none.
func (s *Store) loadSpare(name string, allocated int64) error {
	var i int
	if _, err := fmt.Sscanf(name, "%d"+spareSuffix, &i); err == nil && i > 0 && i <= s.mostSpare() && allocated >= s.layout.segmentSize {
		s.spares[i] = false
		return nil
	}
	return s.fsys.Remove(filepath.Join(s.logDir(), name))
}

// freeSpare is the lowest spare's number that is not there; 0: there are so many.
// metaMu is held.
func (s *Store) freeSpare(most int) int {
	if len(s.spares) >= most {
		return 0
	}
	i := 1
	for s.has(i) {
		i++
	}
	return i
}

func (s *Store) has(i int) bool {
	_, ok := s.spares[i]
	return ok
}

// surplus reports whether one of the spare segments that need not be there has
// such a content. metaMu is held.
func (s *Store) surplus(c segstore.Content) bool {
	if len(s.spares) <= s.wantSpare() || c == segstore.Zeros {
		return false
	}
	_, ok := s.chooseSpare(c)
	return ok
}

// chooseSpare returns a spare segment, and whether it has such a content. 0: there
// is none. metaMu is held.
func (s *Store) chooseSpare(c segstore.Content) (i int, ok bool) {
	for i = range s.spares {
		if c == segstore.Anything || c == segstore.Written && s.spares[i] {
			return i, true
		}
	}
	return i, false
}

// keepSpare makes one spare segment, where some are missing and there is space
// for it and another segment. It is no failure if it cannot.
func (s *Store) keepSpare() {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	i := s.freeSpare(s.wantSpare())
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
		s.spares[i] = false
	}
}

// spareFrom makes the file of a segment that goes a spare one; false: it is
// still to be removed. metaMu is held.
func (s *Store) spareFrom(seg *segment) bool {
	i := s.freeSpare(s.mostSpare())
	if i == 0 {
		return false
	}
	size := s.SegmentSize()
	if len(s.spares) >= s.wantSpare() && s.used-seg.allocated+int64(len(s.spares)+1)*size > s.layout.capacity {
		return false // the capacity was more once: the space is for others now
	}
	if grown := size - seg.allocated; grown > 0 {
		if _, unspared, err := s.room(); err != nil || unspared < grown {
			return false
		}
	}
	if s.allocate(s.path(seg.number)) != nil || s.fsys.Rename(s.path(seg.number), s.sparePath(i)) != nil {
		return false
	}
	s.spares[i] = seg.allocated >= size
	return true
}

// trimSpares removes the spare segments that the capacity has no room for, but not
// those for when the file system is full. metaMu is held, or nobody else is there yet.
func (s *Store) trimSpares() error {
	removed := false
	for i := range s.spares {
		n := len(s.spares)
		fit := s.used+int64(n)*s.SegmentSize() <= s.layout.capacity
		if n <= s.wantSpare() || fit && n <= s.mostSpare() {
			break
		}
		if err := s.dropSpare(i); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return s.fsys.SyncDir(s.logDir())
}

// dropSpare removes spare segment i. metaMu is held, or nobody else is there yet.
func (s *Store) dropSpare(i int) error {
	if err := s.fsys.Remove(s.sparePath(i)); err != nil && !fail.Is(err, fail.NotFound) {
		return err
	}
	delete(s.spares, i)
	return nil
}

// allocate gives a file all its space, durably.
func (s *Store) allocate(file string) error {
	return s.prepare(file, func(f vfs.File) error { return f.Allocate(0, s.SegmentSize()) })
}

// clear makes a file that has all its space read as zeros, durably. It keeps the
// space: on a full disk others wait for what is let go.
func (s *Store) clear(file string) error {
	return s.prepare(file, func(f vfs.File) error { return f.Zero(0, s.SegmentSize()) })
}

// prepare changes a file, durably.
func (s *Store) prepare(file string, change func(vfs.File) error) error {
	f, err := s.fsys.Open(file, readWrite, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := change(f); err != nil {
		return err
	}
	return f.Sync()
}

// fromSpare makes a spare segment the file of a segment, with content as asked
// for as far as that goes. false: there is none left.
func (s *Store) fromSpare(n uint64, c segstore.Content) (bool, error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	for len(s.spares) > 0 {
		i, _ := s.chooseSpare(c)
		delete(s.spares, i)
		err := s.renumber(s.sparePath(i), n, c)
		if !fail.Is(err, fail.NotFound) {
			return err == nil, err
		} // somebody removed it
	}
	return false, nil
}

// renumber makes the file of a spare segment that of segment n, or removes it.
// NotFound: there is no such file.
func (s *Store) renumber(file string, n uint64, c segstore.Content) error {
	if c == segstore.Zeros {
		if err := s.clear(file); err != nil {
			s.fsys.Remove(file)
			return err
		}
	}
	err := s.fsys.Rename(file, s.path(n))
	if err == nil {
		file = s.path(n)
		err = s.fsys.SyncDir(s.logDir())
	}
	if err != nil {
		s.fsys.Remove(file) // nobody has been promised it
	}
	return err
}
