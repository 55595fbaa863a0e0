package vol

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	store := mem.New(4<<20, 256<<20)
	if err := engine.Format(store, time.Now(), rand.NewChaCha8([32]byte{})); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// state is what a test knows of a volume at a moment: for each block the hash
// of its bytes, and the number of the write that stored it, 0 for a hole.
type state struct {
	at     when.Spec
	bytes  [][32]byte
	writes []int
}

func (s state) clone() state {
	return state{s.at, slices.Clone(s.bytes), slices.Clone(s.writes)}
}

// tester changes a volume at random and keeps its past.
type tester struct {
	t      *testing.T
	e      *engine.Engine
	rng    *rand.Rand
	v      *Volume
	now    state
	past   []state
	writes int
}

func (x *tester) ok(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// open opens the head, or a moment.
func (x *tester) open(name string, at *when.Spec) *Volume {
	x.t.Helper()
	v, err := Open(x.e, name, at, engine.Caller{}, func() {})
	x.ok(err)
	return v
}

// look brings the hashes of the blocks of a range up to date.
func (x *tester) look(off, n uint64) {
	var p [blockSize]byte
	for b := off / blockSize; b*blockSize < off+n; b++ {
		x.ok(x.v.ReadAt(p[:], b*blockSize, nil))
		x.now.bytes[b] = sha256.Sum256(p[:])
	}
}

// change writes, zeroes or trims a random range.
func (x *tester) change() {
	x.writes++
	off := x.rng.Uint64N(x.v.Size())
	n := 1 + x.rng.Uint64N(min(x.v.Size()-off, 300<<10))
	whole := func(b uint64) bool { return b*blockSize >= off && (b+1)*blockSize <= off+n }
	how := x.rng.IntN(6)
	switch how {
	case 0:
		x.ok(x.v.Trim(off, n))
	case 1:
		x.ok(x.v.Zero(off, n, false))
	case 2:
		x.ok(x.v.Zero(off, n, true))
	case 3: // the same bytes once more
		p := make([]byte, n)
		x.ok(x.v.ReadAt(p, off, nil))
		x.ok(x.v.WriteAt(p, off))
	default:
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(x.rng.Uint32())
		}
		x.ok(x.v.WriteAt(p, off))
	}
	for b := off / blockSize; b*blockSize < off+n; b++ {
		switch {
		case how <= 1 && whole(b):
			x.now.writes[b] = 0
		case how != 0:
			x.now.writes[b] = x.writes
		}
	}
	x.look(off, n)
}

// remember makes the present a moment to compare with.
func (x *tester) remember() {
	x.t.Helper()
	name := fmt.Sprint("s", len(x.past))
	done, err := x.e.Snapshot(engine.Caller{}, "d", name)
	x.ok(err)
	s := x.now.clone()
	s.at = when.Spec{Kind: when.Snapshot, Name: name}
	if x.rng.IntN(2) == 0 {
		s.at = when.Spec{Kind: when.LSN, LSN: done.LSN}
	}
	x.past = append(x.past, s)
}

// compare checks the map of v, whose state is now, since a moment: over all of
// it, and over a random part.
func (x *tester) compare(v *Volume, now, since state) {
	x.t.Helper()
	c, err := v.Since(since.at)
	x.ok(err)
	defer c.Close()
	off := x.rng.Uint64N(v.Size())
	x.compareRange(c, now, since, off, 1+x.rng.Uint64N(v.Size()-off))
	x.compareRange(c, now, since, 0, v.Size())
}

func (x *tester) compareRange(c *Changes, now, since state, off, n uint64) {
	x.t.Helper()
	at, last := off, Span{}
	x.ok(c.Map(off, n, func(s Span) bool {
		if s.Len == 0 || last.Len > 0 && last.Hole == s.Hole {
			x.t.Fatalf("span %+v after %+v", s, last)
		}
		last = s
		for b := at / blockSize; b*blockSize < at+s.Len; b++ {
			if now.bytes[b] != since.bytes[b] && s.Hole {
				x.t.Fatalf("block %d changed since %v and is not marked", b, since.at)
			}
			if now.writes[b] == since.writes[b] && !s.Hole {
				x.t.Fatalf("block %d was not touched since %v and is marked", b, since.at)
			}
		}
		at += s.Len
		return true
	}))
	if at != off+n {
		x.t.Fatalf("the map of %d bytes at %d ends at %d", n, off, at)
	}
}

