package engine_test

import (
	"bytes"
	"context"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// What a front end keeps with a volume is there after an end and after a crash,
// under another name, and not in a clone.
func TestStateStays(t *testing.T) {
	o := engine.Options{Store: mem.New(1<<20, 1<<30), CheckpointEvery: -1}
	e := newCrowd(t, o).e
	if _, err := e.CreateVolume(tester, "d", 8*block); err != nil {
		t.Fatal(err)
	}
	attach := func(name string) *engine.Head {
		h, err := e.Attach(name, tester, true, func() {})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	long := bytes.Repeat([]byte("0123456789"), engine.MaxState/10)
	for i, p := range [][]byte{long, long[:1000], nil, long[:1], long[:768], long} {
		h := attach("d")
		if err := h.SetState(p); err != nil {
			t.Fatal(err)
		}
		if err := h.SetState(make([]byte, engine.MaxState+1)); !fail.Is(err, fail.TooBig) {
			t.Fatalf("too much of it: %v", err)
		}
		h.Detach()
		if i%2 == 0 {
			e.Abort()
		} else if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		var err error
		if e, err = engine.Open(o); err != nil {
			t.Fatal(err)
		}
		h = attach("d")
		if got := h.State(); !bytes.Equal(got, p) {
			t.Fatalf("step %d: %d bytes are there, want %d", i, len(got), len(p))
		}
		h.Detach()
	}
	if _, err := e.Clone(tester, "d", when.Spec{Kind: when.Now}, "c"); err != nil {
		t.Fatal(err)
	}
	if h := attach("c"); len(h.State()) != 0 {
		t.Fatal("a clone has the state of its origin")
	}
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Updates from several sides, and unaligned writes beside them, lose nothing.
func TestUpdatesAreWhole(t *testing.T) {
	o := engine.Options{Store: mem.New(1<<20, 1<<30), CheckpointEvery: -1}
	e := newCrowd(t, o).e
	if _, err := e.CreateVolume(tester, "d", 8*block); err != nil {
		t.Fatal(err)
	}
	h, err := e.Attach("d", tester, true, func() {})
	if err != nil {
		t.Fatal(err)
	}
	const each, sides = 200, 3
	done := make(chan error, sides+1)
	count := func(p []byte) bool {
		for i := range p {
			p[i]++
		}
		return true
	}
	for range sides {
		go func() {
			for range each {
				if err := h.Update(block-512, block+1024, count); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	go func() {
		for i := range each {
			if err := h.WriteAt([]byte{byte(i)}, block-513); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range sides + 1 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	p := make([]byte, block+1024)
	if err := h.ReadAt(p, block-512, nil); err != nil {
		t.Fatal(err)
	}
	for i, b := range p {
		if b != byte(sides*each%256) {
			t.Fatalf("byte %d was counted %d times (mod 256), want %d", i, b, sides*each%256)
		}
	}
	if err := h.Update(0, 512, func(p []byte) bool { p[0] = 9; return false }); err != nil {
		t.Fatal(err)
	}
	if err := h.ReadAt(p[:1], 0, nil); err != nil || p[0] != 0 {
		t.Fatalf("a change that was given up was written: %d, %v", p[0], err)
	}
	h.Detach()
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
