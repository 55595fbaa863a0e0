package ask

import (
	"math/rand/v2"
	"testing"
)

// Pages of places are a map.
func TestPlaces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p, model := newPlaces(), map[uint64]place{}
	for n := range 20_000 {
		ino := rng.Uint64N(700)
		if rng.IntN(8) == 0 {
			ino <<= 40
		}
		if rng.IntN(3) == 0 {
			p.delete(ino)
			delete(model, ino)
		} else {
			at := place{dir: uint64(n), name: "x", made: n%2 == 0}
			p.set(ino, at)
			model[ino] = at
		}
		ino = rng.Uint64N(700)
		got, ok := p.get(ino)
		want, there := model[ino]
		if got != want || ok != there || p.n != len(model) || p.size() < p.n || p.size() < len(p.pages) {
			t.Fatalf("%d is %+v, %v, want %+v, %v; %d, want %d", ino, got, ok, want, there, p.n, len(model))
		}
	}
	for ino := range model {
		p.delete(ino)
	}
	if p.size() != 0 {
		t.Errorf("an empty one has the size %d", p.size())
	}
}
