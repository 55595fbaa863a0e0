package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

// slowStore can hold up one read.
type slowStore struct {
	segstore.Store
	mu      sync.Mutex
	arrived chan struct{} // nil: no read is held up
	open    chan struct{}
}

// hold lets the next read wait until the returned function is called. arrived
// is closed when it waits.
func (s *slowStore) hold() (arrived <-chan struct{}, open func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived, s.open = make(chan struct{}), make(chan struct{})
	gate := s.open
	return s.arrived, func() { close(gate) }
}

func (s *slowStore) ReadAt(n uint64, p []byte, off int64) error {
	err := s.Store.ReadAt(n, p, off) // what it finds is old by the time it is used
	s.mu.Lock()
	arrived, open := s.arrived, s.open
	s.arrived = nil
	s.mu.Unlock()
	if arrived != nil {
		close(arrived)
		<-open
	}
	return err
}

// What somebody writes into a block, while it is being merged into another
// write or cut by a truncation, stays.
func TestEdgesGuarded(t *testing.T) {
	const part = 512
	for _, kind := range []string{"volume", "file"} {
		for _, c := range []struct {
			name     string
			off, n   uint64 // the one that is held up
			other    uint64 // where the one of a part goes meanwhile
			truncate bool
		}{
			{"last block", 0, 2*block + part, 2*block + part, false},
			{"first block", 2*block + part, 2*block - part, 2 * block, false},
			{"inside a block", 2*block + part, part, 2 * block, false},
			{"truncation", 2*block + 3*part, 0, 2 * block, true},
		} {
			if c.truncate && kind == "volume" {
				continue
			}
			t.Run(fmt.Sprintf("%s of a %s", c.name, kind), func(t *testing.T) {
				f := newSlowFile(t, kind == "file")
				want := bytes.Repeat([]byte{1}, 4*block)
				arrived, open := f.slow.hold()
				done := make(chan error, 1)
				go func() {
					if c.truncate {
						done <- f.truncate(f.ino, c.off)
						return
					}
					done <- f.put(bytes.Repeat([]byte{2}, int(c.n)), c.off)
				}()
				<-arrived
				err := f.put(bytes.Repeat([]byte{3}, part), c.other)
				open()
				if err2 := <-done; err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				copy(want[c.off:], bytes.Repeat([]byte{2}, int(c.n)))
				copy(want[c.other:], bytes.Repeat([]byte{3}, part))
				if c.truncate {
					clear(want[c.off:])
				}
				got := make([]byte, len(want))
				if err := f.get(got, 0); err != nil {
					t.Fatal(err)
				}
				if i := differs(got, want); i >= 0 {
					t.Errorf("byte %d is %d, want %d", i, got[i], want[i])
				}
			})
		}
	}
}

// slowFile is a volume, or a file, of four blocks on a slow store.
type slowFile struct {
	hand
	slow *slowStore
	ino  uint64 // 0: a volume
}

// newSlowFile makes one whose blocks are in the store, and in no memory, while
// the nodes that say where are.
func newSlowFile(t *testing.T, file bool) *slowFile {
	t.Helper()
	slow := &slowStore{Store: mem.New(4<<20, 1<<30)}
	o := engine.Options{Store: slow, CheckpointEvery: -1}
	c := newCrowd(t, o)
	var err error
	if file {
		_, err = c.e.CreateShare(tester, "d", 0o755, 0, 0)
	} else {
		_, err = c.e.CreateVolume(tester, "d", 4*block)
	}
	if err != nil {
		t.Fatal(err)
	}
	i, err := c.e.Dataset("d")
	if err != nil {
		t.Fatal(err)
	}
	f := &slowFile{slow: slow, hand: newHand(t, c.e, i.ID)}
	if file {
		if f.ino, err = f.create(inode.Root, "f", inode.ModeFile); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.put(bytes.Repeat([]byte{1}, 4*block), 0); err != nil {
		t.Fatal(err)
	}
	f.Detach()
	e := c.reopen(o)
	t.Cleanup(func() { e.Close(context.Background()) })
	f.hand = newHand(t, e, i.ID)
	if err := f.get(make([]byte, block), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *slowFile) put(p []byte, off uint64) error {
	if f.ino != 0 {
		return f.write(f.ino, off, p)
	}
	return f.WriteAt(p, off)
}

func (f *slowFile) get(p []byte, off uint64) error { return f.ReadFile(f.ino, p, off) }
