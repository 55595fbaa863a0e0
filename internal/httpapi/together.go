package httpapi

import (
	"context"
	"maps"
	"slices"
	"time"

	"varve/internal/engine"
	"varve/internal/when"
)

// What people ask for as one change may take several operations. When a later
// one fails, what the first made is destroyed again; after a crash in between
// the first alone may be there.

// snapshot names a moment of a dataset, the present one without w, and says
// when it goes by itself, if ever.
func (s *Server) snapshot(ctx context.Context, dataset, name string, w *when.Spec, expires string) (engine.Done, error) {
	at, err := s.optionalExpiry(expires)
	if err != nil {
		return engine.Done{}, err
	}
	c := callerFrom(ctx)
	var made engine.Done
	if w == nil {
		made, err = s.pool.Snapshot(c, dataset, name)
	} else {
		made, err = s.pool.SnapshotAt(c, dataset, name, *w)
	}
	if err != nil || at.IsZero() {
		return made, err
	}
	if err := s.expire(c, []engine.SnapshotInfo{{Dataset: dataset, Name: name}}, at); err != nil {
		return engine.Done{}, err
	}
	return made, nil
}

// snapshotAll is snapshot of the present moment of all datasets.
func (s *Server) snapshotAll(ctx context.Context, name, expires string) (engine.Done, error) {
	at, err := s.optionalExpiry(expires)
	if err != nil {
		return engine.Done{}, err
	}
	c := callerFrom(ctx)
	made, err := s.pool.SnapshotAll(c, name)
	if err != nil || at.IsZero() {
		return made, err
	}
	all, err := s.pool.Snapshots("")
	if err != nil {
		return engine.Done{}, err
	}
	all = slices.DeleteFunc(all, func(i engine.SnapshotInfo) bool { return i.ID != made.LSN })
	if err := s.expire(c, all, at); err != nil {
		return engine.Done{}, err
	}
	return made, nil
}

// expire says of snapshots that were just made when they go, or destroys them.
func (s *Server) expire(c engine.Caller, made []engine.SnapshotInfo, at time.Time) error {
	for _, i := range made {
		if _, err := s.pool.Expire(c, i.Dataset, i.Name, at); err != nil {
			for _, i := range made {
				s.undo("snapshot", i.Dataset+"@"+i.Name, func() (engine.Done, error) {
					return s.pool.DestroySnapshot(c, i.Dataset, i.Name)
				})
			}
			return err
		}
	}
	return nil
}

// clone makes a dataset from a moment of another, with properties of its own.
func (s *Server) clone(ctx context.Context, dataset string, w when.Spec, name string, properties map[string]string) (engine.Done, error) {
	c := callerFrom(ctx)
	made, err := s.pool.Clone(c, dataset, w, name)
	if err != nil {
		return made, err
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if _, err := s.pool.Set(c, name, key, properties[key]); err != nil {
			s.undo("clone", name, func() (engine.Done, error) { return s.pool.Destroy(c, name, true) })
			return engine.Done{}, err
		}
	}
	return made, nil
}

// undo destroys what was made, whose rest failed: the caller learns that.
func (s *Server) undo(what, name string, destroy func() (engine.Done, error)) {
	if _, err := destroy(); err != nil {
		s.log.Warn("left behind", "what", what, "name", name, "error", err)
	}
}

// optionalExpiry is expiry of a text that may be missing.
func (s *Server) optionalExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return s.expiry(text)
}
