package engine_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
)

// benchVolume opens an empty volume in memory.
func benchVolume(b *testing.B, size uint64) (*engine.Engine, *vol.Volume) {
	store := mem.New(64<<20, 64<<30)
	if err := engine.Format(store, time.Now(), seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close(context.Background()) })
	if _, err := e.CreateVolume(engine.Caller{Proto: "bench"}, "d", size); err != nil {
		b.Fatal(err)
	}
	v, err := vol.Open(e, "d", nil, engine.Caller{Proto: "bench"}, func() {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(v.Close)
	return e, v
}

// BenchmarkWrite is the engine's share of a 4 KiB random write: everything but
// the wire and the disk.
func BenchmarkWrite(b *testing.B) {
	_, v := benchVolume(b, 2<<30)
	p := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(4096)
	i := uint64(1)
	for b.Loop() {
		i = i*6364136223846793005 + 1442695040888963407
		if err := v.WriteAt(p, i>>33%(2<<30/4096)*4096); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead is the engine's share of a 4 KiB random read.
func BenchmarkRead(b *testing.B) {
	_, v := benchVolume(b, 64<<20)
	p := make([]byte, 1<<20)
	for off := uint64(0); off < 64<<20; off += 1 << 20 {
		if err := v.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(4096)
	i := uint64(1)
	for b.Loop() {
		i = i*6364136223846793005 + 1442695040888963407
		if ok, err := v.TryReadAt(p[:4096], i>>33%(64<<20/4096)*4096, nil); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
