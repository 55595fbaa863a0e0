package httpapitest

import (
	"context"
	"slices"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// Retention is what a Pool says of its space, whatever happened to it.
type Retention struct {
	Space   map[string]engine.SpaceInfo   // by dataset
	Limits  map[string][]engine.LimitInfo // by dataset
	Points  []string                      // that Prune takes of each dataset
	Bytes   int64                         // that a prune gives back of each dataset, and that each snapshot uses
	Cleaned engine.CleanReport
}

// SetCapacity changes the capacity that State has; by default it is 80G.
func (p *Pool) SetCapacity(bytes uint64) (engine.CapacityDone, error) {
	d, err := p.change(engine.Caller{}, func(*engine.Done) error {
		if bytes == 0 {
			bytes = 80 << 30
		}
		if int64(bytes) < p.State.UsedBytes {
			return fail.New(fail.NoSpace, "the pool cannot shrink to %d", bytes)
		}
		p.State.CapacityBytes = int64(bytes)
		return nil
	})
	return engine.CapacityDone{Done: d, CapacityBytes: int64(bytes)}, err
}

// Prune moves where history begins, of one dataset or of all.
func (p *Pool) Prune(c engine.Caller, dataset string, o engine.PruneOptions) (list []engine.PruneReport, err error) {
	if o.DryRun {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.prune(dataset, o, 0)
	}
	_, err = p.change(c, func(d *engine.Done) error {
		list, err = p.prune(dataset, o, d.LSN)
		return err
	})
	return list, err
}

// prune is a dry run where lsn is 0.
func (p *Pool) prune(dataset string, o engine.PruneOptions, lsn uint64) (list []engine.PruneReport, err error) {
	if _, err := p.find(dataset); dataset != "" && err != nil {
		return nil, err
	}
	for i := range p.datasets {
		d := &p.datasets[i]
		if dataset != "" && d.Name != dataset {
			continue
		}
		r := engine.PruneReport{Dataset: d.Name, HorizonLSN: d.OldestLSN, Horizon: d.OldestTime, Points: p.Retention.Points, Bytes: p.Retention.Bytes, LSN: lsn}
		if o.Before != nil {
			m, err := p.resolve(d.Name, *o.Before)
			if err != nil {
				return nil, err
			}
			r.HorizonLSN, r.Horizon = m.LSN, m.Time
		}
		if lsn != 0 {
			d.OldestLSN, d.OldestTime = r.HorizonLSN, r.Horizon
		}
		list = append(list, r)
	}
	return list, nil
}

// Reclaimable is what each of the snapshots uses, and a block for each beyond
// the first: what two of them share is none's alone.
func (p *Pool) Reclaimable(dataset string, snapshots []string) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range snapshots {
		if _, err := p.resolve(dataset, when.Spec{Kind: when.Snapshot, Name: name}); err != nil {
			return 0, err
		}
	}
	return int64(len(snapshots))*(p.Retention.Bytes+4096) - 4096, nil
}

// Expire says when a snapshot goes; it does not go here.
func (p *Pool) Expire(c engine.Caller, dataset, snapshot string, at time.Time) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		i := slices.IndexFunc(p.snapshots, func(s engine.SnapshotInfo) bool { return s.Dataset == dataset && s.Name == snapshot })
		switch {
		case i < 0:
			return fail.New(fail.NotFound, "no snapshot %s@%s", dataset, snapshot)
		case p.Unset == "expires":
			return fail.New(fail.Invalid, "expires cannot be set here")
		}
		p.snapshots[i].Expires = &at
		if at.IsZero() {
			p.snapshots[i].Expires = nil
		}
		return nil
	})
}

// ConfirmClock trusts the clock again.
func (p *Pool) ConfirmClock(c engine.Caller) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		p.State.Clock = engine.ClockInfo{}
		return nil
	})
}

// Clean returns Retention.Cleaned.
func (p *Pool) Clean(ctx context.Context, progress func(done, total int64)) (engine.CleanReport, error) {
	progress(1, 2)
	if p.Block != nil {
		p.Block(ctx)
	}
	if ctx.Err() != nil {
		return engine.CleanReport{}, fail.Wrap(fail.Canceled, ctx.Err(), "clean")
	}
	return p.Retention.Cleaned, p.Refuse
}
