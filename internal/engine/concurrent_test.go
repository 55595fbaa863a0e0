package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// crowd is many clients at work on one pool.
type crowd struct {
	t     *testing.T
	e     *engine.Engine
	stop  atomic.Bool
	group sync.WaitGroup
}

func newCrowd(t *testing.T, o engine.Options) *crowd {
	t.Helper()
	now := time.Now
	if o.Now != nil {
		now = o.Now // else a pool made today would be ahead of a test's own clock
	}
	if err := engine.Format(o.Store, now(), seedReader{rand.New(rand.NewPCG(1, 1))}); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{t: t, e: e}
}

// do runs fn over and over in a goroutine of its own until the crowd stops or
// fn fails.
func (c *crowd) do(what string, fn func() error) {
	c.group.Go(func() {
		for !c.stop.Load() {
			if err := fn(); err != nil {
				c.t.Errorf("%s: %v", what, err)
				c.stop.Store(true)
			}
		}
	})
}

// writer owns a stripe of a volume: nobody else writes there. It remembers its
// latest operations, so that a snapshot can be compared with what was there
// before and after them.
type writer struct {
	v      *vol.Volume
	off, n uint64 // the stripe, bytes
	rng    *rand.Rand

	mu      sync.Mutex // over past and began; the snapshot's taker looks
	now     []byte
	began   uint64 // operations begun
	past    map[uint64][]byte
	counter uint64
}

