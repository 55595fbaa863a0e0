package dir

import (
	"maps"
	"slices"

	"varve/internal/fail"
)

// GiveBack implements segstore.Store: it removes the spare segments that need not
// be there, and makes the others read as zeros. Others may allocate in between.
func (s *Store) GiveBack() error {
	if err := s.writable(); err != nil {
		return err
	}
	s.metaMu.Lock()
	all := slices.Sorted(maps.Keys(s.spares))
	s.metaMu.Unlock()
	for _, i := range slices.Backward(all) {
		if err := s.giveBack(i); err != nil {
			return err
		}
	}
	return s.fsys.SyncDir(s.logDir())
}

// giveBack removes or clears spare segment i.
func (s *Store) giveBack(i int) error {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if !s.has(i) {
		return nil // it is a segment again
	}
	if len(s.spares) <= s.wantSpare() {
		err := s.clear(s.sparePath(i))
		if err == nil {
			s.spares[i] = false
			return nil
		}
	}
	if err := s.fsys.Remove(s.sparePath(i)); err != nil && !fail.Is(err, fail.NotFound) {
		return err
	}
	delete(s.spares, i)
	return nil
}
