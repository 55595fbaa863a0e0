package engine_test

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

// reforge changes the superblock of a pool and seals it again, as another
// version of varve would have written it.
func reforge(t *testing.T, s segstore.Store, change func(b []byte)) {
	t.Helper()
	b, err := s.Superblock()
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	binary.LittleEndian.PutUint32(b[20:], 0)
	binary.LittleEndian.PutUint32(b[20:], segment.Checksum(b))
	if err := s.WriteSuperblock(b); err != nil {
		t.Fatal(err)
	}
}

// What another version of varve made is refused by name, but read as far as it
// allows.
func TestOtherFormats(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name           string
		change         func(b []byte)
		opens, readily bool   // Open; CheckStore
		says           string // where it refuses
	}{
		{"the same", func([]byte) {}, true, true, ""},
		{"a newer version", func(b []byte) { le.PutUint32(b[16:], 4) }, false, false, "version 4"},
		{"an older version", func(b []byte) { le.PutUint32(b[16:], 1) }, false, false, "version 1"},
		{"compatible features", func(b []byte) { le.PutUint64(b[24:], 1<<40) }, true, true, ""},
		{"features only for reading", func(b []byte) { le.PutUint64(b[32:], 1<<41|4) }, false, true, "0x20000000004"},
		{"incompatible features", func(b []byte) { le.PutUint64(b[40:], 1<<63) }, false, false, "0x8000000000000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := mem.New(1<<20, 1<<30)
			c := newCrowd(t, engine.Options{Store: store, CheckpointEvery: -1})
			if _, err := c.e.CreateVolume(tester, "d", 8*block); err != nil {
				t.Fatal(err)
			}
			if err := c.e.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			reforge(t, store, tt.change)
			judge := func(what string, err error, fine bool) {
				t.Helper()
				switch {
				case fine && err != nil:
					t.Errorf("%s: %v", what, err)
				case !fine && (!fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "newer")):
					t.Errorf("%s: %v (kind %v), want unsupported, naming %s and what to do", what, err, fail.KindOf(err), tt.says)
				}
			}
			rep, err := engine.CheckStore(context.Background(), store, true, nil)
			judge("check", err, tt.readily)
			if tt.readily && (len(rep.Damage) > 0 || rep.Datasets != 1 || rep.Ops != 1) {
				t.Errorf("check: %+v", rep)
			}
			e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
			judge("open", err, tt.opens)
			if err == nil {
				e.Abort()
			}
		})
	}
}

// No pool is not a damaged pool.
func TestNoPool(t *testing.T) {
	store := mem.New(1<<20, 1<<30)
	if _, err := engine.Open(engine.Options{Store: store}); !fail.Is(err, fail.NotFound) {
		t.Errorf("open: %v", err)
	}
	if _, err := engine.CheckStore(context.Background(), store, false, nil); !fail.Is(err, fail.NotFound) {
		t.Errorf("check: %v", err)
	}
}
