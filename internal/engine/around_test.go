package engine_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
)

// coldStore is a store whose blocks wait for the disk until they are read ahead.
type coldStore struct {
	*mem.Store
	warm  map[uint64]bool // blocks, of all segments
	reads int             // that waited for the disk
	tries int             // that found a block cold, and so would have had it fetched alone
	asked int             // what was read ahead, in calls
}

func coldKey(seg uint64, off int64) uint64 { return seg<<32 | uint64(off)/4096 }

func (s *coldStore) TryReadAt(seg uint64, p []byte, off int64) (bool, error) {
	for at := range len(p) / 4096 {
		if !s.warm[coldKey(seg, off+int64(at)*4096)] {
			s.tries++
			return false, nil
		}
	}
	return s.Store.TryReadAt(seg, p, off)
}

func (s *coldStore) ReadAt(seg uint64, p []byte, off int64) error {
	if ok, err := s.TryReadAt(seg, p, off); ok || err != nil {
		return err
	}
	s.reads++
	return s.Store.ReadAt(seg, p, off)
}

func (s *coldStore) Prefetch(seg uint64, off, n int64) {
	s.asked++
	for at := int64(0); at < n; at += 4096 {
		s.warm[coldKey(seg, off+at)] = true
	}
}

// TestReadAround reads a volume block by block, in random order, from a disk
// on which all of it is cold: a read that misses brings its neighbours along,
// as long as that pays.
func TestReadAround(t *testing.T) {
	const blocks = 4096
	store := &coldStore{Store: mem.New(16<<20, 1<<30), warm: map[uint64]bool{}}
	if err := engine.Format(store, time.Now(), seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	if _, err := e.CreateVolume(engine.Caller{Proto: "test"}, "d", blocks*4096); err != nil {
		t.Fatal(err)
	}
	v, err := vol.Open(e, "d", nil, engine.Caller{Proto: "test"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	data := make([]byte, blocks*4096)
	for i := range data {
		data[i] = byte(i/4096) ^ byte(i)
	}
	if err := v.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Flush(); err != nil {
		t.Fatal(err)
	}
	order := rand.New(rand.NewPCG(2, 2)).Perm(blocks)
	pass := func(n int) (waited int) {
		store.reads, store.tries, store.asked = 0, 0, 0
		p := make([]byte, 4096)
		for _, b := range order[:n] {
			off := uint64(b) * 4096
			ok, err := v.TryReadAt(p, off, nil)
			if err == nil && !ok {
				waited++
				err = v.ReadAt(p, off, nil)
			}
			if err != nil || !bytes.Equal(p, data[off:off+4096]) {
				t.Fatalf("block %d: %v", b, err)
			}
		}
		return waited
	}
	if waited := pass(blocks); waited > blocks/16 {
		t.Errorf("%d of %d reads waited for the disk, with credit", waited, blocks)
	}
	const windows = blocks / 32
	if store.tries > 8 || store.asked < windows-8 || store.asked > windows+8 {
		t.Errorf("%d windows were asked for %d times, %d blocks tried before", windows, store.asked, store.tries)
	}
	if waited := pass(blocks); waited > 8 || store.asked > 8 {
		t.Errorf("%d of %d reads waited, %d windows were asked for, where all was in memory", waited, blocks, store.asked)
	}
	for _, b := range order {
		if err := v.ReadAt(make([]byte, 4096), uint64(b)*4096, nil); err != nil {
			t.Fatal(err)
		}
	}
	if store.asked > 8 {
		t.Errorf("%d windows were asked for, where all was in memory and nobody tried", store.asked)
	}
	clear(store.warm) // from here on also what was known to be warm
	if waited := pass(blocks); waited > blocks/16 {
		t.Errorf("%d of %d reads waited for the disk once all had left memory", waited, blocks)
	}
	clear(store.warm)
	e.SpendReadAround()
	if waited := pass(64); waited != 64 || store.reads != 64 {
		t.Errorf("without credit %d of 64 reads waited, %d for single blocks: something was read ahead", waited, store.reads)
	}
	clear(store.warm)
	e.EarnReadAround(blocks)
	if waited := pass(blocks); waited > blocks/4 {
		t.Errorf("%d of %d reads waited for the disk, with credit that hits earned", waited, blocks)
	}
}
