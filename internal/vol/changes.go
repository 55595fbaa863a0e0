package vol

import (
	"sync"

	"varve/internal/engine"
	"varve/internal/when"
)

// Changes compares a volume with a moment of it: the head as it is at each
// call, a past moment as it was. Safe for concurrent use. Close it before the
// volume.
type Changes struct {
	v     *Volume
	since *engine.View
	once  sync.Once
}

// Since compares the volume with the moment at, which is kept open until
// Close. The errors are those of opening the moment: NotFound,
// OutsideHistory, TooBig.
func (v *Volume) Since(at when.Spec) (*Changes, error) {
	m, err := v.e.Resolve(v.dataset, at)
	if err != nil {
		return nil, err
	}
	since, err := v.e.OpenView(m)
	if err != nil {
		return nil, err
	}
	return &Changes{v: v, since: since}, nil
}

// Map visits the bytes [off, off+n) as spans, neighbours joined, until fn
// returns false: those with Hole are the same at both moments, the others may
// differ. What was never mapped, beyond the end of the smaller one too, counts
// as a hole. It may wait for tree nodes, never for data.
func (c *Changes) Map(off, n uint64, fn func(Span) bool) error {
	return c.v.Changed(c.since, off, n, fn)
}

// Close lets the moment go.
func (c *Changes) Close() { c.once.Do(c.since.Close) }

// Snapshots names the snapshots of the volume that were taken up to its own
// moment, those made last first, at most limit.
func (v *Volume) Snapshots(limit int) ([]string, error) {
	all, err := v.e.Snapshots(v.dataset)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := len(all) - 1; i >= 0 && len(out) < limit; i-- {
		if all[i].LSN <= v.lsn {
			out = append(out, all[i].Name)
		}
	}
	return out, nil
}
