package httpapi

import (
	"context"
	"time"

	"varve/internal/engine"
	"varve/internal/when"
)

// snapshot names a moment of a dataset, the present one without w, and says
// when it goes by itself, if ever.
func (s *Server) snapshot(ctx context.Context, dataset, name string, w *when.Spec, expires string) (engine.Done, error) {
	at, err := s.optionalExpiry(expires)
	if err != nil {
		return engine.Done{}, err
	}
	c, also := callerFrom(ctx), engine.Also{Expires: at}
	if w == nil {
		return s.pool.Snapshot(c, dataset, name, also)
	}
	return s.pool.SnapshotAt(c, dataset, name, *w, also)
}

// snapshotAll is snapshot of the present moment of all datasets.
func (s *Server) snapshotAll(ctx context.Context, name, expires string) (engine.Done, error) {
	at, err := s.optionalExpiry(expires)
	if err != nil {
		return engine.Done{}, err
	}
	return s.pool.SnapshotAll(callerFrom(ctx), name, engine.Also{Expires: at})
}

// optionalExpiry is expiry of a text that may be missing.
func (s *Server) optionalExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return s.expiry(text)
}
