package compact

import (
	"cmp"
	"slices"
	"time"
)

// Candidate is a segment, or a slot as a whole, that might be compacted.
type Candidate struct {
	Number       uint64
	Live, Blocks int           // blocks that are alive, of so many
	Age          time.Duration // since anything in it was written
}

// Choose returns the candidates that are worth moving, the best first: of which
// something is alive, but a smaller part than below. Moving one costs reading it
// and writing what is alive, and yields the rest for as long as what is alive
// stays so, which it does the longer the older it is: so their order is by
// (1-u)*age/(1+u), u being the live part. When space is short only what is
// gained now counts, and they are ordered by u. Equal ones are in the order of
// their numbers.
func Choose(all []Candidate, below float64, short bool) []Candidate {
	chosen := slices.DeleteFunc(slices.Clone(all), func(c Candidate) bool {
		return c.Live <= 0 || c.utilisation() >= below
	})
	worth := Candidate.worth
	if short {
		worth = func(c Candidate) float64 { return -c.utilisation() }
	}
	slices.SortFunc(chosen, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(a.Number, b.Number))
	})
	return chosen
}

func (c Candidate) utilisation() float64 { return float64(c.Live) / float64(c.Blocks) }

// worth is what moving a candidate yields for what it costs.
func (c Candidate) worth() float64 {
	u := c.utilisation()
	return (1 - u) * float64(max(0, c.Age)) / (1 + u)
}
