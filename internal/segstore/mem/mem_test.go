package mem_test

import (
	"testing"

	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/segstore/segstoretest"
)

func TestStore(t *testing.T) {
	segstoretest.Run(t, segstoretest.Harness{
		New: func(*testing.T) segstore.Store {
			return mem.New(segstoretest.SegmentSize, segstoretest.Capacity*segstoretest.SegmentSize)
		},
		Reopen: func(t *testing.T, s segstore.Store) segstore.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return s
		},
	})
}
