package engine

import (
	"cmp"
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/when"
)

// Prune forgets what o says of a dataset, or of all (""). A dry run changes
// nothing, and says exactly what would go: bytes of payload that nothing needs
// then.
func (e *Engine) Prune(c Caller, dataset string, o PruneOptions) ([]PruneReport, error) {
	plans, err := e.prunePlans(dataset, o.Before)
	if err != nil {
		return nil, err
	}
	if e.writable() == nil {
		if err := e.Checkpoint(); err != nil && !fail.Is(err, fail.NoSpace) { // what died is on the lists then
			return nil, err
		}
	}
	out := []PruneReport{}
	for _, p := range plans {
		r := PruneReport{Dataset: p.d.name, HorizonLSN: p.horizon.lsn, Horizon: p.horizon.wall()}
		for _, s := range p.snaps {
			r.Points = append(r.Points, s.name)
		}
		if r.Bytes, err = e.wouldFree(p); err != nil {
			return out, err
		}
		if !o.DryRun && !p.empty() {
			done, err := e.carryOut(c, p)
			if err != nil {
				return out, err
			}
			r.LSN = done.LSN
		}
		out = append(out, r)
	}
	if !o.DryRun {
		e.wakeCheckpoint()
		e.mayGain()
	}
	return out, nil
}

// prunePlans are the policies' plans, with a horizon at a moment at the least.
func (e *Engine) prunePlans(name string, before *when.Spec) ([]plan, error) {
	now := time.Unix(0, e.poolTime())
	sp, err := e.store.Space()
	if err != nil {
		return nil, err
	}
	e.gate.RLock()
	var sets []*dataset
	if name != "" {
		d, err := e.find(name)
		if err != nil {
			e.gate.RUnlock()
			return nil, err
		}
		sets = append(sets, d)
	} else {
		for _, d := range e.names {
			sets = append(sets, d)
		}
	}
	slices.SortFunc(sets, func(a, b *dataset) int { return cmp.Compare(a.name, b.name) })
	var plans []plan
	for _, d := range sets {
		p := e.planFor(d, now, sp.Capacity)
		p.point = ""
		plans = append(plans, p)
	}
	e.gate.RUnlock()
	if before == nil {
		return plans, nil
	}
	for i := range plans {
		m, err := e.Resolve(plans[i].d.name, *before)
		if err != nil {
			return nil, err
		}
		plans[i].horizon = later(plans[i].horizon, stamp{m.LSN, m.Time.UnixNano()})
		plans[i].expireGuards()
	}
	return plans, nil
}

// expireGuards adds the guard snapshots that leave history with its horizon.
func (p *plan) expireGuards() {
	for _, s := range p.d.snaps {
		if s.guard && s.lsn < p.horizon.lsn && len(s.holds) == 0 && !slices.Contains(p.snaps, s) {
			p.snaps = append(p.snaps, s)
		}
	}
}

// wouldFree counts the payload that nobody needs once a plan is carried out:
// bytes. What a clone gave up of its origin counts when the origin goes.
func (e *Engine) wouldFree(p plan) (int64, error) {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	blocks := int64(0)
	for _, l := range p.d.lines {
		pins := slices.Clone(l.dataPinsNow())
		for _, s := range p.snaps {
			pins = e.without(pins, p, l, s)
		}
		horizon := p.horizon.lsn
		if l.end() != 0 && l.end() <= horizon {
			horizon = ^uint64(0)
		}
		n, err := e.freedBy(l, pins, horizon)
		if err != nil {
			return 0, err
		}
		blocks += n
	}
	return blocks * BlockSize, nil
}

func (l *line) dataPinsNow() []uint64 {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.dataPins.at), func(m uint64) bool { return l.dataPins.count(m) == l.views.count(m) })
}

// without returns pins less that of a snapshot, unless something else pins the
// same moment.
func (e *Engine) without(pins []uint64, p plan, l *line, s *snapshot) []uint64 {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lineAt(s.lsn) != l {
		return pins
	}
	going := 0
	for _, x := range p.snaps {
		if x.lsn == s.lsn {
			going++
		}
	}
	if l.dataPins.count(s.lsn)-l.views.count(s.lsn) > going {
		return pins
	}
	return slices.DeleteFunc(pins, func(m uint64) bool { return m == s.lsn })
}

// freedBy counts the blocks of l's lists that neither pins nor a history from
// horizon on need. ckpt is held.
func (e *Engine) freedBy(l *line, pins []uint64, horizon uint64) (blocks int64, err error) {
	es := &l.estate
	for r, b := range es.data.all {
		if _, ok := rangeOf(pins, r.first, r.last+1); !ok {
			blocks += b.blocks
		}
	}
	count := func(ds []death) {
		for _, x := range ds {
			if _, ok := rangeOf(pins, x.birth, x.death); !ok && x.death <= horizon {
				blocks += int64(x.count)
			}
		}
	}
	for _, x := range es.history {
		if x.first > horizon {
			continue
		}
		ds, err := e.readRun(l.d.id, x)
		if err != nil {
			return blocks, err
		}
		count(ds)
	}
	count(es.newHistory)
	return blocks, nil
}

// Reclaimable returns how many bytes of payload destroying these snapshots of
// a dataset, all together, would free: what history does not need.
func (e *Engine) Reclaimable(dataset string, snapshots []string) (int64, error) {
	e.gate.RLock()
	d, err := e.find(dataset)
	if err != nil {
		e.gate.RUnlock()
		return 0, err
	}
	p := plan{d: d, horizon: d.horizon}
	for _, name := range snapshots {
		s := d.snapshot(name)
		if s == nil {
			e.gate.RUnlock()
			return 0, fail.New(fail.NotFound, "no snapshot %s@%s", dataset, name).WithHint("varve list -t snapshot %s shows them", dataset)
		}
		p.snaps = append(p.snaps, s)
	}
	e.gate.RUnlock()
	return e.wouldFree(p)
}

// Expire says when a snapshot goes by itself; the zero time: never.
func (e *Engine) Expire(c Caller, dataset, snapshot string, at time.Time) (Done, error) {
	op := &oplog.Op{Kind: oplog.Expire, Client: e.client(c)}
	if !at.IsZero() {
		op.Size = uint64(at.UnixNano())
	}
	return e.change(op, true, func() (*prepared, error) {
		d, s, err := e.findSnapshot(dataset, snapshot)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() && at.UnixNano() <= e.poolTime() {
			return nil, fail.New(fail.Invalid, "%s is past already", at.UTC().Format(time.RFC3339)).WithHint("varve destroy %s@%s destroys it now", dataset, snapshot)
		}
		op.Dataset, op.At, op.Name = d.id, s.id, snapshot
		return nil, nil
	})
}
