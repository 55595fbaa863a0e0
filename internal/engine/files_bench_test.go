package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/segstore/mem"
)

// benchShare is a pool in memory with an empty share.
func benchShare(b *testing.B) *engine.Head {
	store := mem.New(64<<20, 64<<30)
	o := engine.Options{Store: store, CheckpointEvery: -1, Segment: func(o *segment.Options) { o.MarkerDelay = -1 }}
	if err := engine.Format(store, newClock().now(), seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Abort)
	if _, err := e.CreateShare(tester, "s", 0o755, 0, 0); err != nil {
		b.Fatal(err)
	}
	i, err := e.Dataset("s")
	if err != nil {
		b.Fatal(err)
	}
	h, err := e.AttachID(i.ID, tester, func() {})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

func create(h *engine.Head, dir uint64, name string) (uint64, error) {
	op := &oplog.Op{}
	err := h.Change(op, func(inode.Reader) error {
		*op = oplog.Op{
			Kind: oplog.Create, Dataset: h.ID(), Ino: h.NextIno(), Dir: dir, Name: name,
			Attr: oplog.Attr{Mask: oplog.SetMode | oplog.SetUID | oplog.SetGID, Mode: inode.ModeFile | 0o644},
		}
		return nil
	}, nil)
	return op.Ino, err
}

// BenchmarkCreate makes files in one directory: memory only, no sync.
func BenchmarkCreate(b *testing.B) {
	h := benchShare(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := create(h, inode.Root, fmt.Sprintf("file-%d", i)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFileWrite writes random blocks of one file.
func BenchmarkFileWrite(b *testing.B) {
	h := benchShare(b)
	ino, err := create(h, inode.Root, "file")
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, block)
	rng := rand.New(rand.NewPCG(2, 3))
	op := &oplog.Op{}
	b.ReportAllocs()
	b.SetBytes(block)
	for b.Loop() {
		off := rng.Uint64N(1<<18) * block
		*op = oplog.Op{Ino: ino, Off: off}
		if err := h.WriteFile(op, nil, p, func(inode.Reader) error { return nil }, nil); err != nil {
			b.Fatal(err)
		}
	}
}
