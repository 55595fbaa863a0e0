package compact

import "varve/internal/fail"

// Finish removes what an interrupted Compact left: the files of pending
// segments, of which the slot still holds every block that it should, and
// slots that hold nothing. It can be repeated. Errors: the first one; Corrupt
// if a slot has lost a block: then the segment keeps its file and stays
// pending.
func (s *Store) Finish() error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	first := s.sweep()
	tables := map[*slot]*table{}
	for _, n := range s.Pending() {
		if err := s.finish(n, tables); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (s *Store) finish(n uint64, tables map[*slot]*table) error {
	s.claims.take(n)
	defer s.claims.release(n)
	h := s.lookup(n)
	if h == nil || !h.file { // removed meanwhile
		return nil
	}
	buf := make([]byte, blockSize)
	for _, r := range h.runs {
		t, err := s.tableOf(h.slot, tables)
		if err != nil {
			return err
		}
		for i := range r.blocks {
			if err := s.base.ReadAt(h.slot.number, buf, int64(r.at+i)*blockSize); err != nil {
				return err
			}
			if err := t.check(r.at+i, buf); err != nil {
				return fail.Wrap(fail.Corrupt, err, "segment %d block %d is damaged where it was copied to; its file is kept", n, r.block+i)
			}
		}
	}
	return s.removeFile(n, h)
}