// step writes, trims or zeroes, and reads back.
func (w *writer) step() error {
	off := w.rng.Uint64N(w.n)
	n := min(1+w.rng.Uint64N(3*block), w.n-off)
	if w.rng.IntN(2) == 0 {
		off, n = off/block*block, max(block, n/block*block)
	}
	w.mu.Lock()
	next := bytes.Clone(w.now)
	w.counter++
	var p []byte
	trim := w.rng.IntN(5) == 0
	if trim {
		clear(next[off : off+n])
	} else {
		p = make([]byte, n)
		for i := range p {
			p[i] = byte(w.counter + uint64(i)*7)
		}
		copy(next[off:], p)
	}
	w.began++
	w.past[w.began] = next
	delete(w.past, w.began-4000)
	w.mu.Unlock()
	var err error
	if trim {
		err = w.v.Zero(w.off+off, n, off%block != 0 || n%block != 0) // one operation either way
	} else {
		err = w.v.WriteAt(p, w.off+off)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.now = next
	w.mu.Unlock()
	if w.rng.IntN(8) == 0 {
		if err := w.v.Flush(); err != nil {
			return err
		}
	}
	if w.rng.IntN(3) == 0 {
		return w.verify(w.v, next)
	}
	return nil
}

func (w *writer) verify(v *vol.Volume, want []byte) error {
	got := make([]byte, w.n)
	if err := v.ReadAt(got, w.off, nil); err != nil {
		return err
	}
	if i := differs(got, want); i >= 0 {
		return fmt.Errorf("byte %d of the stripe at %d is %#x, want %#x", i, w.off, got[i], want[i])
	}
	return nil
}

func differs(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// verifyPast checks that v shows the stripe as it was between two counts of
// operations begun.
func (w *writer) verifyPast(v *vol.Volume, from, to uint64) error {
	got := make([]byte, w.n)
	if err := v.ReadAt(got, w.off, nil); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := from; i <= to; i++ {
		want, ok := w.past[i]
		if !ok && i > 0 {
			return nil // too long ago to remember
		}
		if i == 0 {
			want = make([]byte, w.n)
		}
		if bytes.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("the stripe at %d is as it never was between operations %d and %d", w.off, from, to)
}

func (w *writer) count() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.began
}

// Writers, readers, snapshots, clones, views, rollbacks, checkpoints, drains and
// horizons that move, at the same time: every byte read is right, and so is the pool afterwards.
func TestCrowd(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	store := mem.New(4<<20, 64<<30)
	o := engine.Options{Store: store, CheckpointEvery: 5 * time.Millisecond, CacheBytes: 1 << 20, BaseOps: 500}
	c := newCrowd(t, o)
	var writers []*writer
	for g := range uint64(8) {
		name := fmt.Sprintf("d%d", g%3)
		if g < 3 {
			if _, err := c.e.CreateVolume(tester, name, 32<<20); err != nil {
				t.Fatal(err)
			}
		}
		v, err := vol.Open(c.e, name, nil, tester, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		const stripe = 96 << 10
		w := &writer{v: v, off: g*stripe + 3<<20, n: stripe, now: make([]byte, stripe), past: map[uint64][]byte{}, rng: rand.New(rand.NewPCG(seed, g))}
		writers = append(writers, w)
		c.do("writer", w.step)
	}
	c.do("checkpoint", func() error {
		time.Sleep(3 * time.Millisecond)
		return c.e.Checkpoint()
	})
	takers(c, writers, seed)
	rollers(c, seed)
	pruned, cloned := forgetters(c, writers, seed)
	time.Sleep(5 * time.Second)
	c.stop.Store(true)
	c.group.Wait()
	if t.Logf("%d horizons moved, %d clones of the past", pruned.Load(), cloned.Load()); pruned.Load() == 0 || cloned.Load() == 0 {
		t.Error("nothing was forgotten, or no past was looked at")
	}
	for _, w := range writers {
		if err := w.verify(w.v, w.now); err != nil {
			t.Error(err)
		}
		w.v.Close()
	}
	e := c.reopen(o)
	defer e.Close(context.Background())
	for g, w := range writers {
		at := when.Spec{Kind: when.Now}
		v, err := vol.Open(e, fmt.Sprintf("d%d", g%3), &at, tester, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.verify(v, w.now); err != nil {
			t.Errorf("reopened: %v", err)
		}
		v.Close()
		t.Logf("writer %d: %d operations", g, w.count())
	}
}

// reopen closes the pool, opens it again and checks it.
func (c *crowd) reopen(o engine.Options) *engine.Engine {
	c.t.Helper()
	if err := c.e.Close(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	e, err := engine.Open(o)
	if err != nil {
		c.t.Fatal(err)
	}
	rep, err := e.Check(context.Background(), true, nil)
	if err != nil || rep.Nodes == 0 {
		c.t.Fatal(err, rep)
	}
	for _, d := range rep.Damage {
		c.t.Errorf("check: %s: %s", d.Where, d.What)
	}
	return e
}

// takers take snapshots, clones and views of what is being written.
func takers(c *crowd, writers []*writer, seed uint64) {
	serial := 0
	rng := rand.New(rand.NewPCG(seed, 100))
	c.do("snapshot", func() error {
		serial++
		d := rng.IntN(3)
		name, label := fmt.Sprintf("d%d", d), fmt.Sprintf("x%d", serial)
		from := counts(writers)
		done, err := c.e.Snapshot(tester, name, label)
		if err != nil {
			return err
		}
		to := counts(writers)
		spec := when.Spec{Kind: when.Snapshot, Name: label}
		if err := c.lookPast(name, spec, writers, d, from, to); err != nil {
			return err
		}
		if serial%3 == 0 {
			clone := fmt.Sprintf("c%d", serial)
			if _, err := c.e.Clone(tester, name, atLSN(done.LSN), clone); err != nil {
				return err
			}
			if err := c.lookPast(clone, when.Spec{Kind: when.Now}, writers, d, from, to); err != nil {
				return err
			}
			if _, err := c.e.Destroy(tester, clone, serial%2 == 0); err != nil {
				return err
			}
		}
		if serial%2 == 0 {
			_, err = c.e.DestroySnapshot(tester, name, label)
		}
		return err
	})
	c.do("view", func() error {
		d := int(time.Now().UnixNano() % 3)
		from := counts(writers)
		m, err := c.e.Resolve(fmt.Sprintf("d%d", d), when.Spec{Kind: when.Now})
		if err != nil {
			return err
		}
		to := counts(writers)
		time.Sleep(time.Millisecond) // so that it is the past
		return forgot(c.lookPast(m.Dataset, atLSN(m.LSN), writers, d, from, to))
	})
}

func counts(ws []*writer) []uint64 {
	var out []uint64
	for _, w := range ws {
		n := w.count()
		out = append(out, n)
	}
	return out
}

// lookPast compares a moment with what the writers of volume d did then: the
// one under way before the moment may or may not be in it.
func (c *crowd) lookPast(name string, at when.Spec, ws []*writer, d int, from, to []uint64) error {
	v, err := vol.Open(c.e, name, &at, tester, nil)
	if err != nil {
		return err
	}
	defer v.Close()
	for g, w := range ws {
		if g%3 != d {
			continue
		}
		if err := w.verifyPast(v, max(1, from[g])-1, to[g]); err != nil {
			return fmt.Errorf("%s%v: %w", name, at, err)
		}
	}
	return nil
}

// rollers write volumes of their own and roll them back, forced or not.
func rollers(c *crowd, seed uint64) {
	for r := range uint64(2) {
		name := fmt.Sprintf("r%d", r)
		if _, err := c.e.CreateVolume(tester, name, 24<<20); err != nil {
			c.t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 200+r))
		var states []*rollState
		cur := &rollState{blocks: map[uint64]byte{}}
		c.do("roller", func() error {
			next, err := rollStep(c.e, name, rng, cur)
			if err != nil {
				return err
			}
			cur = next
			if states = append(states, cur); len(states)%6 != 0 {
				return nil
			}
			back := states[rng.IntN(len(states))]
			if _, err := c.e.Rollback(tester, name, atLSN(back.lsn), false); err != nil {
				return err
			}
			cur = back
			if states = append(states[:0:0], states[max(0, len(states)-40):]...); true {
				return back.verify(c.e, name)
			}
			return nil
		})
	}
}

// rollState is a volume of a roller after lsn: the first byte of each block.
type rollState struct {
	lsn    uint64
	blocks map[uint64]byte
}

func rollStep(e *engine.Engine, name string, rng *rand.Rand, cur *rollState) (*rollState, error) {
	next := &rollState{blocks: map[uint64]byte{}}
	for b, x := range cur.blocks {
		next.blocks[b] = x
	}
	v, err := vol.Open(e, name, nil, tester, func() {})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	p := make([]byte, block)
	for range 10 {
		b := rng.Uint64N(200)
		p[0] = byte(1 + rng.IntN(255))
		if err := v.WriteAt(p, b*block); err != nil {
			return nil, err
		}
		next.blocks[b] = p[0]
	}
	if rng.IntN(4) == 0 { // a large trim, for the drain
		if err := v.Trim(100*block, v.Size()-100*block); err != nil {
			return nil, err
		}
		for b := range next.blocks {
			if b >= 100 {
				delete(next.blocks, b)
			}
		}
	}
	m, err := e.Resolve(name, when.Spec{Kind: when.Now})
	next.lsn = m.LSN
	return next, err
}

func (s *rollState) verify(e *engine.Engine, name string) error {
	at := when.Spec{Kind: when.Now}
	v, err := vol.Open(e, name, &at, tester, nil)
	if err != nil {
		return err
	}
	defer v.Close()
	p := make([]byte, 200*block)
	if err := v.ReadAt(p, 0, nil); err != nil {
		return err
	}
	for b := range uint64(200) {
		if p[b*block] != s.blocks[b] {
			return fmt.Errorf("%s at lsn %d: block %d is %d, want %d", name, s.lsn, b, p[b*block], s.blocks[b])
		}
	}
	return nil
}

// Writers of different bytes of the same blocks never lose each other's.
func TestSharedBlocks(t *testing.T) {
	const goroutines, slice, rounds = 8, 100, 60
	const stride = goroutines * slice
	store := mem.New(4<<20, 1<<30)
	o := engine.Options{Store: store, CheckpointEvery: 5 * time.Millisecond}
	c := newCrowd(t, o)
	if _, err := c.e.CreateVolume(tester, "d", 1<<20); err != nil {
		t.Fatal(err)
	}
	const slices = 40 // of each goroutine: 8 blocks
	for g := range uint64(goroutines) {
		v, err := vol.Open(c.e, "d", nil, tester, func() {})
		if err != nil {
			t.Fatal(err)
		}
		c.group.Go(func() {
			defer v.Close()
			p, got := make([]byte, slice), make([]byte, slice)
			for r := range uint64(rounds) {
				for i := range uint64(slices) {
					fillSlice(p, g, i, r)
					off := i*stride + g*slice
					if err := v.WriteAt(p, off); err != nil {
						t.Error(err)
						return
					}
					if err := v.ReadAt(got, off, nil); err != nil || !bytes.Equal(got, p) {
						t.Errorf("goroutine %d, slice %d, round %d: lost its bytes (%v)", g, i, r, err)
						return
					}
				}
			}
		})
	}
	c.group.Wait()
	e := c.reopen(o)
	defer e.Close(context.Background())
	at := when.Spec{Kind: when.Now}
	v, err := vol.Open(e, "d", &at, tester, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	want, got := make([]byte, slice), make([]byte, slice)
	for g := range uint64(goroutines) {
		for i := range uint64(slices) {
			fillSlice(want, g, i, rounds-1)
			if err := v.ReadAt(got, i*stride+g*slice, nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("goroutine %d, slice %d: lost its bytes (%v)", g, i, err)
			}
		}
	}
}

func fillSlice(p []byte, g, i, r uint64) {
	for k := 0; k+8 <= len(p); k += 8 {
		binary.LittleEndian.PutUint64(p[k:], g<<56|i<<40|r<<8|uint64(k))
	}
}

// A write beyond the end is the caller's mistake, and stops nothing.
func TestWriteBeyondEnd(t *testing.T) {
	c := newCrowd(t, engine.Options{Store: mem.New(4<<20, 1<<30), CheckpointEvery: -1})
	defer c.e.Abort()
	if _, err := c.e.CreateVolume(tester, "d", 8*block); err != nil {
		t.Fatal(err)
	}
	h, err := c.e.Attach("d", tester, true, func() {})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 2*block)
	for _, off := range []uint64{7 * block, 8 * block, 1 << 40, 1<<64 - 2*block, 1<<64 - block} {
		if err := h.Write(off, 2*block, [][]byte{p}, nil); !fail.Is(err, fail.Invalid) {
			t.Errorf("write at %d: %v", off, err)
		}
		if err := h.Trim(off, 2*block); !fail.Is(err, fail.Invalid) {
			t.Errorf("trim at %d: %v", off, err)
		}
	}
	if err := h.Write(6*block, 2*block, [][]byte{p}, nil); err != nil {
		t.Error(err)
	}
	if st := c.e.Status(); st.State != "online" {
		t.Errorf("the pool is %s: %s", st.State, st.Reason)
	}
}