// compareAll compares every moment with those before it, and now with all.
func (x *tester) compareAll() {
	x.t.Helper()
	for i, s := range x.past {
		x.compare(x.v, x.now, s)
		v := x.open("d", &s.at)
		for _, before := range x.past[:i+1] {
			x.compare(v, s, before)
		}
		v.Close()
	}
}

func TestChanges(t *testing.T) {
	const size = 20 << 20 // more than one window of the engine's comparison
	x := &tester{t: t, e: newEngine(t), rng: rand.New(rand.NewPCG(11, 17))}
	_, err := x.e.CreateVolume(engine.Caller{}, "d", size)
	x.ok(err)
	x.v = x.open("d", nil)
	x.now = state{bytes: make([][32]byte, size/blockSize), writes: make([]int, size/blockSize)}
	x.look(0, size)
	for i := range 6 {
		x.remember()
		for range 1 + x.rng.IntN(20) {
			x.change()
		}
		if i%2 == 0 {
			x.ok(x.e.Checkpoint())
		}
	}
	x.compareAll()

	// Back, on the same line, and on.
	x.v.Close()
	_, err = x.e.Rollback(engine.Caller{}, "d", x.past[2].at, false)
	x.ok(err)
	x.v = x.open("d", nil)
	x.now = x.past[2].clone()
	x.compareAll()
	x.change()
	x.remember()
	x.change()
	x.compareAll()

	// A clone has the past of its origin.
	last := x.past[len(x.past)-1]
	_, err = x.e.Clone(engine.Caller{}, "d", last.at, "fork")
	x.ok(err)
	fork := x.open("fork", nil)
	defer fork.Close()
	if _, err := fork.Since(when.Spec{Kind: when.Snapshot, Name: "s0"}); !fail.Is(err, fail.NotFound) {
		t.Errorf("a snapshot of the origin, by name: %v", err)
	}

	// Grown: what is new is a hole until it is written.
	x.v.Close()
	_, err = x.e.Resize(engine.Caller{}, "d", 2*size)
	x.ok(err)
	x.v = x.open("d", nil)
	defer x.v.Close()
	for _, s := range append([]*state{&x.now}, pointers(x.past)...) {
		s.writes = append(s.writes, make([]int, size/blockSize)...)
		s.bytes = append(s.bytes, slices.Repeat([][32]byte{sha256.Sum256(make([]byte, blockSize))}, size/blockSize)...)
	}
	for range 20 {
		x.change()
	}
	for _, s := range x.past {
		x.compare(x.v, x.now, s)
	}
}

func pointers(s []state) (out []*state) {
	for i := range s {
		out = append(out, &s[i])
	}
	return out
}

// A map goes no further than its visitor wants.
func TestMapStops(t *testing.T) {
	e := newEngine(t)
	if _, err := e.CreateVolume(engine.Caller{}, "d", 1<<20); err != nil {
		t.Fatal(err)
	}
	v, err := Open(e, "d", nil, engine.Caller{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	c, err := v.Since(when.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for off := uint64(0); off < 1<<20; off += 2 * blockSize {
		if err := v.WriteAt([]byte("x"), off); err != nil {
			t.Fatal(err)
		}
	}
	for name, visit := range map[string]func(off, n uint64, fn func(Span) bool) error{"Map": v.Map, "Changes.Map": c.Map} {
		var got []Span
		if err := visit(blockSize, 1<<20-blockSize, func(s Span) bool {
			got = append(got, s)
			return len(got) < 3
		}); err != nil {
			t.Fatal(err)
		}
		want := []Span{{Len: blockSize, Hole: true}, {Len: blockSize}, {Len: blockSize, Hole: true}}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// Snapshots are those up to the volume's own moment, the newest first.
func TestSnapshots(t *testing.T) {
	e := newEngine(t)
	if _, err := e.CreateVolume(engine.Caller{}, "d", 1<<20); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := e.Snapshot(engine.Caller{}, "d", fmt.Sprint("s", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		at    *when.Spec
		limit int
		want  []string
	}{
		{nil, 100, []string{"s4", "s3", "s2", "s1", "s0"}},
		{nil, 2, []string{"s4", "s3"}},
		{&when.Spec{Kind: when.Snapshot, Name: "s1"}, 100, []string{"s1", "s0"}},
	} {
		v, err := Open(e, "d", tt.at, engine.Caller{}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Snapshots(tt.limit)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("snapshots of %s: %v, %v; want %v", v.Name(), got, err, tt.want)
		}
		v.Close()
	}
}
