package engine

import (
	"cmp"
	"math"
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
		e.gate.RLock()
		plans[i].moveTo(stamp{m.LSN, m.Time.UnixNano()})
		plans[i].expireGuards()
		e.gate.RUnlock()
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
	e.ckpt.Lock() // the lists stay as they are
	defer e.ckpt.Unlock()
	blocks := int64(0)
	for _, f := range e.foresee(p) {
		n, err := e.freedBy(f)
		if err != nil {
			return 0, err
		}
		blocks += n
	}
	return blocks * BlockSize, nil
}

// foresight is what a plan makes of one line.
type foresight struct {
	l       *line
	pins    []uint64 // that stay, views apart
	horizon uint64
	merges  bool     // it takes over the lines before it: what it dropped of them is its own then,
	fork    uint64   // if born after this,
	others  []uint64 // and their pins count too
}

// foresee tells what becomes of the lines of a plan's dataset.
func (e *Engine) foresee(p plan) (out []foresight) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	over := func(l *line) bool { return l.end() != 0 && l.end() <= p.horizon.lsn }
	for _, l := range p.d.lines {
		f := foresight{l: l, pins: p.stay(l), horizon: p.horizon.lsn, fork: l.fork}
		if over(l) {
			f.horizon = math.MaxUint64
		}
		for x := l; x.continues() && over(x.parent) && x.parent.children == 1; x = x.parent {
			stay := p.stay(x.parent)
			if x.parent.inGap(x) {
				break
			}
			f.merges, f.fork = true, x.parent.fork
			for _, m := range stay {
				if m != x.fork || x.parent.dataPins.count(m)-x.parent.views.count(m) > 1 {
					f.others = append(f.others, m)
				}
			}
		}
		slices.Sort(f.others)
		out = append(out, f)
	}
	return out
}

// stay returns the pins of a line that a plan leaves, views apart. d.mu is held.
func (p *plan) stay(l *line) (out []uint64) {
	going := map[uint64]int{}
	for _, s := range p.snaps {
		if p.d.lineAt(s.lsn) == l {
			going[s.lsn]++
		}
	}
	for i, m := range l.dataPins.at {
		if l.dataPins.n[i]-l.views.count(m) > going[m] {
			out = append(out, m)
		}
	}
	return out
}

// freedBy counts the blocks of a line's lists that nobody needs then. ckpt is
// held.
func (e *Engine) freedBy(f foresight) (blocks int64, err error) {
	es := &f.l.estate
	for r, b := range es.data.all {
		if _, ok := rangeOf(f.pins, r.first, r.last+1); !ok {
			blocks += b.blocks
		}
	}
	count := func(ds []death, foreign bool) {
		for _, x := range ds {
			if x.kind != dataDeath || x.death > f.horizon || foreign && x.birth <= f.fork {
				continue
			}
			_, kept := rangeOf(f.pins, x.birth, x.death)
			if foreign && !kept {
				_, kept = rangeOf(f.others, x.birth, x.death)
			}
			if !kept {
				blocks += int64(x.count)
			}
		}
	}
	scan := func(runs []*deathRun, foreign bool) {
		for _, x := range runs {
			if x.first > f.horizon || err != nil {
				continue
			}
			var ds []death
			if ds, err = e.readRun(f.l.d.id, x); err == nil {
				count(ds, foreign)
			}
		}
	}
	scan(es.history, false)
	count(es.newHistory, false)
	if f.merges {
		scan(es.foreign, true)
		count(es.newForeign, true)
	}
	return blocks, err
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
