package power

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// world plays a perfect server for a history: requests overlap in time, take
// effect in some order between sending and reply, and the image after each
// effect is kept.
type world struct {
	h      *history
	state  image
	after  []image // after[i]: once i changes took effect
	flight []*flying
	sure   int // changes that a flush has covered
}

type flying struct {
	s      span
	id     opID
	zero   bool
	took   bool // effect
	effect int  // its place in the order
}

const (
	worldVolumes = 2
	worldUnits   = 12
)

func play(r *rand.Rand, steps int) *world {
	w := &world{h: newHistory(worldUnits, worldUnits)}
	for range worldVolumes {
		w.state = append(w.state, make([]opID, worldUnits))
	}
	w.keep()
	for range steps {
		switch n := r.IntN(10); {
		case n < 4 && len(w.flight) < 6:
			w.send(r)
		case n < 6:
			w.effect(r)
		case n < 9:
			w.answer(r)
		default:
			w.h.flushAnswered(w.h.tick())
			w.sure = w.answeredEffects()
		}
	}
	return w
}

func (w *world) keep() {
	var m image
	for _, v := range w.state {
		m = append(m, slices.Clone(v))
	}
	w.after = append(w.after, m)
}

func (w *world) send(r *rand.Rand) {
	first := r.Uint64N(worldUnits)
	f := &flying{s: span{r.IntN(worldVolumes), first, 1 + r.Uint64N(worldUnits-first)}, zero: r.IntN(3) == 0}
	if w.h.hold(f.s) {
		f.id = w.h.sending(f.s, f.zero, false)
		w.flight = append(w.flight, f)
	}
}

func (w *world) effect(r *rand.Rand) {
	if len(w.flight) == 0 {
		return
	}
	if f := w.flight[r.IntN(len(w.flight))]; !f.took {
		for i := range f.s.n {
			w.state[f.s.vol][f.s.first+i] = f.id
			if f.zero {
				w.state[f.s.vol][f.s.first+i] = 0
			}
		}
		f.took, f.effect = true, len(w.after)
		w.keep()
	}
}

func (w *world) answer(r *rand.Rand) {
	if len(w.flight) == 0 {
		return
	}
	i := r.IntN(len(w.flight))
	if f := w.flight[i]; f.took {
		w.h.answered(f.s, f.id)
		w.flight = slices.Delete(w.flight, i, i+1)
	}
}

// answeredEffects is how many changes are certainly in a prefix that holds
// every answered one.
func (w *world) answeredEffects() int {
	last := len(w.after) - 1
	for last > 0 && slices.ContainsFunc(w.flight, func(f *flying) bool { return f.took && f.effect == last }) {
		last--
	}
	return last
}

// TestEveryPrefixPasses: what a correct server may show is never reported.
func TestEveryPrefixPasses(t *testing.T) {
	for seed := range uint64(300) {
		w := play(rand.New(rand.NewPCG(seed, 1)), 150)
		for i := w.sure; i < len(w.after); i++ {
			if err := w.h.recovered(w.after[i]); err != nil {
				t.Fatalf("seed %d: prefix of %d of %d changes (%d flushed): %v", seed, i, len(w.after)-1, w.sure, err)
			}
		}
	}
}

// TestLossIsFound: states that a correct server never shows are reported,
// unless they happen to equal one that it may show.
func TestLossIsFound(t *testing.T) {
	found := map[string]int{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := play(r, 200)
		for name, m := range w.spoiled(r) {
			if err := w.h.recovered(m); err != nil {
				found[name]++
			}
		}
	}
	for name, atLeast := range map[string]int{"flush lost": 290, "one unit older": 150, "volumes apart": 290, "from nowhere": 300} {
		if found[name] < atLeast {
			t.Errorf("%s: found %d times of 300, want at least %d", name, found[name], atLeast)
		}
	}
}

func (w *world) spoiled(r *rand.Rand) map[string]image {
	last := w.after[len(w.after)-1]
	bad := map[string]image{
		"flush lost":     w.after[w.sure/2],
		"one unit older": {slices.Clone(last[0]), last[1]},
		"volumes apart":  {last[0], w.after[len(w.after)/3][1]},
		"from nowhere":   {last[0], slices.Clone(last[1])},
	}
	at := r.IntN(worldUnits)
	bad["one unit older"][0][at] = w.after[len(w.after)/2][0][at]
	bad["from nowhere"][1][at] = 1 << 40
	return bad
}

// TestDurableIsKept: an answered FUA may not be missing, though nothing
// answered before it is.
func TestDurableIsKept(t *testing.T) {
	h := newHistory(2)
	s := span{0, 0, 1}
	if !h.hold(s) || h.hold(s) {
		t.Fatal("a range is held by one request at a time")
	}
	id := h.sending(s, false, true)
	if err := h.recovered(image{{0, 0}}); err != nil {
		t.Fatalf("not answered yet: %v", err)
	}
	h.answered(s, id)
	if err := h.recovered(image{{0, 0}}); err == nil {
		t.Fatal("an answered FUA was lost and not reported")
	}
	if err := h.recovered(image{{id, 0}}); err != nil {
		t.Fatal(err)
	}
	h.settle(image{{id, 0}})
	if err := h.recovered(image{{0, 0}}); err == nil {
		t.Fatal("a settled state was lost and not reported")
	}
}

// TestMomentLiesBetween: a snapshot holds what was answered before it was
// asked for and nothing that was sent after it was acknowledged.
func TestMomentLiesBetween(t *testing.T) {
	h := newHistory(3)
	change := func(at uint64) opID {
		s := span{0, at, 1}
		h.hold(s)
		id := h.sending(s, false, false)
		h.answered(s, id)
		return id
	}
	before := change(0)
	from := h.tick()
	during := change(1)
	to := h.tick()
	after := change(2)
	for _, c := range []struct {
		m  image
		ok bool
	}{
		{image{{before, 0, 0}}, true},
		{image{{before, during, 0}}, true},
		{image{{0, 0, 0}}, false},
		{image{{before, during, after}}, false},
		{image{{0, during, 0}}, false},
	} {
		if err := h.moment(c.m, from, to); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.m, err)
		}
	}
}

func TestStamps(t *testing.T) {
	p := make([]byte, unitSize)
	q := make([]byte, unitSize)
	stamp(p, 1, 77, 4711)
	if id, err := identify(p, 1, 77); id != 4711 || err != nil {
		t.Fatal(id, err)
	}
	if id, err := identify(q, 1, 77); id != 0 || err != nil {
		t.Fatal(id, err)
	}
	bad := map[string]func(){
		"elsewhere":   func() { stamp(p, 1, 78, 4711) },
		"other disk":  func() { stamp(p, 0, 77, 4711) },
		"mixed":       func() { stamp(q, 1, 77, 4712); copy(p[256:], q[256:]) },
		"half zeros":  func() { clear(p[256:]) },
		"begins zero": func() { clear(p[:16]) },
		"bit flip":    func() { p[300] ^= 1 },
	}
	for name, spoil := range bad {
		stamp(p, 1, 77, 4711)
		spoil()
		if id, err := identify(p, 1, 77); err == nil {
			t.Errorf("%s: passes as op %d", name, id)
		}
	}
}
